"""The digit plan of a comparison: widths of the digits, and how the digits are joined. Pure
arithmetic on public numbers, the same at both parties and in the cost formulas.

Narrow digits make shorter answers (`2^k - 1` entries each), wide ones fewer correlations and fewer
joins; more joining rounds take fewer or narrower lookups. What is best depends on the network, on
how many thresholds share a digit's answer, and on how many elements share a round trip.
`plan_digits` finds the cheapest by the format's prices (protocols/prices); everything is counted in
whole picoseconds, so that two machines cannot disagree. A joint tree (joint_plan.py) is planned
from the same pieces: `Batch`, `best_digits`, `best_groups` and `best_joins`.

On a prepared network (`Network.prepared`) correlations and pads are made beforehand and cost the
run nothing: answers are what is left, and digits are narrower. Making them still counts for a
share, since what is made beforehand and the run itself must not take much more together than a run
on demand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from moiety.protocols.compare.joins import LARGEST, WIDEST, Join, round_joins
from moiety.protocols.network import LAN, Network
from moiety.protocols.prices import BIT_1, FORMAT_2, OFFLINE_1, PREPARED_1, SILENT_WIRE_2

MAX_THRESHOLDS = 32
"""Comparisons that share a leaf transfer: two answer bits each must fit a pad's low 64 bits."""


@dataclass(frozen=True)
class DigitPlan:
    """`digits`: widths, most significant first. `joins`: group sizes per joining round, most
    significant group first; how a group is joined is said in joins.py. Within a round all lookups
    share their flights.
    """

    digits: tuple[int, ...]
    joins: tuple[tuple[int, ...], ...]


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
    batch = Batch(count, n, network)
    leaves = best_digits(bits, batch)
    joins = {
        parts: min(rounds.values(), key=lambda made: made.rank)
        for parts, rounds in best_joins(max(leaves), batch).items()
    }

    def rank(d: int) -> tuple[int, int, int]:
        return batch.values * leaves[d].price + joins[d].price, len(joins[d].rounds), d

    best = min(leaves, key=rank)
    return DigitPlan(leaves[best].widths, joins[best].rounds)


def digits_price(plan: DigitPlan, count: int, n: int | None, network: Network) -> int:
    """Picoseconds of one batch: work of both parties, transmission, and the flights of the joining
    rounds.
    """
    batch, last = Batch(count, n, network), len(plan.digits) - 1
    leaves = sum(batch.leaf(k, index < last) for index, k in enumerate(plan.digits))
    joins = sum(batch.joins(round_joins(groups)) for groups in plan.joins)
    return batch.values * leaves + joins + batch.flights(len(plan.joins))


@dataclass(frozen=True)
class Batch:
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
        """Two flights."""
        return 2 * self.network.flight if self.n else 0

    def flights(self, rounds: int) -> int:
        """Of so many joining rounds. Each is one flight, but who speaks after a comparison does not
        depend on them, so that an odd number waits for one flight more: a round trip for every two.
        """
        return (rounds + 1) // 2 * self.round_trip

    def another(self, bits: int) -> int:
        """A second comparison of so many bits, of what the first one gave: a round trip, and in a
        prepared run choices that nobody knew beforehand.
        """
        return self.round_trip + (self.values * bits * self.bit if self.network.prepared else 0)

    @property
    def bit(self) -> int:
        """A bit that is sent in the run itself."""
        return max(self.network.bit, BIT_1) if self.network.prepared else self.network.bit

    def correlation(self, k: int) -> int:
        """As a run on demand draws it. Which generator serves it is settled for all comparisons of
        a session, so it is the network's: a plan that counted on the cheaper one for each width
        would often meet the other.
        """
        if k < self.network.silent_from:
            return FORMAT_2[f"softspoken_{k}"] + 31 * k * self.network.bit
        work = FORMAT_2["silent_1" if k == 1 else "silent_4"]
        return work + SILENT_WIRE_2[k] * self.network.bit // 10

    def transfer(self, k: int, fields: int, bits: int, family: str = "transfer") -> int:
        """A correlation of width k, and an answer under its pads of so many bits each entry,
        `fields` of them priced by themselves.
        """
        made = self.correlation(k) + _work(FORMAT_2, family, k, fields)
        if self.network.prepared:
            made = _work(PREPARED_1, family, k, fields) + made * OFFLINE_1 // 100
        return made + ((1 << k) - 1) * bits * self.bit

    def leaf(self, k: int, with_eq: bool) -> int:
        """One digit of one value, against all its thresholds. A prepared run's choices of digits
        are known beforehand wherever the client's share is; and all widths of one comparison have
        as many bits of them together, so that they are in no price.
        """
        bits = self.count * (1 + with_eq)
        chosen = 0 if self.network.prepared else k * self.bit
        if self.count == 1:
            return chosen + self.transfer(k, 0, bits)
        return chosen + self.transfer(k, bits, bits, "shared_transfer")

    def join(self, join: Join) -> int:
        """The lookups of one group of one comparison."""
        return sum(self.lookup(each.width, each.entry_bits) for each in join.lookups)

    def lookup(self, k: int, entry_bits: int) -> int:
        """One lookup of shared bits."""
        return k * self.bit + self.transfer(k, 0, entry_bits)

    def joins(self, joins: Iterable[Join]) -> int:
        """These groups of all comparisons, without the round trip."""
        return self.values * self.count * sum(map(self.join, joins))


