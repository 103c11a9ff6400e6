"""Units: the real number per integer step of every class of channels, from calibrated ranges.

A class gets the unit that lets its calibrated range fill `activation_bits`, with these refinements:

- A channel's range is taken to be at least a part of its tensor's loudest channel
  (`floor_fraction`), so that one that was quiet on the calibration images keeps room.
- A value that is only compared with thresholds counts from the middle of its range (its *zero*):
  thresholds and biases absorb it.
- A gate's operand that moves by less than a unit over all calibration images is a constant (a dead
  channel, which its batch norm blows up from nothing): the gate is frozen at its mean.
- Where a layer's rounded inputs alone make an error of many units of its output, a coarser unit for
  that output loses nothing, and saves the weights of all other outputs, which share its shift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import LINEAR, OPS
from moiety.compiler.ir.queries import output_layers, revealed
from moiety.compiler.ir.scale_fields import ScaleMap
from moiety.compiler.ir.shapes import rebuilt
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.scales import propagate
from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.parameters import MAX_WEIGHT_BITS

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

NOISE_GAIN = 16.0
"""Largest Euclidean norm of a row of weights, in units of output per unit of input,
that is worth a finer output unit.
"""


@dataclass(frozen=True, eq=False)
class Units:
    """By class id: `need`, the calibrated range around the zero; `unit`; `zero`, the real number
    that integer 0 stands for; `bits`, the ring that holds the integers.
    """

    scales: ScaleMap
    need: F64
    unit: F64
    zero: F64
    bits: I64

    def of(self, graph: Graph, value: str) -> F64:
        """Unit of each channel of `value`, `(C,)`, with the multipliers that its ops
        brought; may be negative or 0.
        """
        spread = self.scales.fields[value]
        return _channels(self.unit[spread.ids] * spread.multiplier, graph, value)

    def bits_of(self, graph: Graph, value: str) -> I64:
        """Ring that holds each channel of `value`, `(C,)`; of channels of
        several classes, the widest.
        """
        bits = self.bits[self.scales.fields[value].ids]
        widest = bits.max(axis=tuple(axis for axis in range(bits.ndim) if axis != 1), keepdims=True)
        return np.broadcast_to(widest.reshape(-1), (graph.shapes[value][1],))

    def zero_of(self, graph: Graph, value: str) -> F64:
        """Zero of each channel of `value`, a linear layer's result or a gate's operand, `(C,)`."""
        return _channels(self.zero[self.scales.fields[value].ids], graph, value)


def _channels(array: F64, graph: Graph, value: str) -> F64:
    flat = array.reshape(*array.shape[:2], -1)[0, :, 0]
    return np.array(np.broadcast_to(flat, (graph.shapes[value][1],)))


@dataclass(frozen=True)
class Widths:
    """Where a plan departs from the widths of its options: `activation`, by value where a scale
    begins (values whose channels are tied must agree); `weight`, by linear layer.
    """

    activation: Mapping[str, int] = field(default_factory=dict)
    weight: Mapping[str, int] = field(default_factory=dict)


def choose_units(
    graph: Graph, ranges: Ranges, options: PlanOptions, widths: Widths | None = None
) -> tuple[Graph, Units]:
    """Units of a legalised Graph, and the Graph with its constant gates frozen. BadPlan where
    the uniform style has no room.
    """
    widths = widths or Widths()
    scales = propagate(graph)
    if options.uniform is not None:
        need, room, _ = _needs(graph, scales, ranges, options)
        _check_uniform(scales, need * room, options)
        bits = np.full(len(need), options.ring_bits)
        return graph, Units(
            scales, need, np.full(len(need), 2.0**-options.uniform), np.zeros(len(need)), bits
        )
    frozen = _freeze(graph, ranges, _first_units(graph, scales, ranges, options, widths))
    if frozen is not graph:
        graph, scales = frozen, propagate(frozen)
    units = _aligned(
        graph, ranges, _coarsened(graph, _first_units(graph, scales, ranges, options, widths))
    )
    return graph, _fitted(graph, units, options) if options.disclose == "minimal" else units


def _first_units(
    graph: Graph, scales: ScaleMap, ranges: Ranges, options: PlanOptions, widths: Widths
) -> Units:
    roots = scales.classes.roots()
    filled = np.zeros(len(roots), np.int64)
    for value, ids in scales.sources.items():
        np.maximum.at(filled, roots[ids], widths.activation.get(value, options.activation_bits))
    filled = filled[roots]
    need, room, zero = _needs(graph, scales, ranges, options)
    of_class = np.zeros(len(roots))
    np.maximum.at(of_class, roots, need * room)
    unit = np.where(of_class > 0, of_class, 1.0)[roots] / 2.0 ** (filled - 1)
    fixed = _input_class(graph, scales)
    if options.input_reach is not None:
        unit[fixed] = options.input_reach / 2.0 ** (options.activation_bits - 1)
    unit[fixed] = 2.0 ** np.ceil(np.log2(unit[fixed]))
    for layer in all_output_layers(graph):
        unit[scales.sources[layer]] = 2.0**-options.output_frac
    return Units(scales, need, unit, zero, filled + options.margin_bits)


def _input_class(graph: Graph, scales: ScaleMap) -> npt.NDArray[np.bool_]:
    """Which ids share the image's unit; it is public, hence a power of two."""
    roots = scales.classes.roots()
    (source,) = graph.inputs
    return np.asarray(roots == roots[scales.sources[source][0]])


