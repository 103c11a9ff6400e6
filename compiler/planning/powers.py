"""Powers in a plan: straight pieces with the same relative error everywhere.

A norm divides by a deviation, which differs by decades from channel to channel and from image to
image; what counts is the error relative to it. `x^p` looks alike at every scale, `(m*x)^p = m^p *
x^p`, and so

- each channel may have a unit of its own, from which the result's follows: `u^p * k` with one k;
- the best pieces are alike, too: knots in a geometric progression, ordinates `c * t^p`;
- their relative error follows from the ratio q of two knots alone: about `p*(p-1)/16 * ln(q)^2` at
  most.

Knots and slopes are public integers of all channels. Their range is what the integers of the
operand were on the calibration images, in any channel, and SPARE around it. Below it a negative
power keeps the value that it has there, so that a flat image is not blown up; a positive one goes
straight to 0.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.splines import KNOTS, Spline
from moiety.compiler.planning.units import Units
from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadModel
from moiety.runtime.program.steps.local import MAX_SUM_BITS

SPARE: Final = 1.95
"""By this factor may the result leave its calibrated range before the fit does no longer follow, as
if pictures had twice the contrast, or half of it. It must stay within the result's margin bit.
"""

LEAST: Final = 8.0
"""Integers below it say too little of the value."""

MAX_RATIO: Final = 2.0**20
"""Between the ends of the range."""

FIXED_RATIO: Final = 2.0**10
"""The same, with minimal disclosure, where the range must not be told."""

SLOPES_COARSER: Final = 3
"""Bits by which slopes of powers have fewer than their operand: sign, a margin, and pieces that are
shorter than the range.
"""

USUAL_SLACK: Final = 2
"""Where no error is searched for, a fit is good enough whose relative error is 2^-(activation bits
- USUAL_SLACK).
"""


def with_power(graph: Graph, units: Units, options: PlanOptions, node: Node) -> Units:
    """The units with that of a power's result made to follow from its operand's: by the least
    factor k with which the calibrated range of every channel fits its bits; with minimal
    disclosure, the range that is fitted then.
    """
    (value,), ids, exponent = node.inputs, units.scales.sources[node.output], node.attrs["exponent"]
    steps = units.of(graph, value)[: len(ids)] ** exponent
    largest, held = units.reach[ids] / steps, units.held_bits(options.margin_bits)[ids]
    if options.disclose == "minimal":
        largest = np.full(len(ids), max(_fixed_span(graph, units, value) ** exponent))
        held = units.filled[ids]
    unit = units.unit.copy()
    unit[ids] = steps * max(float((largest * units.room[ids] / 2.0 ** (held - 1)).max()), 1e-300)
    return replace(units, unit=unit)


def span(graph: Graph, ranges: Ranges, options: PlanOptions, units: Units, node: Node) -> F64:
    """The ends of the range that the fit of a power is for, in integers of its operand. BadModel
    where that is not positive.
    """
    (value,), spare = node.inputs, SPARE ** (1 / abs(node.attrs["exponent"]))
    low, high = ranges.low[value], ranges.high[value]
    if low.min() < 0 or high.max() <= 0:
        raise BadModel(
            f"Power {node.name!r}: its operand lies between {low.min():.4g} and {high.max():.4g}, "
            "and must be positive: add an epsilon to it"
        )
    unit = units.of(graph, value)
    if options.disclose == "minimal":
        return _fixed_span(graph, units, value)
    last = spare * float((high / unit).max())
    first = max(float((low / unit).min()) / spare, last / MAX_RATIO, LEAST)
    return np.array([min(first, last / 2), last])


def _fixed_span(graph: Graph, units: Units, value: str) -> F64:
    """Of integers that fill their bits, whatever the images."""
    largest = 2.0 ** float(units.reached_of(graph, value).max() - 1)
    return np.array([max(largest / FIXED_RATIO, LEAST), largest])


@lru_cache(maxsize=1 << 12)
def fitted_power(exponent: float, ratio: float, count: int) -> Spline:
    """The spline of `count` knots of `x^exponent` over 1 to `ratio`; its errors are relative."""
    knots = ratio ** (np.arange(count) / (count - 1))
    piece = np.linspace(1.0, knots[1], 65)
    true = piece**exponent
    chord = np.interp(piece, piece[[0, -1]], true[[0, -1]]) / true
    weight = 1 / piece  # every place of the logarithm counts alike
    factor = float((weight * chord).sum() / (weight * chord**2).sum())
    error = factor * chord - 1
    rms = math.sqrt(float((weight * error**2).sum() / weight.sum()))
    ordinates = factor * knots**exponent
    inner = np.diff(ordinates) / np.diff(knots)
    outer = (ordinates[0], inner[-1]) if exponent > 0 else (0.0, 0.0)
    slopes = np.array([outer[0], *inner, outer[1]])
    return Spline(knots, slopes, float(ordinates[0]), rms, float(np.abs(error).max()), 1.0)


def in_integers(fit: Spline, first: float, exponent: float, factor: float) -> Spline:
    """A fit of `x^exponent` from integers, the first knot at `first`, to integers: `factor` is how
    many steps of the result are one.
    """
    knots = np.unique(np.rint(first * fit.knots))
    ordinates = factor * fit.ordinates[0] * knots**exponent
    inner = np.diff(ordinates) / np.diff(knots)
    outer = (ordinates[0] / knots[0], inner[-1]) if exponent > 0 else (0.0, 0.0)
    slopes = np.array([outer[0], *inner, outer[1]])
    return replace(fit, knots=knots, slopes=slopes, start=float(ordinates[0]))


def power_slope_bits(operand: int, result: int, spline: Spline | None = None) -> int:
    """Fractional bits of the slopes of a power, from and to rings of so many bits: rounding one
    moves the far end of a piece that is a quarter of the range by a quarter of a unit at most,
    unless the sum of the pieces of `spline` would fit no ring.
    """
    steepest = 0.0 if spline is None else math.log2(np.abs(np.diff(spline.slopes)).sum() + 1)
    return min(operand - SLOPES_COARSER, int(MAX_SUM_BITS - 1 - result - steepest) // 2)


def usual_knots(exponent: float, ratio: float, options: PlanOptions) -> int:
    """The fewest knots that are good enough at the options' widths."""
    enough = 2.0 ** (USUAL_SLACK - options.activation_bits)
    fits = [count for count in KNOTS if fitted_power(exponent, ratio, count).rms <= enough]
    return fits[0] if fits else KNOTS[-1]
