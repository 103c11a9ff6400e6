"""The error model: how rounding anywhere in the Graph moves the results, to first order.

Every rounding of a plan is a small perturbation of the real computation. Perturbations of different
tensors, layers and gates are taken as independent, so their variances at the results add up, each
being (variance of the rounding) times (response of the results to it, see `responses`).

Stochastic rounding also has a mean, behind max-pools: the largest of several elements that are
nearly equal, each rounded by itself, is too large on average (`MaxPool.rounding_bias`). It moves a
whole channel in one direction, which later layers do not average out; its square at the results is
added to the variances. Exact rounding keeps the order of elements and has none.
"""

from __future__ import annotations

import math

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import LINEAR, POWERS, PRODUCTS, SPLINES
from moiety.compiler.planning.activations import final_spline
from moiety.compiler.planning.formats import Formats
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import Plan
from moiety.compiler.planning.ranges import FINER
from moiety.compiler.planning.responses import biased
from moiety.compiler.planning.spline_choice import spline_of
from moiety.compiler.planning.splines import KNOTS
from moiety.compiler.planning.unit_choice import choose_units
from moiety.compiler.planning.units import Units, gate_thresholds
from moiety.protocols.arrays import F64

FIXED = 1 / 12
"""Variance of rounding to nearest, in squared units."""

TRUNCATION = 1 / 6
"""Variance of a truncation's rounding, in squared units: stochastic, it goes up with probability
p = frac(x), and the mean of p(1-p) is 1/6. Exact, it is half of that, but errors are alike at
neighbouring pixels where an image is flat: twice that has been measured on DenseNet-121.
"""


def predicted_error(plan: Plan) -> float:
    """Root mean square, over images and results, of the plan's error at the results.

    BadInput if the ranges have no responses.
    """
    return math.sqrt(sum(error_variances(plan).values()))


def error_variances(plan: Plan) -> dict[str, float]:
    """The parts of the squared error: `noise.VALUE` of truncations and of the image's encoding,
    `weight.VALUE` of weights, by their layer, `gate.VALUE` of thresholds, `fit.VALUE` of the
    straight pieces of activations, `mean.VALUE` of the bias of max-pools.
    """
    formats, graph = plan.formats, plan.graph
    # Responses to weights are in units of their output at the default widths.
    reference = choose_units(graph, formats.ranges, PlanOptions())[1]
    parts: dict[str, float] = {}
    for node in graph.nodes_of(*LINEAR):
        shift = plan.layers[node.output].shift
        if shift:
            parts[f"noise.{node.output}"] = _rounded(formats, node.output, TRUNCATION)
        parts[f"weight.{node.output}"] = _weights(formats, node, shift, reference)
    for node in graph.nodes_of(*SPLINES):
        parts[f"noise.{node.output}"] = _rounded(formats, node.output, TRUNCATION)
        parts[f"fit.{node.output}"] = fit_square(formats, node)
    for node in graph.nodes_of(*PRODUCTS):
        if formats.shift(node.output):
            parts[f"noise.{node.output}"] = _rounded(formats, node.output, TRUNCATION)
    for node in graph.nodes_of("AffineRelu"):
        parts[f"gate.{node.output}"] = _thresholds(formats, node)
    for node in biased_pools(formats):
        parts[f"mean.{node.output}"] = float(bias_squares(formats, node, reference).sum())
    for value in graph.inputs:
        parts[f"noise.{value}"] = _rounded(formats, value, FIXED)
    return parts


def _rounded(formats: Formats, value: str, variance: float) -> float:
    """What rounding every element of a value adds, `variance` being in squared units."""
    noise = formats.ranges.required_responses().noise.get(value, np.zeros(1))
    return variance * float(noise @ formats.unit(value) ** 2)


def _weights(formats: Formats, node: Node, shift: int, reference: Units) -> float:
    """What rounding a layer's weights adds."""
    unit, unit_out = formats.unit(node.inputs[0]), formats.unit(node.output)
    inverse = np.divide(1.0, unit, out=np.zeros_like(unit), where=unit != 0)
    coarser = float(np.mean((unit_out / reference.of(formats.graph, node.output)) ** 2))
    response = formats.ranges.required_responses().weight[node.output]
    return FIXED * 4.0**-shift * coarser * float(response @ inverse**2)


def fit_square(formats: Formats, node: Node) -> float:
    """What the fit of an activation adds: as measured for its number of knots, and more as its
    knots are on a grid.
    """
    if node.op in POWERS:
        count = len(final_spline(formats, node).spline.knots)
        measured = formats.ranges.fit_responses(node.output)
        return float(np.interp(count, KNOTS, measured))
    free = spline_of(node, formats.ranges, formats.options, formats.widths.knots)
    measured = formats.ranges.fit_responses(node.output)[KNOTS.index(len(free.knots))]
    rounded = final_spline(formats, node).spline
    return float(measured) * (rounded.rms / max(free.rms, 1e-300)) ** 2


def _thresholds(formats: Formats, node: Node) -> float:
    """What rounding a gate's thresholds adds."""
    rounding = threshold_rounding(formats.graph, formats.units, node)
    return float(formats.ranges.required_responses().gate[node.output] @ rounding**2)


def biased_pools(formats: Formats) -> list[Node]:
    """The max-pools whose results have a mean error."""
    return biased(formats.graph) if formats.options.rounding == "stochastic" else []


def bias_squares(formats: Formats, node: Node, reference: Units, finer: int = 0) -> F64:
    """What the bias of a max-pool adds, by channel `(C,)`, with units finer by so many bits than
    those of `formats`. reference: units at the default widths. BadInput if the ranges do not say.
    """
    unit = formats.unit(node.output) / 2.0**finer
    table = formats.ranges.bias_responses(node.output, len(unit))
    bits = np.log2(reference.of(formats.graph, node.output) / unit)
    squares = [np.interp(at, FINER, column) for at, column in zip(bits, table.T, strict=True)]
    return np.asarray(squares * unit**2)


def threshold_rounding(graph: Graph, units: Units, node: Node) -> F64:
    """What the threshold of each channel of an AffineRelu loses by rounding, `(C,)`; 0 where the
    gate is constant.
    """
    threshold = gate_thresholds(units.scales, units.zero, node)
    unit, bits = units.of(graph, node.inputs[0]), units.bits_of(graph, node.inputs[0])
    live = (node.consts["scale"] != 0) & (np.abs(threshold) < 2.0 ** (bits - 2) * unit)
    finite = np.where(live, threshold, 0.0)
    return np.asarray(np.where(live, finite - np.rint(finite / unit) * unit, 0.0))
