"""The shift rule: by how many bits a linear layer's weights are scaled up, and its result truncated
afterwards. The planner asks here for real weights, the search for estimated ones.

A layer maps integers to integers with weights `round(w * 2^shift)`, w being its *ideal* weights,
real numbers of any size (units.ideal_weights). The larger the shift, the more precise the weights,
up to the `weight_bits` that the Program states. Three rules, one for each style of plan:

- `by_peak`, the usual one: as large as the largest weight allows;
- `by_size`, of minimal disclosure: what layers of this size usually have;
- `uniform`: the fractional bits that every value has.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from moiety.compiler.planning.options import PlanOptions
from moiety.protocols.linear.parameters import MAX_WEIGHT_BITS

MAX_LAYER_BITS = 44
"""Linear layers get no wider ring for the sake of their weights' precision."""

MAX_EXTRA_SHIFT = 8
"""A truncation drops at most this many bits more than a weight has, and as many more as average
pools below have widened the operand by: beyond it, the weights do not matter.
"""

RESULT_WEIGHT_BITS = 4
"""Further weight bits of a layer that writes a result: it is small, and nothing after it
hides its errors.
"""

MAX_POOL_SHIFT = 3
"""Further fractional bits of the weights below an average pool in the uniform style: its rings
are wide already.
"""

CLASS_BITS, CLASS_ROOM = 3, 3
"""Weights of a layer whose shift follows from its size: log2 of their usual peak over that of the
plain guess (a row of norm 1), and bits of room on top. Over DenseNet-121 and the families of small
networks it is 6 to -1, the median 3.5.
"""


class Shift(NamedTuple):
    """shift: bits that the weights are scaled up by. weight_bits: signed bits of a weight."""

    shift: int
    weight_bits: int


def layer_weight_bits(wanted: int, result: bool) -> int:
    """The weight bits of a layer that was given `wanted` ones; `result`: does it write one?"""
    return min(wanted + RESULT_WEIGHT_BITS if result else wanted, MAX_WEIGHT_BITS)


def by_peak(log_peak: float, weight_bits: int, ring: int, averaged: int = 0) -> Shift:
    """The largest shift that keeps the largest weight, 2^`log_peak` (-inf for 0), within its
    bits, in a layer whose result is in a ring of `ring` bits and whose operand holds averages as
    sums, by `averaged` bits larger. Weights that are too large unscaled get further bits.
    """
    wanted = _wanted(log_peak, weight_bits, averaged)
    shift = math.floor(min(wanted, MAX_LAYER_BITS - ring))
    return Shift(shift, weight_bits) if shift >= 0 else Shift(0, weight_bits - shift)


def missing_bits(log_peak: float, weight_bits: int, ring: int, averaged: int = 0) -> int:
    """By how many bits `by_peak` shifts less than weights of `weight_bits` bits ask for, because
    the layer's ring would be wider than MAX_LAYER_BITS: the largest weight has so many bits fewer.
    """
    wanted = math.floor(_wanted(log_peak, weight_bits, averaged))
    return max(0, wanted - max(0, MAX_LAYER_BITS - ring))


def _wanted(log_peak: float, weight_bits: int, averaged: int) -> float:
    return min(_log_largest(weight_bits) - log_peak, weight_bits + MAX_EXTRA_SHIFT + averaged)


@lru_cache
def _log_largest(weight_bits: int) -> float:
    """log2 of the largest weight; the search for widths asks for it five million times."""
    return math.log2(2.0 ** (weight_bits - 1) - 1)


def by_size(terms: int, result: bool, options: PlanOptions) -> Shift:
    """By the number of products that make one output; of a layer that writes a result, by the
    options alone, for the unit of its output is not free.
    """
    if result:
        return Shift(options.weight_bits, MAX_WEIGHT_BITS)
    shift = max(0, options.weight_bits - 1 - CLASS_BITS + round(math.log2(terms) / 2))
    return Shift(shift, min(options.weight_bits + CLASS_ROOM, MAX_WEIGHT_BITS))


def uniform(frac: int, peak: float, averaged: int) -> Shift:
    """`frac` fractional bits, and as many weight bits as the largest weight `peak` takes. Above
    average pools that make sums of `averaged` bits more, the division is in the weights: they keep
    (most of) their precision with more bits.
    """
    shift = frac + min(MAX_POOL_SHIFT, averaged)
    return Shift(shift, max(2, 2 + math.floor(math.log2(peak * 2.0**shift + 1))))
