"""Activations in a plan: how many straight pieces each one gets, and its integers.

Operand and result share a unit per channel, so slopes are numbers without units: public integers
over 2^shift, alike in all channels. Knots in units and the constant are secrets of each channel.
The constant also takes what rounded knots and the fit leave in the mean over the channel's values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from moiety.compiler.ir import formulas
from moiety.compiler.ir.graph import Node
from moiety.compiler.ir.ops import SPLINES
from moiety.compiler.planning.formats import Formats
from moiety.compiler.planning.spline_choice import spline_of, typical_values
from moiety.compiler.planning.splines import Spline
from moiety.protocols.arrays import F64, I64, U8

MAX_SLOPE_BITS: Final = 12
"""Fractional bits of slopes."""


@dataclass(frozen=True, eq=False)
class SplineIntegers:
    """Integers of one Activation: `sum_k factors[k] * gate_k(x + threshold_k) + constant`, then
    truncated by `shift` bits. threshold: int64 `(K, C)`. flip: uint8 `(K,)`, 1 for the gate that
    opens below its threshold. constant: int64 `(C,)`. spline: what they stand for.
    """

    spline: Spline
    threshold: I64
    flip: U8
    factors: tuple[int, ...]
    constant: I64
    shift: int


def slope_bits(ring: int) -> int:
    """Fractional bits of the slopes of an activation in a ring of `ring` bits: rounding one moves
    the far end of a piece that is a quarter of the range by a quarter of a unit.
    """
    return max(2, min(ring - 3, MAX_SLOPE_BITS))


def quantise_splines(formats: Formats) -> dict[str, SplineIntegers]:
    """By result, the integers of every Activation, in the Graph's order."""
    return {node.output: _quantise(formats, node) for node in formats.graph.nodes_of(*SPLINES)}


def _quantise(formats: Formats, node: Node) -> SplineIntegers:
    spline = spline_of(node, formats.ranges, formats.options, formats.widths.knots)
    unit, shift = formats.unit(node.output), slope_bits(formats.compared_bits(node.output))
    slopes = _rounded_slopes(spline, shift)
    factors = np.diff(slopes, prepend=0)[1:].astype(np.int64)
    factors[0] = slopes[1]
    kept = np.flatnonzero(factors) if factors.any() else np.array([0])
    places: F64
    places, flip = spline.knots[kept], np.zeros(len(kept), np.uint8)
    factors = factors[kept]
    if slopes[0]:
        places = np.append(places, spline.knots[0])
        factors, flip = np.append(factors, slopes[0]), np.append(flip, np.uint8(1))
    threshold = -np.rint(places[:, None] / unit).astype(np.int64)
    slopes_of_gates = factors.astype(np.float64) * 2.0**-shift
    constant = _constant(formats, node, threshold * unit, slopes_of_gates, flip)
    half = 1 << (shift - 1) if formats.options.rounding == "exact" else 0
    return SplineIntegers(
        spline=spline,
        threshold=threshold,
        flip=flip,
        factors=tuple(factors.tolist()),
        constant=np.rint(constant / unit * 2.0**shift).astype(np.int64) + half,
        shift=shift,
    )


def _rounded_slopes(spline: Spline, shift: int) -> I64:
    """Slopes in steps of 2^-shift: what the rounding of one leaves at its piece's far end, the next
    one makes up for.
    """
    steps = [spline.slopes[0] * 2.0**shift]
    missing = 0.0
    for slope, length in zip(spline.slopes[1:-1], np.diff(spline.knots), strict=True):
        wanted = slope * 2.0**shift + missing / length
        steps.append(wanted)
        missing = (wanted - np.rint(wanted)) * length
    steps.append(spline.slopes[-1] * 2.0**shift)
    return np.rint(steps).astype(np.int64)


def _constant(formats: Formats, node: Node, thresholds: F64, factors: F64, flip: U8) -> F64:
    """What is to be added to the gates' sum, `(C,)`: the mean of what is missing over the channel's
    values.
    """
    x = typical_values(node, formats.ranges)
    total = np.zeros_like(x)
    for threshold, factor, below in zip(thresholds, factors, flip, strict=True):
        shifted = x + threshold[:, None]
        total += factor * (np.minimum(shifted, 0.0) if below else np.maximum(shifted, 0.0))
    return np.asarray((formulas.evaluate(node.attrs["formula"], x) - total).mean(axis=1))
