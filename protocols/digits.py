"""The digit plan of a comparison: widths of the digits and how they are joined. Pure arithmetic, shared with the
cost formulas.
"""

from __future__ import annotations

DIGIT = 4
MAX_THRESHOLDS = 32
"""Comparisons that share a leaf transfer: two answer bits each must fit the low 64 bits of a pad."""


def digit_sizes(bits: int) -> tuple[int, ...]:
    """Digit widths, most significant first; the shorter digit goes on top, where a message is two bits."""
    first = bits % DIGIT
    return ((first,) if first else ()) + (DIGIT,) * (bits // DIGIT)


def join_plan(digits: int) -> tuple[tuple[int, ...], ...]:
    """Group sizes per joining round, most significant group first.

    r rounds join up to 2^(r+1) - 1 digits: a group of two that keeps eq is a 1-of-8 lookup, and the least
    significant group needs no eq, so three of its digits fit a 1-of-16 lookup. Within the least number of rounds, a
    round joins no more than it must, and the cheap last group first.
    """
    rounds = []
    while digits > 1:
        target = 1
        while 2 * target + 1 < digits:
            target = 2 * target + 1
        drop = digits - target
        low = min(drop, 2) + 1
        pairs = drop - (low - 1)
        sizes = (1,) * (digits - low - 2 * pairs) + (2,) * pairs + (low,)
        rounds.append(sizes)
        digits = len(sizes)
    return tuple(rounds)


def join_width(size: int, last: bool) -> int:
    """Choice bits of the lookup that joins a group: eq and lt of all digits but lt of the first (and eq of the last
    group's lowest).
    """
    return 2 * size - 1 - last
