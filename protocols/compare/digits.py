"""The digit plan of a comparison: widths of the digits, and how the digits are joined. Pure
arithmetic on public numbers, the same at both parties and in the cost formulas.

Narrow digits make shorter answers (`2^k - 1` entries each), wide ones fewer correlations and fewer
joins; more joining rounds take fewer or narrower lookups. What is best depends on the network, on
how many thresholds share a digit's answer, and on how many elements share a round trip.
`plan_digits` finds the cheapest by the format's prices (protocols/prices); everything is counted in
whole picoseconds, so that two machines cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from moiety.protocols.network import LAN, Network
from moiety.protocols.prices import FORMAT_1, SILENT_BITS_1

DIGIT = 4
"""Widest digit: a transfer has at most 16 entries."""
MAX_THRESHOLDS = 32
"""Comparisons that share a leaf transfer: two answer bits each must fit a pad's low 64 bits."""


@dataclass(frozen=True)
class DigitPlan:
    """`digits`: widths, most significant first. `joins`: group sizes per joining round, most
    significant group first.

    A group of two is joined by a lookup on three bits, the least significant group, which needs
    no eq, by one on two bits or, with three digits, on four. Within a round all lookups share
    their flights.
    """

    digits: tuple[int, ...]
    joins: tuple[tuple[int, ...], ...]


class Join(NamedTuple):
    """The lookup that joins a group of `size` neighbours; `last`: the least significant group,
    which needs no eq.
    """

    size: int
    last: bool

    @property
    def width(self) -> int:
        """Choice bits: eq and lt of all digits but lt of the first (and eq of the last
        group's lowest).
        """
        return 2 * self.size - 1 - self.last

    @property
    def entry_bits(self) -> int:
        """lt and, but for the last group, eq."""
        return 2 - self.last


def round_joins(groups: tuple[int, ...]) -> list[Join]:
    """The lookups of one joining round, most significant group first; a group of one takes none."""
    joins = [Join(size, index == len(groups) - 1) for index, size in enumerate(groups)]
    return [join for join in joins if join.size > 1]


@lru_cache(maxsize=1 << 14)
def plan_digits(
    bits: int, count: int = 1, n: int | None = None, network: Network = LAN
) -> DigitPlan:
    """The plan of least `digits_price` to compare n values of `bits` bits with `count` thresholds
    each, over this network.

    n None stands for so many that round trips do not matter. Exact: the price of the digits and
    that of the joins depend on each other through the number of digits alone, and each is a
    shortest path. Of plans of one price the one with the fewest rounds is taken, then the one with
    the fewest digits.
    """
    batch = _Batch(count, n, network)
    leaves = _best_digits(bits, batch)
    joins = _best_joins(max(leaves), batch)

    def rank(d: int) -> tuple[int, int, int]:
        return batch.values * leaves[d].price + joins[d].price, len(joins[d].rounds), d

    best = min(leaves, key=rank)
    return DigitPlan(leaves[best].widths, joins[best].rounds)


def digits_price(plan: DigitPlan, count: int, n: int | None, network: Network) -> int:
    """Picoseconds of one batch: work of both parties, transmission, and a round trip's two flights
    per joining round.
    """
    batch, last = _Batch(count, n, network), len(plan.digits) - 1
    leaves = sum(batch.leaf(k, index < last) for index, k in enumerate(plan.digits))
    joins = sum(batch.round(groups) for groups in plan.joins)
    return batch.values * leaves + joins


@dataclass(frozen=True)
class _Batch:
    """What one plan serves: n values (None: so many that round trips do not matter, priced per
    value), `count` thresholds each, over one network. Prices are picoseconds of both parties.
    """

    count: int
    n: int | None
    network: Network

    @property
    def values(self) -> int:
        """Values that share a round trip."""
        return self.n or 1

    @property
    def round_trip(self) -> int:
        return 2 * self.network.flight if self.n else 0

    def choice(self, k: int) -> int:
        """A correlation, and the choice itself. Which generator serves it is settled for all
        comparisons of a session, so it is the network's: a plan that counted on the cheaper one for
        each width would often meet the other.
        """
        if k < self.network.silent_from:
            return FORMAT_1[f"softspoken_{k}"] + 32 * k * self.network.bit
        return FORMAT_1["silent"] + (SILENT_BITS_1 + DIGIT) * self.network.bit

    def leaf(self, k: int, with_eq: bool) -> int:
        """One digit of one value, against all its thresholds."""
        fields = self.count * (1 + with_eq)
        if self.count == 1:
            work = FORMAT_1[f"transfer_{k}"]
        else:
            work = FORMAT_1[f"shared_transfer_{k}"] + fields * FORMAT_1[f"threshold_{k}"] // 2
        return self.choice(k) + work + ((1 << k) - 1) * fields * self.network.bit

    def join(self, join: Join) -> int:
        """One joining lookup of one comparison."""
        k = join.width
        sent = ((1 << k) - 1) * join.entry_bits * self.network.bit
        return self.choice(k) + FORMAT_1[f"transfer_{k}"] + sent

    def round(self, groups: tuple[int, ...]) -> int:
        """One joining round of all comparisons."""
        lookups = sum(self.join(join) for join in round_joins(groups))
        return self.values * self.count * lookups + self.round_trip


class _Digits(NamedTuple):
    """Widths, most significant first, and their price per value. Ordered by price."""

    price: int
    widths: tuple[int, ...]


class _Joins(NamedTuple):
    """Joining rounds, and their price for the batch."""

    price: int
    rounds: tuple[tuple[int, ...], ...]


def _best_digits(bits: int, batch: _Batch) -> dict[int, _Digits]:
    """Number of digits -> the cheapest widths that make up `bits`: the last digit without eq, the
    others in increasing width. Of equal prices the lexicographically first.
    """
    widths = range(1, min(DIGIT, bits) + 1)
    prices = {k: batch.leaf(k, True) for k in widths}
    # The cheapest of each number of digits, by the bits that they cover, from the last digit up.
    covering = {k: _Digits(batch.leaf(k, False), (k,)) for k in widths}
    best = {}
    for number in range(1, bits + 1):
        if bits in covering:
            best[number] = covering[bits]
        longer: dict[int, _Digits] = {}
        for covered, (price, (*upper, last)) in covering.items():
            for k in range(1, min(DIGIT, bits - covered) + 1):
                made = _Digits(price + prices[k], (*sorted((k, *upper)), last))
                longer[covered + k] = min(longer.get(covered + k, made), made)
        covering = longer
    return best


def _best_joins(most: int, batch: _Batch) -> dict[int, _Joins]:
    """Number of digits, up to `most` -> the cheapest rounds that join them; of equal prices the
    fewest, then the lexicographically first.
    """
    best = {1: _Joins(0, ())}
    for number in range(2, most + 1):
        options = []
        for groups in _groupings(number):
            rest = best[len(groups)]
            options.append(_Joins(batch.round(groups) + rest.price, (groups, *rest.rounds)))
        best[number] = min(options, key=lambda made: (made.price, len(made.rounds), made.rounds))
    return best


def _groupings(digits: int) -> Iterator[tuple[int, ...]]:
    """Group sizes of one joining round. Which neighbours a pair joins changes no price; pairs come
    right above the last group.
    """
    for low in range(1, min(3, digits) + 1):
        for pairs in range((digits - low) // 2 + 1):
            if pairs or low > 1:
                yield (1,) * (digits - low - 2 * pairs) + (2,) * pairs + (low,)