def _needs(
    graph: Graph, scales: ScaleMap, ranges: Ranges, options: PlanOptions
) -> tuple[F64, F64, F64]:
    """By class id: calibrated range around the zero, the factor of room that
    it needs beyond, and the zero.
    """
    count = len(scales.classes.roots())
    need, room, gain, zero = np.zeros(count), np.ones(count), np.zeros(count), np.zeros(count)
    gates = [node for node in graph.nodes if node.op == "AffineRelu"]
    for node in gates:
        np.maximum.at(gain, gate_ids(scales, node), np.abs(node.consts["scale"].astype(np.float64)))
    for value, ids in scales.sources.items():
        low, high = ranges.low[value], ranges.high[value]
        if len(ids) == 1:
            low, high = low.min(keepdims=True), high.max(keepdims=True)
        gated = options.uniform is None and _only_gated(graph, value)
        if gated:
            zero[ids] = (low + high) / 2
        reach = np.maximum(np.abs(low - zero[ids]), np.abs(high - zero[ids]))
        floor = np.full(len(ids), options.floor_fraction * float(reach.max()))
        if gated:
            # The batch norm that follows says how large a channel really is.
            loudest = options.floor_fraction * float((reach * gain[ids]).max())
            floor = np.minimum(floor, loudest / np.maximum(gain[ids], 1e-300))
        need[ids] = np.maximum(reach, floor)
    for node in graph.nodes:
        if node.op == "MaxPool":
            room[scales.fields[node.output].ids] = 2.0  # differences of two operands must fit
    sums = np.zeros(count)
    for node in gates:
        ids, threshold = gate_ids(scales, node), gate_thresholds(scales, zero, node)
        low, high = (
            side[node.inputs[0]] - zero[ids] + threshold for side in (ranges.low, ranges.high)
        )
        # A gate that needs more than twice the operand's range is constant,
        # and will be clamped to that.
        np.maximum.at(sums, ids, np.minimum(np.maximum(-low, high), 2 * need[ids]))
    need = np.maximum(need, sums)
    return need, room, zero


def _only_gated(graph: Graph, value: str) -> bool:
    """Is `value` compared with thresholds, and nothing else? Then its
    integers may count from any zero.
    """
    node = graph.producer(value)
    return node is not None and node.op in LINEAR and _reaches_gates_only(graph, value)


def _reaches_gates_only(graph: Graph, value: str) -> bool:
    return value not in graph.outputs and all(
        node.op == "AffineRelu"
        or (
            (node.op in ("Slice", "MaxPool") or (node.op == "Concat" and node.attrs["axis"] == 1))
            and _reaches_gates_only(graph, node.output)
        )
        for node in graph.consumers(value)
    )


def gate_ids(scales: ScaleMap, node: Node) -> I64:
    """Class id of each channel of an AffineRelu's operand, `(C,)`."""
    return np.broadcast_to(
        scales.fields[node.inputs[0]].ids.reshape(-1), node.consts["scale"].shape
    )


