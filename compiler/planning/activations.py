"""Activations in a plan: the spline that each one becomes, and its integers.

Operand and result of an Activation share one unit, so slopes are numbers without units: public
integers over 2^shift. Knots are multiples of 2^low units: the operand's lower bits are then
compared once for all knots, and only the others with each of them. The constant of each channel is
a secret; it also takes what the fit leaves in the mean over the channel's values.

A Power (`powers`) has the same steps and integers, from and to units of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from moiety.compiler.ir import formulas
from moiety.compiler.ir.graph import Node
from moiety.compiler.ir.ops import POWERS, SPLINES
from moiety.compiler.planning.formats import Formats
from moiety.compiler.planning.powers import (
    fitted_power,
    in_integers,
    power_slope_bits,
    span,
    usual_knots,
)
from moiety.compiler.planning.spline_choice import density_of, spline_of, typical_values
from moiety.compiler.planning.splines import Spline, fitted
from moiety.protocols.arrays import F64, I64, U8

MAX_SLOPE_BITS: Final = 14
"""Fractional bits of slopes."""

CELL_BITS: Final = (4, 5, 6, 7, 8)
"""Grids that are tried for knots: log2 of the least number of cells in the operand's range."""

USUAL_HIGH: Final = 8
"""About how many bits are compared with each knot: a range's cells and the room around it."""

GRID_LOSS: Final = 1.2
"""The factor by which a fit may be worse for having its knots on a grid."""


@dataclass(frozen=True, eq=False)
class FinalSpline:
    """The spline of an activation, and the upper bits of its operand, of `high + low` in all, that
    are compared with its knots: these are multiples of 2^low units.
    """

    spline: Spline
    high: int
    low: int


@dataclass(frozen=True, eq=False)
class SplineIntegers:
    """Integers of one Activation or Power: `sum_k factors[k] * gate_k(x + threshold_k) + constant`,
    then truncated by `shift` bits. threshold: int64 `(K,)`, multiples of 2^low. flip: uint8 `(K,)`,
    1 for the gate that opens below its threshold. constant: int64 `(C,)`. spline: what they are.
    """

    spline: Spline
    threshold: I64
    flip: U8
    factors: tuple[int, ...]
    constant: I64
    shift: int
    low: int


def slope_bits(ring: int) -> int:
    """Fractional bits of the slopes of an activation in a ring of `ring` bits: rounding one moves
    the far end of a piece that is a quarter of the range by a sixteenth of a unit at most.
    """
    return min(ring - 1, MAX_SLOPE_BITS)


def final_spline(formats: Formats, node: Node) -> FinalSpline:
    """The spline of an Activation with its knots on the coarsest grid that loses little, or on the
    finest that is tried. With minimal disclosure anywhere: a grid would tell the unit.
    """
    if node.op in POWERS:
        return _final_power(formats, node)
    ranges, options = formats.ranges, formats.options
    free = spline_of(node, ranges, options, formats.widths.knots)
    bits, unit = formats.compared_bits(node.inputs[0]), float(formats.unit(node.output)[0])
    made = FinalSpline(free, bits, 0)
    if options.disclose == "minimal":
        return made
    density, formula = density_of(node, ranges, options), node.attrs["formula"]
    fits = math.floor(math.log2(max(density.span / unit, 1.0)))
    for cells in CELL_BITS:
        low = max(fits - cells, 0)
        found = fitted(formula, density, len(free.knots), unit * 2.0**low)
        made = FinalSpline(found, bits - low, low)
        if found.rms <= GRID_LOSS * free.rms or low == 0:
            break
    return made


def _final_power(formats: Formats, node: Node) -> FinalSpline:
    """The spline of a Power, from integers to integers; all bits of its operand are compared."""
    exponent, (value,) = node.attrs["exponent"], node.inputs
    first, last = span(formats.graph, formats.ranges, formats.options, formats.units, node).tolist()
    count = formats.widths.knots.get(node.output)
    count = count or usual_knots(exponent, last / first, formats.options)
    factor = formats.unit(value)[0] ** exponent / formats.unit(node.output)[0]
    spline = in_integers(fitted_power(exponent, last / first, count), first, exponent, factor)
    return FinalSpline(spline, formats.compared_bits(value), 0)


def quantise_splines(formats: Formats) -> dict[str, SplineIntegers]:
    """By result, the integers of every Activation and Power, in the Graph's order."""
    return {node.output: _quantise(formats, node) for node in formats.graph.nodes_of(*SPLINES)}


def _quantise(formats: Formats, node: Node) -> SplineIntegers:
    made = final_spline(formats, node)
    spline, power = made.spline, node.op in POWERS
    unit = 1.0 if power else float(formats.unit(node.output)[0])
    bits = formats.compared_bits(node.inputs[0])
    shift = power_slope_bits(bits, formats.bits(node.output), spline) if power else slope_bits(bits)
    slopes = _rounded_slopes(spline, shift)
    bends = np.diff(slopes)
    bends[0] = slopes[1]
    kept = np.flatnonzero(bends) if bends.any() else np.array([0])
    places, factors, flip = spline.knots[kept], bends[kept], np.zeros(len(kept), np.uint8)
    if slopes[0]:
        places, factors = np.append(places, spline.knots[0]), np.append(factors, slopes[0])
        flip = np.append(flip, np.uint8(1))
    threshold = -np.rint(places / unit).astype(np.int64)
    if power:
        constant = np.full(formats.graph.shapes[node.output][1], spline.start)
    else:
        constant = _constant(formats, node, threshold * unit, factors * 2.0**-shift, flip)
    half = 1 << (shift - 1) if formats.options.rounding == "exact" else 0
    return SplineIntegers(
        spline=spline,
        threshold=threshold,
        flip=flip,
        factors=tuple(factors.tolist()),
        constant=np.rint(constant / unit * 2.0**shift).astype(np.int64) + half,
        shift=shift,
        low=made.low,
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
        shifted = x + threshold
        total += factor * (np.minimum(shifted, 0.0) if below else np.maximum(shifted, 0.0))
    return np.asarray((formulas.evaluate(node.attrs["formula"], x) - total).mean(axis=1))
