"""What a prepared run asks of the transfers, and what a client knows of it, found by walking the
Program without a peer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.ot.demand import Demand
from moiety.protocols.preparation import Layer
from moiety.protocols.recording import Recording
from moiety.protocols.session import Role, Session
from moiety.runtime.party.sides import Side
from moiety.runtime.party.walk import Stage, walk
from moiety.runtime.program import Program


class Asked(NamedTuple):
    """What a run asks of its transfers, and its linear layers among them: the same every time."""

    demand: Demand
    layers: tuple[Layer, ...]


class Recorded:
    """A run of a prepared kind without a peer, step by step."""

    def __init__(
        self,
        role: Role,
        program: Program,
        stages: Sequence[Stage],
        specs: Mapping[int, LinearSpec],
        side: Side,
        keeps: bool = False,
    ) -> None:
        self._specs, self._layers = specs, list[Layer]()

        def body(session: Session, may_stop: Callable[[], None]) -> None:
            def at(index: int, _: int, __: str) -> None:
                if index in specs:
                    self._layers.append(Layer(index, specs[index], self._run.opened()))
                may_stop()

            walk(program, stages, session, side, at)

        self._run = Recording(role, program.planned_for.ahead, body, keeps)
        self.known = self._run.known

    def close(self) -> None:
        """Nothing more is asked of it, and what it knows is freed."""
        self._run.close()

    def asked(self) -> Asked:
        """Of the whole run."""
        demand = self._run.demand()
        return Asked(demand, tuple(self._layers))
