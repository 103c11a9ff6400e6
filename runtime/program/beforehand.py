"""What of a prepared run is known before there is an image: the client's share of every value. A
step whose parties talk leaves it a mask that was drawn, a linear layer what was decrypted when the
run was prepared, and every other step makes its own of these (runtime/party/masks).
"""

from __future__ import annotations

from moiety.runtime.program.program import Program
from moiety.runtime.program.steps.base import LocalStep, Step
from moiety.runtime.program.steps.ends import Output
from moiety.runtime.program.steps.linear import Linear
from moiety.runtime.program.steps.local import AddConst
from moiety.runtime.program.steps.rounding import Truncate


def is_drawn(step: Step) -> bool:
    """Whether the client's share of its value is drawn."""
    if isinstance(step, Truncate):
        return step.rounding == "exact" and step.shift > 0
    return not isinstance(step, LocalStep | AddConst | Linear | Output)


def corrected(program: Program) -> frozenset[int]:
    """The linear layers whose operand depends on another layer's result by no drawn share."""
    of_layer: list[bool] = []
    found = set()
    for index, step in enumerate(program.steps):
        depends = not is_drawn(step) and any(of_layer[operand] for operand in step.inputs)
        if isinstance(step, Linear):
            if depends:
                found.add(index)
            depends = True
        of_layer.append(depends)
    return frozenset(found)
