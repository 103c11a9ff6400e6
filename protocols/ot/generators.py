"""What drawing correlations sends, declared: the generators of a session as a Cost meets them.

`protocols/cost.SoftSpoken` is the third. Pure arithmetic: `Pool` is the one that the two endpoints
of silent generation count with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from moiety.protocols.cost import (
    BATCH,
    Draw,
    Generator,
    Party,
    Send,
    SoftSpoken,
    extension_bytes,
    other,
)
from moiety.protocols.ot.lpn import Pool, parameters_for

ALWAYS_SILENT, NEVER_SILENT = 1, 5
"""The `silent_from` of a session whose every correlation is silent, and of one without silent
generation: a choice has one to four bits.
"""


DIGEST_BYTES = 32
SHOWN_BYTES = int(extension_bytes(BATCH, 4)) + 4 * 16
"""Of a receiver that settles: the rows that mask its hash of u, and that hash."""


def in_words(silent_from: int) -> str:
    """Which generator a session draws from, for people."""
    mixed = f"silent for choices of {silent_from} bits and more, softspoken below"
    return {ALWAYS_SILENT: "silent", NEVER_SILENT: "softspoken"}.get(silent_from, mixed)


@dataclass
class Silent:
    """Silent generation in both directions, from a fresh session on; follows the pools as the two
    parties do.
    """

    batch: int = 2
    pools: dict[tuple[Party, int], Pool] = field(default_factory=dict)
    unsettled: set[Party] = field(default_factory=set)
    """Receivers of rows that wait for their check."""

    def pool(self, receiver: Party, k: int) -> Pool:
        """What this receiver has at hand for k-bit choices."""
        parameters = parameters_for(k)
        key = (receiver, parameters.width)
        if key not in self.pools:
            self.pools[key] = Pool(parameters, self.batch)
        return self.pools[key]

    def draw(self, demand: Draw) -> Iterator[Send]:
        self.unsettled.add(demand.receiver)
        made = self.pool(demand.receiver, demand.k).take(demand.n, demand.k)
        yield Send(demand.receiver, made.shifts)
        yield Send(other(demand.receiver), made.answer, ahead=True)
        yield Send(demand.receiver, made.high)

    def settle(self) -> Iterator[Send]:
        """See protocols/settlement."""
        for receiver in ("C", "S"):
            if receiver in self.unsettled:
                yield Send(receiver, SHOWN_BYTES)
        for receiver in ("C", "S"):
            if receiver in self.unsettled:
                yield Send(other(receiver), DIGEST_BYTES)
        self.unsettled.clear()


@dataclass
class Mixed:
    """Silent generation for choices of at least `silent_from` bits, SoftSpoken below."""

    silent_from: int
    silent: Silent = field(default_factory=Silent)
    softspoken: SoftSpoken = field(default_factory=SoftSpoken)

    def draw(self, demand: Draw) -> Iterable[Send]:
        generator: Generator = self.silent if demand.k >= self.silent_from else self.softspoken
        return generator.draw(demand)

    def settle(self) -> Iterable[Send]:
        return self.silent.settle()
