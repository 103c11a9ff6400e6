"""Bins with round edges, so that no edge is anybody's score."""

from __future__ import annotations

import math

import numpy as np

from moiety.protocols.arrays import F64

WANTED = 25


def round_edges(values: F64) -> F64:
    """Of about 25 bins for the middle 98 % of the values, at multiples of 1, 2 or 5 times a power
    of ten.
    """
    low, high = np.quantile(values, [0.01, 0.99])
    step = _round_step((high - low) / WANTED) if high > low else _round_step(abs(high) / 10 or 1.0)
    return np.round(np.arange(math.floor(low / step), math.floor(high / step) + 2) * step, 12)


def counted(values: F64, edges: F64) -> tuple[int, ...]:
    """Values by bin; what is beyond the edges is in the first or the last."""
    inside = np.clip(values, edges[0], edges[-1])
    return tuple(int(each) for each in np.histogram(inside, edges)[0])


def _round_step(wanted: float) -> float:
    """The smallest round step that is not below `wanted`."""
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= wanted * 0.999999)