def gate_thresholds(scales: ScaleMap, zero: F64, node: Node) -> F64:
    """c of `gate(x + c)`, x counted from its zero, `(C,)`; 0 where g = 0: the gate
    does not matter. May be infinite.
    """
    gain = node.consts["scale"].astype(np.float64)
    shift = node.consts["shift"].astype(np.float64) + gain * zero[gate_ids(scales, node)]
    with np.errstate(over="ignore"):
        return np.where(gain != 0, shift / np.where(gain != 0, gain, 1.0), 0.0)


def _freeze(graph: Graph, ranges: Ranges, units: Units) -> Graph:
    """Gates whose operand moves by less than a unit become the constant `relu(g*m +
    h)`, m the middle of its range.
    """
    changed: dict[str, Node] = {}
    for node in graph.nodes:
        if node.op == "AffineRelu":
            low, high = ranges.low[node.inputs[0]], ranges.high[node.inputs[0]]
            gain, shift = (node.consts[name].astype(np.float64) for name in ("scale", "shift"))
            still = (gain != 0) & (high - low < np.abs(units.of(graph, node.inputs[0])))
            if still.any():
                constant = np.maximum(gain * (low + high) / 2 + shift, 0.0)
                consts = {
                    "scale": np.where(still, 0.0, gain),
                    "shift": np.where(still, constant, shift),
                }
                changed[node.output] = node.with_(consts=consts)
    if not changed:
        return graph
    return rebuilt(graph, (changed.get(node.output, node) for node in graph.nodes))


def _coarsened(graph: Graph, units: Units) -> Units:
    """Coarser units for outputs whose error comes from their inputs'
    rounding, layer after layer.
    """
    scales, unit = units.scales, units.unit.copy()
    roots = scales.classes.roots()
    fixed = _input_class(graph, scales)
    last = set(all_output_layers(graph))
    for node in graph.nodes:
        if node.op in LINEAR and node.output not in last:
            current = Units(scales, units.need, unit, units.zero, units.bits)
            norms = np.sqrt((ideal_weights(graph, current, node) ** 2).sum(axis=(1, 2, 3)))
            factor = np.ones(len(unit))
            np.maximum.at(factor, roots[scales.sources[node.output]], norms / NOISE_GAIN)
            unit *= np.where(fixed, 1.0, factor[roots])
    return Units(scales, units.need, unit, units.zero, units.bits)


CLASS_BITS, CLASS_ROOM = 3, 3
"""Weights of a layer whose shift follows from its size: log2 of their usual peak over that of the
plain guess (a row of norm 1), and bits of room on top. Over DenseNet-121 and the families of small
networks it is 6 to -1, the median 3.5.
"""


def class_widths(node: Node, last: bool, options: PlanOptions) -> tuple[int, int]:
    """(shift, weight bits) of a linear layer by its size alone; of one that writes a result, by the
    options alone, for the unit of its output is not free.
    """
    if last:
        return options.weight_bits, MAX_WEIGHT_BITS
    terms = math.prod(linear_constants(node)[0].shape[1:])
    shift = max(0, options.weight_bits - 1 - CLASS_BITS + round(math.log2(terms) / 2))
    return shift, min(options.weight_bits + CLASS_ROOM, MAX_WEIGHT_BITS)


def _fitted(graph: Graph, units: Units, options: PlanOptions) -> Units:
    """Coarser units for outputs whose weights would not fit a shift that
    follows from the layer's size alone.

    BadPlan for a layer that writes a result, whose unit is public.
    """
    scales, unit = units.scales, units.unit.copy()
    roots, last = scales.classes.roots(), set(all_output_layers(graph))
    for _ in range(len(graph.nodes)):
        before = unit.copy()
        for node in graph.nodes:
            if node.op not in LINEAR:
                continue
            shift, bits = class_widths(node, node.output in last, options)
            current = Units(scales, units.need, unit, units.zero, units.bits)
            peaks = np.abs(ideal_weights(graph, current, node)).max(axis=(1, 2, 3)) * 2.0**shift
            excess = peaks / (2.0 ** (bits - 1) - 1)
            if node.output in last and excess.max(initial=0.0) > 1:
                raise BadPlan(
                    f"{node.op} {node.name!r} needs {math.ceil(math.log2(excess.max()))} more weight bits than layers "
                    "of its size usually do, which its shift would disclose: use fewer output fractional bits, more "
                    "weight bits, or the usual disclosure"
                )
            factor = np.ones(len(unit))
            np.maximum.at(factor, roots[scales.sources[node.output]], excess * (1 + 1e-9))
            unit = unit * factor[roots]
        if (unit == before).all():
            break
    return Units(scales, units.need, unit, units.zero, units.bits)


