"""The digit plan of a comparison: widths of the digits, and how the digits are joined. Pure
arithmetic on public numbers, the same at both parties and in the cost formulas.

Narrow digits make shorter answers (`2^k - 1` entries each), wide ones fewer correlations and fewer
joins; more joining rounds take fewer or narrower lookups. What is best depends on the network, on how
many thresholds share a digit's answer, and on how many elements share a round trip. `plan` finds
the cheapest; everything is counted in whole picoseconds, so that two machines cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from moiety.protocols.network import LAN, Network

DIGIT = 4
"""Widest digit: a transfer has at most 16 entries."""
MAX_THRESHOLDS = 32
"""Comparisons that share a leaf transfer: two answer bits each must
fit the low 64 bits of a pad.
"""


# Picoseconds of both parties together, by width of the choice; compiled kernels, AVX-512 with VAES,
# one 2.6 GHz core (docs/cost-model.md). Part of the format: a change changes the wire.
_SOFTSPOKEN = {1: 7_600, 2: 14_300, 3: 20_000, 4: 26_300}
_SILENT, _SILENT_BITS = 38_000, 2
_TRANSFER = {1: 5_700, 2: 10_000, 3: 17_000, 4: 31_000}
_SHARED = {1: 7_500, 2: 15_000, 3: 32_000, 4: 60_000}
_THRESHOLD = {1: 2_200, 2: 4_000, 3: 5_300, 4: 8_200}


@dataclass(frozen=True)
class Plan:
    """`digits`: widths, most significant first. `joins`: group sizes per joining round,
    most significant group first.

    A group of two is joined by a lookup on three bits, the least significant group,
    which needs no eq, by one on two bits or, with three digits, on four. Within a round
    all lookups share their flights.
    """

    digits: tuple[int, ...]
    joins: tuple[tuple[int, ...], ...]

    @property
    def lookups(self) -> Iterator[tuple[int, bool]]:
        """(choice bits, whether it is the last group) of every joining lookup."""
        for groups in self.joins:
            for index, size in enumerate(groups):
                if size > 1:
                    yield join_width(size, index == len(groups) - 1), index == len(groups) - 1


def join_width(size: int, last: bool) -> int:
    """Choice bits of the lookup that joins a group: eq and lt of all digits but lt of the first
    (and eq of the last group's lowest).
    """
    return 2 * size - 1 - last


@lru_cache(maxsize=1 << 14)
def plan(bits: int, count: int = 1, n: int | None = None, network: Network = LAN) -> Plan:
    """The plan of least `price` to compare n values of `bits` bits with `count`
    thresholds each, over this network.

    n None stands for so many that round trips do not matter. Exact: the price of the
    digits and that of the joins depend on each other through the number of digits
    alone, and each is a shortest path.
    """
    spread, flights = (n, network.flight) if n else (1, 0)
    leaves = _best_digits(bits, count, network)
    joins = _best_joins(max(leaves), count, spread, flights, network)
    ranked = ((spread * leaves[d][0] + joins[d][0], len(joins[d][1]), d) for d in leaves)
    best = min(ranked)[2]
    return Plan(leaves[best][1], joins[best][1])


def price(made: Plan, count: int, n: int | None, network: Network) -> int:
    """Picoseconds of one batch: work of both parties, transmission, and a round
    trip's two flights per round.
    """
    last = len(made.digits) - 1
    leaves = sum(_leaf(k, index < last, count, network) for index, k in enumerate(made.digits))
    joins = count * sum(_join(k, low, network) for k, low in made.lookups)
    return (n or 1) * (leaves + joins) + 2 * len(made.joins) * (network.flight if n else 0)


def _choice(k: int, network: Network) -> int:
    """A correlation, and the choice itself. Which generator serves it is settled for all
    comparisons of a session, so it is the network's: a plan that counted on the cheaper one for each
    width would often meet the other.
    """
    if k < network.silent_from:
        return _SOFTSPOKEN[k] + 32 * k * network.bit
    return _SILENT + (_SILENT_BITS + DIGIT) * network.bit


def _leaf(k: int, with_eq: bool, count: int, network: Network) -> int:
    """One digit of one value, against `count` thresholds."""
    fields = count * (1 + with_eq)
    work = _TRANSFER[k] if count == 1 else _SHARED[k] + fields * _THRESHOLD[k] // 2
    return _choice(k, network) + work + ((1 << k) - 1) * fields * network.bit


def _join(k: int, last: bool, network: Network) -> int:
    return _choice(k, network) + _TRANSFER[k] + ((1 << k) - 1) * (2 - last) * network.bit


def _best_digits(bits: int, count: int, network: Network) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Number of digits -> (price per value, widths): the last digit without eq,
    the others in increasing width.
    """
    found: dict[int, dict[int, tuple[int, tuple[int, ...]]]] = {
        1: {k: (_leaf(k, False, count, network), (k,)) for k in range(1, DIGIT + 1) if k <= bits}
    }
    for d in range(2, bits + 1):
        found[d] = {}
        for rest, (cost, widths) in found[d - 1].items():
            for k in range(1, DIGIT + 1):
                candidate = (
                    cost + _leaf(k, True, count, network),
                    (*sorted((k, *widths[:-1])), widths[-1]),
                )
                if rest + k <= bits:
                    found[d][rest + k] = min(found[d].get(rest + k, candidate), candidate)
    return {d: by_bits[bits] for d, by_bits in found.items() if bits in by_bits}


def _best_joins(
    digits: int, count: int, n: int, flight: int, network: Network
) -> dict[int, tuple[int, tuple[tuple[int, ...], ...]]]:
    """Number of digits up to `digits` -> (price of the batch, rounds); of
    equal prices the fewest rounds.
    """
    found: dict[int, tuple[int, tuple[tuple[int, ...], ...]]] = {1: (0, ())}
    for d in range(2, digits + 1):
        options = []
        for groups in _rounds(d):
            lookups = sum(
                _join(join_width(size, i == len(groups) - 1), i == len(groups) - 1, network)
                for i, size in enumerate(groups)
                if size > 1
            )
            cost, following = found[len(groups)]
            options.append((n * count * lookups + 2 * flight + cost, (groups, *following)))
        found[d] = min(options, key=lambda option: (option[0], len(option[1]), option[1]))
    return found


def _rounds(digits: int) -> Iterator[tuple[int, ...]]:
    """Group sizes of one joining round. Which neighbours a pair joins changes no price; pairs
    come right above the last group.
    """
    for low in range(1, min(3, digits) + 1):
        for pairs in range((digits - low) // 2 + 1):
            if pairs or low > 1:
                yield (1,) * (digits - low - 2 * pairs) + (2,) * pairs + (low,)
