"""The vendor's report of a plan: for every tensor its ring, its precision and the headroom left;
for every layer its widths. Secret, like the weights.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from moiety.compiler.ir.formulas import describe
from moiety.compiler.ir.graph import Node
from moiety.compiler.ir.ops import LINEAR, POWERS, PRODUCTS, SPLINES
from moiety.compiler.planning.error import predicted_error
from moiety.compiler.planning.margins import images_wanted, overflow_probability
from moiety.compiler.planning.options import USUAL_OVERFLOW
from moiety.compiler.planning.plan import Plan
from moiety.compiler.planning.quantise import GateIntegers
from moiety.compiler.planning.starved import starved_layers
from moiety.protocols.errors import BadInput

FORMAT = "moiety-plan"
VERSION = 2


class TensorRow(msgspec.Struct, frozen=True):
    """One tensor. bits: its ring; compared_bits: the narrower one in which it is compared. frac:
    effective fractional bits, log2(1/unit), smallest and largest over the channels. low, high:
    calibrated range.

    headroom: bits by which the calibrated range could grow before a value leaves its ring, the
    least over the channels.
    """

    value: str
    op: str
    shape: tuple[int, ...]
    bits: int
    compared_bits: int
    frac: tuple[float, float]
    low: float
    high: float
    headroom: float


class LayerRow(msgspec.Struct, frozen=True):
    """One linear layer: ring, shift, stated weight bits, the bits that its largest weight really
    has, and how many bits its weights lack of those planned because its ring is full.
    """

    value: str
    op: str
    weight_shape: tuple[int, ...]
    ring_bits: int
    shift: int
    weight_bits: int
    largest_weight_bits: int
    missing_bits: int
    spatial_bias: bool


class ProductRow(msgspec.Struct, frozen=True):
    """One product of two values: shapes of its operands, ring, shift."""

    value: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    ring_bits: int
    shift: int


class GateRow(msgspec.Struct, frozen=True):
    """One ReLU that absorbed a batch norm: channels, and how many of them are flipped, never
    change, or are constants.
    """

    value: str
    channels: int
    flipped: int
    clamped: int
    constant: int


class Measured(msgspec.Struct, frozen=True):
    """The error of the results as measured, against the float model. error: root mean square over
    images and results; largest: of all. images: how many; held_out: nothing but ranges followed
    them. overflows: values of theirs that left their rings, or pixels that were clipped.
    """

    error: float
    largest: float
    images: int
    held_out: bool
    overflows: int


class ActivationRow(msgspec.Struct, frozen=True):
    """One activation: what it computes, its straight pieces' knots, and by how much they miss it
    over the calibrated density (root mean square) and range (largest); of a power, relative to it.
    """

    value: str
    function: str
    knots: int
    slope_bits: int
    rms_error: float
    largest_error: float


class PlanReport(msgspec.Struct, frozen=True):
    """Everything above, with the options of the plan and the number of calibration images.
    predicted_error: of the results, root mean square; None where the ranges do not hold what
    that takes. measured_error: None where there are no images. asked_error: the bound that was
    searched for, None if widths were given. overflow_probability:
    that a value of an image leaves its ring, None where the ranges do not say. images_wanted:
    calibration images from which on more would save little of the margins.
    """

    format: str
    version: int
    model: str
    program: str
    calibration_images: int
    options: dict[str, Any]
    predicted_error: float | None
    measured_error: Measured | None
    asked_error: float | None
    overflow_probability: float | None
    images_wanted: int
    tensors: list[TensorRow]
    layers: list[LayerRow]
    products: list[ProductRow]
    gates: list[GateRow]
    activations: list[ActivationRow]

    def encode(self) -> bytes:
        """Indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def plan_report(
    plan: Plan, digest: str, measured: Measured | None = None, asked: float | None = None
) -> PlanReport:
    """The report of a plan whose Program has this digest; `asked`: the bound on its error."""
    missing = starved_layers(plan.formats)
    formats, graph = plan.formats, plan.graph
    ranges = formats.ranges
    return PlanReport(
        format=FORMAT,
        version=VERSION,
        model=graph.name,
        program=digest,
        calibration_images=ranges.images,
        options=msgspec.to_builtins(plan.options),
        predicted_error=_predicted(plan),
        measured_error=measured,
        asked_error=asked,
        overflow_probability=_overflow(plan),
        images_wanted=images_wanted(plan.options.overflow_probability or USUAL_OVERFLOW),
        tensors=[_tensor(plan, value) for value in formats.units.scales.sources],
        layers=[
            _layer(plan, node, missing.get(node.output, 0)) for node in graph.nodes_of(*LINEAR)
        ],
        products=[_product(plan, node) for node in graph.nodes_of(*PRODUCTS)],
        gates=[_gate(value, gate) for value, gate in plan.gates.items()],
        activations=[_activation(plan, node) for node in graph.nodes_of(*SPLINES)],
    )


def _predicted(plan: Plan) -> float | None:
    try:
        return predicted_error(plan)
    except BadInput:
        return None


def _overflow(plan: Plan) -> float | None:
    graph, ranges, options = plan.graph, plan.formats.ranges, plan.options
    try:
        return overflow_probability(graph, ranges, options)
    except BadInput:
        return None


def _layer(plan: Plan, node: Node, missing: int) -> LayerRow:
    layer = plan.layers[node.output]
    largest = int(np.abs(layer.weight.astype(np.int64)).max(initial=0))
    return LayerRow(
        value=node.output,
        op=node.op,
        weight_shape=layer.weight.shape,
        ring_bits=layer.bits,
        shift=layer.shift,
        weight_bits=layer.weight_bits,
        largest_weight_bits=1 + largest.bit_length(),
        missing_bits=missing,
        spatial_bias=layer.bias.shape[1:] != (1, 1),
    )


def _product(plan: Plan, node: Node) -> ProductRow:
    x, y = (tuple(plan.graph.shapes[value][1:]) for value in node.inputs)
    widths = plan.products[node.output]
    return ProductRow(node.output, (x, y), widths.bits, widths.shift)


def _gate(value: str, gate: GateIntegers) -> GateRow:
    flipped = int(gate.flip.sum())
    return GateRow(value, len(gate.flip), flipped, gate.clamped, gate.constant)


def _activation(plan: Plan, node: Node) -> ActivationRow:
    made, power = plan.splines[node.output], node.op in POWERS
    return ActivationRow(
        value=node.output,
        function=f"x^{node.attrs['exponent']:g}" if power else describe(node.attrs["formula"]),
        knots=len(made.spline.knots),
        slope_bits=made.shift,
        rms_error=made.spline.rms,
        largest_error=made.spline.largest,
    )


def _tensor(plan: Plan, value: str) -> TensorRow:
    node = plan.graph.producer(value)
    formats, ranges = plan.formats, plan.formats.ranges
    unit, zero = formats.unit(value), formats.zero(value)
    low, high = ranges.low[value], ranges.high[value]
    reach = np.maximum(np.maximum(np.abs(low - zero), np.abs(high - zero)), 1e-30)
    bits = formats.bits(value)
    frac = -np.log2(unit)
    return TensorRow(
        value=value,
        op="Input" if node is None else node.op,
        shape=tuple(plan.graph.shapes[value][1:]),
        bits=bits,
        compared_bits=formats.compared_bits(value),
        frac=(round(float(frac.min()), 2), round(float(frac.max()), 2)),
        low=float(low.min()),
        high=float(high.max()),
        headroom=round(float(np.min(np.log2(unit / reach)) + (bits - 1)), 2),
    )
