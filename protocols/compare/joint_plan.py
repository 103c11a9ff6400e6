"""The plan of a truncation with gates (joint.py): one tree for both, or one comparison after the
other, whichever costs less. Pure arithmetic on public numbers, as digits.py.

One tree takes fewer flights: the digits of the high bits are looked up beside those of the low
bits, and are joined in the same rounds until the carry is known. One after the other is cheaper for
each threshold: the lowest high digit needs no eq, and no lookup reads the carry. What all ways
share, the conversion of the carry and the round trip of the first digits, is in no price here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from moiety.protocols.compare.digits import (
    Batch,
    DigitPlan,
    best_digits,
    best_groups,
    best_joins,
    digits_price,
    plan_digits,
)
from moiety.protocols.compare.joins import LARGEST, Join, round_joins
from moiety.protocols.network import LAN, Network


@dataclass(frozen=True)
class JointPlan:
    """One tree. low: the comparison of the low bits, whose result is the carry. high: widths of the
    digits above, most significant first. joins: group sizes per joining round, most significant
    group first; of the high digits alone while the low ones are joined (`len(low.joins)` rounds),
    then with the carry as the least significant part.
    """

    low: DigitPlan
    high: tuple[int, ...]
    joins: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class SeparatePlan:
    """One comparison after the other: of the low bits for all thresholds, as `plan_digits` plans
    it, then of the truncated value's bits with each of them, likewise.
    """

    low: DigitPlan
    gates: DigitPlan


TreePlan = JointPlan | SeparatePlan


@lru_cache(maxsize=1 << 14)
def plan_joint(
    low_bits: int, high_bits: int, count: int = 1, n: int | None = None, network: Network = LAN
) -> TreePlan:
    """The cheapest plan by `joint_price` for n values that are truncated by `low_bits` bits and
    compared, in the next `high_bits` bits, with `count` thresholds each. n None stands for so many
    that round trips do not matter. Of equal prices one tree; without low bits there is none.
    """
    apart = plan_separate(low_bits, high_bits, count, n, network)
    if low_bits == 0:
        return apart
    tree = plan_one_tree(low_bits, high_bits, count, n, network)
    dearer = joint_price(tree, count, n, network) > joint_price(apart, count, n, network)
    return apart if dearer else tree


def joint_price(plan: TreePlan, count: int, n: int | None, network: Network) -> int:
    """Picoseconds of one batch: work of both parties, transmission, and the flights of the joining
    rounds and of a second comparison's digits.
    """
    low, high = Batch(1, n, network), Batch(count, n, network)
    price = digits_price(plan.low, 1, n, network)
    if isinstance(plan, SeparatePlan):
        price += digits_price(plan.gates, count, n, network)
        return price + bool(plan.low.digits) * high.another(sum(plan.gates.digits))
    price += high.values * sum(high.leaf(k, True) for k in plan.high)
    for at, groups in enumerate(plan.joins):
        price += high.joins(round_joins(groups, last=at >= len(plan.low.joins)))
    # The rounds of the low digits are among those of the high ones.
    return price - low.flights(len(plan.low.joins)) + high.flights(len(plan.joins))


def plan_separate(
    low_bits: int, high_bits: int, count: int, n: int | None, network: Network
) -> SeparatePlan:
    """The cheapest of one comparison after the other."""
    low = plan_digits(low_bits, 1, n, network) if low_bits else DigitPlan((), ())
    return SeparatePlan(low, plan_digits(high_bits, count, n, network))


class _Rounds(NamedTuple):
    """The rest of a tree: its joining rounds of the low digits and of the high ones, as in
    `JointPlan`, and their price for the batch with their flights.
    """

    price: int
    low: tuple[tuple[int, ...], ...]
    high: tuple[tuple[int, ...], ...]

    @property
    def rank(self) -> tuple[int, int, tuple[object, ...]]:
        """Of equal prices the fewest rounds, then the lexicographically first."""
        return self.price, len(self.high), (self.low, self.high)


_BySizes = dict[tuple[int, int], _Rounds]
"""How many low parts and high ones -> what joins them."""
_ByParity = dict[bool, _Rounds]
"""Whether the number of rounds is odd -> the cheapest, if there are any."""


def _cheapest(options: Iterable[_Rounds]) -> _ByParity:
    best: _ByParity = {}
    for made in options:
        odd = len(made.high) % 2 == 1
        best[odd] = min(best.get(odd, made), made, key=lambda each: each.rank)
    return best


@lru_cache(maxsize=1 << 14)
def plan_one_tree(
    low_bits: int, high_bits: int, count: int, n: int | None, network: Network
) -> JointPlan:
    """The cheapest single tree. Exact: digits and joins meet in the numbers of digits alone, and
    the joins of both halves in how many parts each has left after a round. Trees of many digits are
    looked at only where no bound excludes them.
    """
    low, high = Batch(1, n, network), Batch(count, n, network)
    low_digits = best_digits(low_bits, low)
    high_digits = best_digits(high_bits, high, last=False)
    step_low, step_high = _least_join(low), _least_join(high)

    def leaves(below: int, above: int) -> int:
        return low.values * (low_digits[below].price + high_digits[above].price)

    def bound(below: int, above: int) -> int:
        """No tree of so many digits costs less."""
        joins = (below - 1) * step_low + above * step_high
        rounds = max(_least_rounds(below) + 1, _least_rounds(above + 1))
        return leaves(below, above) + joins + high.flights(rounds)

    most = min(low_digits) + 1, min(high_digits) + 1
    while True:
        rounds = {
            numbers: min(made.values(), key=lambda each: each.rank)
            for numbers, made in _best_rounds(*most, low, high).items()
        }

        def rank(numbers: tuple[int, int], rounds: _BySizes = rounds) -> tuple[int, ...]:
            made = rounds[numbers]
            return leaves(*numbers) + made.price, len(made.high), sum(numbers), numbers[0]

        known = [each for each in rounds if each[0] in low_digits and each[1] in high_digits]
        below, above = min(known, key=rank)
        price = rank((below, above))[0]
        possible = [
            numbers
            for numbers in itertools.product(low_digits, high_digits)
            if bound(*numbers) <= price
        ]
        needed = max(a for a, _ in possible), max(b for _, b in possible)
        if needed[0] <= most[0] and needed[1] <= most[1]:
            break
        most = max(most[0], needed[0]), max(most[1], needed[1])
    made = rounds[below, above]
    return JointPlan(
        DigitPlan(low_digits[below].widths, made.low), high_digits[above].widths, made.high
    )


def _least_join(batch: Batch) -> int:
    """No join costs less for each part that it takes away."""
    joins = itertools.product(range(2, LARGEST + 1), (False, True))
    return min(batch.joins([Join(size, last)]) // (size - 1) for size, last in joins)


def _least_rounds(parts: int) -> int:
    """That join them."""
    rounds = 0
    while parts > 1:
        parts, rounds = -(-parts // LARGEST), rounds + 1
    return rounds


def _best_rounds(
    most_low: int, most_high: int, low: Batch, high: Batch
) -> dict[tuple[int, int], _ByParity]:
    """(low parts, high parts) -> the cheapest rounds that join them."""
    low_groups, high_groups = best_groups(most_low, low), best_groups(most_high, high, last=False)
    with_carry = best_joins(most_high + 1, high)
    rest: dict[tuple[int, int], _ByParity] = {
        (1, parts): {
            odd: _Rounds(made.price, (), made.rounds) for odd, made in with_carry[parts + 1].items()
        }
        for parts in range(1, most_high + 1)
    }
    # Rounds of both halves that leave so many low parts: the high half's choice does not depend
    # on how many there were.
    beside: dict[tuple[int, int], _ByParity] = {}
    for below in range(1, most_low + 1):
        for above in range(1, most_high + 1):
            if below > 1:
                rest[below, above] = _cheapest(
                    _Rounds(groups.price + made.price, (groups.sizes, *made.low), made.high)
                    for left, groups in low_groups[below].items()
                    if left < below
                    for made in beside[left, above].values()
                )
        for above in range(1, most_high + 1):
            beside[below, above] = _cheapest(
                _Rounds(
                    price + made.price + (0 if odd else low.round_trip),
                    made.low,
                    (sizes, *made.high),
                )
                for left, (price, sizes) in high_groups[above].items()
                for odd, made in rest[below, left].items()
            )
    return rest
