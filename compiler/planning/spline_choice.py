"""The spline of every activation: over which values it is fitted, and with how many knots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import Final

import numpy as np

from moiety.compiler.ir import formulas
from moiety.compiler.ir.graph import Node, channelwise
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.splines import FIXED, KNOTS, Density, Spline, fitted, is_defined_on
from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadModel, BadPlan

ENOUGH: Final = 0.4
"""Where no error is searched for, a fit is good enough whose root mean square error is at most this
part of a unit: that of the truncation after it.
"""

WORST: Final = 1 / 4
"""No fit is taken whose root mean square error is more than this part of the deviation of the
function's values.
"""

_QUANTILES: Final = np.array([NormalDist().inv_cdf((i + 0.5) / 32) for i in range(32)])


def spline_of(
    node: Node, ranges: Ranges, options: PlanOptions, knots: Mapping[str, int] | None = None
) -> Spline:
    """The spline of an Activation: of as many knots as `knots` says, by result, or of the fewest
    that are good enough at the options' widths. BadModel where the function is not defined on the
    calibrated range; BadPlan where no spline comes near it.
    """
    wanted = (knots or {}).get(node.output)
    if wanted is not None:
        return fitted_to(node, ranges, options, wanted)
    unit = _unit(node, ranges, options)
    for count in counts_near(node, ranges, options):
        found = fitted_to(node, ranges, options, count)
        if found.rms <= ENOUGH * unit:
            break
    return found


def fitted_to(node: Node, ranges: Ranges, options: PlanOptions, count: int) -> Spline:
    """The spline of an Activation of `count` knots. BadModel where the function is not defined on
    the calibrated range; BadPlan where it must be on a fixed one.
    """
    try:
        return fitted(node.attrs["formula"], density_of(node, ranges, options), count)
    except BadModel as error:
        if options.disclose == "minimal":
            raise BadPlan(
                f"Activation {node.name!r}: with minimal disclosure it is fitted over a fixed "
                f"range, {FIXED.low:g} to {FIXED.high:g}, and {error}; use the usual disclosure"
            ) from None
        raise BadModel(f"Activation {node.name!r}: {error}") from None


def counts_near(node: Node, ranges: Ranges, options: PlanOptions) -> list[int]:
    """Numbers of knots with which a spline comes near an Activation, ascending. BadPlan if there is
    none.
    """
    splines = {count: fitted_to(node, ranges, options, count) for count in KNOTS}
    near = [n for n, spline in splines.items() if spline.rms <= WORST * spline.spread + 1e-9]
    if not near:
        density, formula = density_of(node, ranges, options), node.attrs["formula"]
        raise BadPlan(
            f"Activation {node.name!r}, {formulas.describe(formula)}: {KNOTS[-1]} straight pieces "
            f"over the calibrated range, {density.low:.4g} to {density.high:.4g}, leave an error "
            f"of {splines[KNOTS[-1]].rms:.3g}; narrow what it is applied to"
        )
    return near


def density_of(node: Node, ranges: Ranges, options: PlanOptions) -> Density:
    """Where the operand's values lie, and may lie on other images as far as the function is defined
    there; with minimal disclosure, for all models alike.
    """
    if options.disclose == "minimal":
        return FIXED
    (value,) = node.inputs
    seen = Density.of(
        ranges.low[value], ranges.high[value], ranges.mean[value], ranges.square[value]
    )
    below, above = (
        longer if is_defined_on(node.attrs["formula"], longer) else seen
        for longer in seen.with_tails()
    )
    return replace(seen, low=below.low, high=above.high)


def typical_values(node: Node, ranges: Ranges) -> F64:
    """Values of each channel of an Activation's operand, evenly by rank, `(C, 32)`."""
    (value,) = node.inputs
    mean, square = ranges.mean[value][:, None], ranges.square[value][:, None]
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    low, high = ranges.low[value][:, None], ranges.high[value][:, None]
    return np.asarray(np.clip(mean + deviation * _QUANTILES, low, high))


def mean_error(node: Node, ranges: Ranges, spline: Spline) -> F64:
    """What the fit adds to each channel in the mean, `(C,)`; the plan's constants take it off."""
    x = typical_values(node, ranges)
    return np.asarray((spline(x) - formulas.evaluate(node.attrs["formula"], x)).mean(axis=1))


def fit_error(node: Node, ranges: Ranges, spline: Spline, operand: F64) -> F64:
    """What the fit adds to each element, the mean of its channel apart."""
    values = np.asarray(operand, np.float64)
    error = spline(values) - formulas.evaluate(node.attrs["formula"], values)
    return np.asarray(error - channelwise(mean_error(node, ranges, spline), error.ndim))


def _unit(node: Node, ranges: Ranges, options: PlanOptions) -> float:
    """About what the result's unit will be."""
    if options.uniform is not None:
        return 2.0**-options.uniform
    if options.disclose == "minimal":
        return float(FIXED.high / 2.0 ** (options.activation_bits - 1))
    bounds = [bound[v] for v in (*node.inputs, node.output) for bound in (ranges.low, ranges.high)]
    return float(np.abs(np.concatenate(bounds)).max()) / 2.0 ** (options.activation_bits - 1)
