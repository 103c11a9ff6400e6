"""What of a prepared run is known before there is an image."""

from __future__ import annotations

from moiety.runtime.program.program import Program
from moiety.runtime.program.steps.base import LocalStep, Step
from moiety.runtime.program.steps.linear import Linear
from moiety.runtime.program.steps.local import AddConst
from moiety.runtime.program.steps.rounding import Truncate


def known_to_client(program: Program) -> frozenset[int]:
    """The steps of whose result the client has its share beforehand: that of a linear layer is what
    the homomorphic protocol gave it on its masks, and local steps make others of it. The choices
    that follow from such a share, a comparison's digits above all, depend on no image.
    """
    known: set[int] = set()
    for index, step in enumerate(program.steps):
        if isinstance(step, Linear) or (_is_local(step) and known.issuperset(step.inputs)):
            known.add(index)
    return frozenset(known)


def _is_local(step: Step) -> bool:
    if isinstance(step, Truncate):
        return step.rounding == "stochastic"
    return isinstance(step, LocalStep | AddConst)
