"""What a study will take, before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moiety.protocols.cost import Cost
from moiety.protocols.network import Network, parse_network
from moiety.protocols.ot.generators import Mixed
from moiety.runtime.cost.clock import predict, total
from moiety.runtime.cost.machine import find_machine
from moiety.runtime.cost.traffic import key_cost, step_costs
from moiety.runtime.party.generator_choice import Ot, agreed, soonest
from moiety.runtime.program import Program


@dataclass(frozen=True)
class Prices:
    """What an hour of a session costs, and a gigabyte (10^9 bytes, either way), in any currency;
    None: nobody said.
    """

    hour: float | None = None
    gigabyte: float | None = None

    @property
    def known(self) -> bool:
        return self.hour is not None or self.gigabyte is not None

    def of(self, seconds: float, nbytes: float) -> float:
        """Of so many seconds of sessions, added up, and so many bytes."""
        return (self.hour or 0.0) * seconds / 3600 + (self.gigabyte or 0.0) * nbytes / 1e9


@dataclass(frozen=True)
class Forecast:
    """seconds: of one image in a run of `batch`, on a network and machine as said (`source`). up,
    down: its bytes, exactly, from hospital to vendor and back. Set-up is apart: about a second and
    some megabytes a session.
    """

    seconds: float
    up: float
    down: float
    network: Network
    source: str
    batch: int = 1

    def wall(self, images: int, sessions: int) -> float:
        """Seconds of so many images, where each session has its cores on both sides."""
        return self.seconds * images / max(1, min(sessions, images))

    def nbytes(self, images: int) -> float:
        """Both ways."""
        return (self.up + self.down) * images


def forecast(
    program: Program, network: str, ot: Ot = "auto", batch: int = 1, machine: Path | None = None
) -> Forecast:
    """Raises `BadInput` for an unknown network, or a file that is no machine's."""
    between, asked = parse_network(network), agreed(ot, "auto")
    figures, source = find_machine(machine)
    costs = [key_cost(program, batch), *step_costs(program, batch)]
    silent_from = soonest(costs, figures, between) if asked is None else asked
    seconds = total(predict(costs, figures, between, silent_from)).total
    wire = sum(costs, Cost()).on(Mixed(silent_from))
    return Forecast(seconds / batch, wire.up / batch, wire.down / batch, between, source, batch)