MAX_STRETCH = 1.1
"""Units are made coarser by at most this factor for the sake of a threshold."""


def _aligned(graph: Graph, ranges: Ranges, units: Units) -> Units:
    """Of all thresholds that a channel is compared with, the one that matters most is made an
    integer: it costs nothing, and the rounding of a threshold moves a whole channel.

    Where the zero is free, it moves by less than a unit; elsewhere the unit grows until a whole
    number of them is the threshold.
    """
    scales, zero, unit = units.scales, units.zero.copy(), units.unit.copy()
    roots, fixed = scales.classes.roots(), _input_class(graph, scales)
    last = np.zeros(len(zero), bool)
    for layer in all_output_layers(graph):
        last[scales.sources[layer]] = True
    fixed = fixed | last[roots]
    free = np.zeros(len(zero), bool)
    for value, ids in scales.sources.items():
        free[ids] = _only_gated(graph, value)
    response = ranges.responses.gate if ranges.responses is not None else {}
    heaviest = np.full(len(zero), -1.0)
    for node in graph.nodes:
        if node.op != "AffineRelu":
            continue
        ids, own = gate_ids(scales, node), units.of(graph, node.inputs[0])
        weight = response.get(node.output, np.zeros(len(ids)))
        threshold = gate_thresholds(scales, units.zero, node)
        # A gate that never changes, or whose result is constant, does not care.
        live = (node.consts["scale"] != 0) & (np.abs(threshold) < 2 * units.need[ids]) & (own != 0)
        counted = np.where(live, threshold / np.where(own != 0, own, 1.0), 1.0)
        stretch = np.abs(counted) / np.maximum(np.floor(np.abs(counted)), 1.0)
        best = (
            live
            & (weight > heaviest[roots[ids]])
            & (free[ids] | ((stretch <= MAX_STRETCH) & (stretch >= 1)))
        )
        best &= free[ids] | ~fixed[ids]
        heaviest[roots[ids[best]]] = weight[best]
        moved = best & free[ids]
        zero[ids[moved]] = units.zero[ids[moved]] + ((np.rint(counted) - counted) * own)[moved]
        grown = best & ~free[ids]
        unit[roots[ids[grown]]] = units.unit[roots[ids[grown]]] * stretch[grown]
    return Units(scales, units.need, np.where(free, units.unit, unit[roots]), zero, units.bits)


def linear_constants(node: Node) -> tuple[F64, F64, int]:
    """A linear op as a convolution: weight float64 `(M, C/groups, kh, kw)`, bias `(M,)`, groups."""
    layer = OPS[node.op].convolution(node)
    return layer.weight, layer.bias, layer.groups


def ideal_weights(graph: Graph, units: Units, node: Node) -> F64:
    """Weights from integers to integers, before scaling by 2^shift and rounding:
    float64 `(M, C/groups, kh, kw)`.
    """
    weight, _, groups = linear_constants(node)
    filters, depth = weight.shape[:2]
    unit_in, unit_out = units.of(graph, node.inputs[0]), units.of(graph, node.output)
    # Input channel of weight[m, c]: the m-th filter's group times its depth, plus c.
    channel = (np.arange(filters) // (filters // groups))[:, None] * depth + np.arange(depth)[
        None, :
    ]
    return np.asarray(weight * (unit_in[channel] / unit_out[:, None])[:, :, None, None])


def all_output_layers(graph: Graph) -> list[str]:
    """The linear layers that write the outputs; their unit is public."""
    return [
        layer
        for output in graph.outputs
        for layer in output_layers(graph, revealed(graph, output)) or ()
    ]


def _check_uniform(scales: ScaleMap, need: F64, options: PlanOptions) -> None:
    room = 2.0 ** (options.ring_bits - 2 - (options.uniform or 0))
    for value, ids in scales.sources.items():
        worst = float(need[ids].max())
        if worst > room:
            missing = math.ceil(math.log2(worst / room))
            raise BadPlan(
                f"{value!r} reaches {worst:.4g}, the uniform ring holds {room:.4g} with one bit of margin: "
                f"{missing} more bits are needed (bits {(options.bits or 0) + missing}, or fewer fractional bits)"
            )
