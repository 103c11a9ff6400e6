"""Bins with round edges, so that no edge is anybody's score."""

from __future__ import annotations

import math

import numpy as np

from moiety.protocols.arrays import F64

WANTED = 25
NEGLIGIBLE = 1e-9
"""A range that is this share of the values' size is none."""
SMALLEST = 1e-300
"""A range below it cannot be divided."""


def round_edges(values: F64) -> F64:
    """Of about 25 bins for the middle 98 % of the values, at multiples of 1, 2 or 5 times a power
    of ten; of one or two where all values are nearly the same.
    """
    low, high = (float(each) for each in np.quantile(values, [0.01, 0.99]))
    size = max(abs(low), abs(high))
    wide = high - low > max(NEGLIGIBLE * size, SMALLEST)
    step = _round_step((high - low) / WANTED if wide else max(size / 10, SMALLEST) if size else 1.0)
    multiples = range(math.floor(low / step), math.floor(high / step) + 2)
    return np.array([float(f"{each * step:.12g}") for each in multiples])


def counted(values: F64, edges: F64) -> tuple[int, ...]:
    """Values by bin; what is beyond the edges is in the first or the last."""
    inside = np.clip(values, edges[0], edges[-1])
    return tuple(int(each) for each in np.histogram(inside, edges)[0])


def _round_step(wanted: float) -> float:
    """The smallest round step that is not below `wanted`, but for rounding errors."""
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= wanted * 0.999999)
