"""What drawing correlations sends, declared: the generators of a session as a Cost meets them.

`protocols/cost.SoftSpoken` is the third. Pure arithmetic: `Pool` is the one that the two endpoints
of silent generation count with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from moiety.protocols.cost import Draw, Generator, Party, Send, SoftSpoken, other
from moiety.protocols.ot.lpn import SMALL, LpnParameters, Pool

ALWAYS_SILENT, NEVER_SILENT = 1, 5
"""The `silent_from` of a session whose every correlation is silent, and of one without silent
generation: a choice has one to four bits.
"""


@dataclass
class Silent:
    """Silent generation in both directions, from a fresh session on; follows the pools as the two
    parties do.
    """

    parameters: LpnParameters = SMALL
    batch: int = 2
    pools: dict[Party, Pool] = field(default_factory=dict)

    def pool(self, receiver: Party) -> Pool:
        """What this receiver has at hand."""
        return self.pools.setdefault(receiver, Pool(self.parameters, self.batch))

    def draw(self, demand: Draw) -> Iterator[Send]:
        made = self.pool(demand.receiver).take(demand.n, demand.k)
        yield Send(demand.receiver, made.shifts)
        yield Send(other(demand.receiver), made.answer, ahead=True)
        yield Send(demand.receiver, made.high)


@dataclass
class Mixed:
    """Silent generation for choices of at least `silent_from` bits, SoftSpoken below."""

    silent_from: int
    silent: Silent = field(default_factory=Silent)
    softspoken: SoftSpoken = field(default_factory=SoftSpoken)

    def draw(self, demand: Draw) -> Iterable[Send]:
        generator: Generator = self.silent if demand.k >= self.silent_from else self.softspoken
        return generator.draw(demand)