def _work(column: Mapping[str, int], family: str, k: int, fields: int) -> int:
    """Of a transfer, by a column of the prices."""
    return column[f"{family}_{k}"] + fields * column[f"threshold_{k}"] // 2


class Digits(NamedTuple):
    """Widths, most significant first, and their price per value. Ordered by price."""

    price: int
    widths: tuple[int, ...]


class Groups(NamedTuple):
    """Group sizes of one joining round, most significant first, and their price for the batch
    without the round trip. Ordered by price.
    """

    price: int
    sizes: tuple[int, ...]


class Joins(NamedTuple):
    """Joining rounds, and their price for the batch with their flights."""

    price: int
    rounds: tuple[tuple[int, ...], ...]

    @property
    def rank(self) -> tuple[int, int, tuple[tuple[int, ...], ...]]:
        """Of equal prices the fewest rounds, then the lexicographically first."""
        return self.price, len(self.rounds), self.rounds


def best_digits(bits: int, batch: Batch, last: bool = True) -> dict[int, Digits]:
    """Number of digits -> the cheapest widths that make up `bits`: the last digit without eq where
    it is a comparison's `last`, the others in increasing width. Of equal prices the
    lexicographically first.
    """
    widths = range(1, min(WIDEST, bits) + 1)
    prices = {k: batch.leaf(k, True) for k in widths}
    # The cheapest of each number of digits, by the bits that they cover, from the last digit up.
    covering = {k: Digits(batch.leaf(k, not last), (k,)) for k in widths}
    best = {}
    for number in range(1, bits + 1):
        if bits in covering:
            best[number] = covering[bits]
        longer: dict[int, Digits] = {}
        for covered, (price, (*upper, lowest)) in covering.items():
            for k in range(1, min(WIDEST, bits - covered) + 1):
                now = longer.get(covered + k)
                if now is None or price + prices[k] <= now.price:
                    made = Digits(price + prices[k], (*sorted((k, *upper)), lowest))
                    longer[covered + k] = made if now is None else min(now, made)
        covering = longer
    return best


def best_groups(most: int, batch: Batch, last: bool = True) -> dict[int, dict[int, Groups]]:
    """Number of parts, up to `most` -> number of parts after one joining round -> the cheapest
    groups. Which neighbours are joined changes no price; larger groups come right above the lowest,
    which is the comparison's least significant one where it is `last`. Of equal prices the
    lexicographically first.
    """
    sizes = range(1, LARGEST + 1)
    upper = {size: batch.joins([Join(size, False)]) for size in sizes}
    best = {
        parts: {1: Groups(batch.joins([Join(parts, last)]), (parts,))} if parts <= LARGEST else {}
        for parts in range(1, most + 1)
    }
    for parts in best:
        for size in range(1, min(LARGEST, parts - 1) + 1):
            for groups, (price, (*above, lowest)) in best[parts - size].items():
                now = best[parts].get(groups + 1)
                if now is None or price + upper[size] <= now.price:
                    made = Groups(price + upper[size], (*sorted((size, *above)), lowest))
                    best[parts][groups + 1] = made if now is None else min(now, made)
    return best


def best_joins(most: int, batch: Batch) -> dict[int, dict[bool, Joins]]:
    """Number of parts, up to `most` -> whether the number of rounds is odd -> the cheapest rounds
    that join them, if there are any.
    """
    best = {1: {False: Joins(0, ())}}
    for parts, groups in best_groups(most, batch).items():
        if parts > 1:
            best[parts] = cheapest(
                Joins(price + made.price + (0 if odd else batch.round_trip), (sizes, *made.rounds))
                for left, (price, sizes) in groups.items()
                if left < parts
                for odd, made in best[left].items()
            )
    return best


def cheapest(options: Iterable[Joins]) -> dict[bool, Joins]:
    """Of those with an even (False) and with an odd number of rounds."""
    best: dict[bool, Joins] = {}
    for made in options:
        odd = len(made.rounds) % 2 == 1
        now = best.get(odd)
        if now is None or made.price <= now.price:
            best[odd] = made if now is None else min(now, made, key=lambda each: each.rank)
    return best
