"""Ranges of classes: what the unit of every class of channels must hold.

A channel's range is taken to be at least a part of its tensor's loudest channel (`floor_fraction`),
so that one that was quiet on the calibration images keeps room. A value that is only compared with
thresholds counts from the middle of its range (its *zero*): thresholds and biases absorb it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import KEEPS_ZERO, LINEAR, MOVEMENT, POWERS, SPLINES
from moiety.compiler.ir.scale_fields import ScaleMap
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.rings import widening
from moiety.compiler.planning.spline_choice import spline_of
from moiety.compiler.planning.units import gate_ids, gate_thresholds
from moiety.protocols.arrays import F64

FINE_BITS: Final = 8
"""By so many bits are means of products, and what powers are taken of, finer than other values."""

FINE_FLOOR: Final = 2.0**-10
"""The part of its tensor's range that a channel of these is taken to have at least: by as much may
one that was quiet on the calibration images grow.
"""


@dataclass(frozen=True, eq=False)
class ClassRanges:
    """By class id. reach: largest distance from the zero that there is room for, margins included.
    room: the factor needed beyond it; less than 1, how much finer the unit is to be. zero: the real
    number that integer 0 stands for.
    """

    reach: F64
    room: F64
    zero: F64


@dataclass(frozen=True, eq=False)
class TensorRule:
    """How the calibrated range of one tensor's channels becomes what is planned for. gated: is it
    only compared, so that its zero is free? gain: of the batch norms that follow then, `(C,)`.
    floor_fraction: see PlanOptions.
    """

    gated: bool
    gain: F64
    floor_fraction: float

    def reach(self, low: F64, high: F64) -> tuple[F64, F64]:
        """Largest distance from the zero, at least the floor, and the zero, of each channel."""
        zero = (low + high) / 2 if self.gated else np.zeros(len(low))
        own = np.maximum(np.abs(low - zero), np.abs(high - zero))
        floor = _floor(own, self.gain if self.gated else None, self.floor_fraction)
        return np.maximum(own, floor), zero


def tensor_rules(graph: Graph, scales: ScaleMap, options: PlanOptions) -> dict[str, TensorRule]:
    """By value where a scale begins."""
    gain = _largest_gains(graph, scales, len(scales.classes.roots()))
    fine = _spread_over_decades(graph)
    return {
        value: TensorRule(
            gated=options.uniform is None and only_gated(graph, value),
            gain=gain[ids],
            floor_fraction=FINE_FLOOR if value in fine else options.floor_fraction,
        )
        for value, ids in scales.sources.items()
    }


def class_ranges(
    graph: Graph,
    scales: ScaleMap,
    ranges: Ranges,
    options: PlanOptions,
    knots: Mapping[str, int],
) -> ClassRanges:
    """What the calibrated ranges and the margins beyond ask of every class id, before ids of one
    class are joined. knots: of activations, as in `Widths`.
    """
    count = len(scales.classes.roots())
    reach, zero, headroom = np.zeros(count), np.zeros(count), np.ones(count)
    for value, rule in tensor_rules(graph, scales, options).items():
        ids, low, high = scales.sources[value], ranges.low[value], ranges.high[value]
        if len(ids) == 1:
            low, high = low.min(keepdims=True), high.max(keepdims=True)
        reach[ids], zero[ids] = rule.reach(low, high)
        headroom[ids] = options.headroom_of(value)
    room = _room(graph, scales, count)
    # Of a variance the margin is twice that of what it is the variance of.
    twice = 4.0**options.margin_bits
    headroom = np.where(room < 1, np.maximum(headroom, twice), headroom)
    reach *= headroom
    compared = _compared_reach(graph, scales, ranges, reach, zero, headroom)
    split = _knots_reach(graph, scales, ranges, options, knots, headroom)
    return ClassRanges(np.maximum(np.maximum(reach, compared), split), room, zero)


def only_gated(graph: Graph, value: str) -> bool:
    """Is `value` compared with thresholds, and nothing else? Then its integers may count
    from any zero.
    """
    node = graph.producer(value)
    return node is not None and node.op in LINEAR and _reaches_gates_only(graph, value)


def _reaches_gates_only(graph: Graph, value: str) -> bool:
    return value not in graph.outputs and all(
        node.op == "AffineRelu" or (_passes_on(node) and _reaches_gates_only(graph, node.output))
        for node in graph.consumers(value)
    )


def _passes_on(node: Node) -> bool:
    """Does a zero of the operand go through as it is?"""
    return node.op in KEEPS_ZERO and node.attrs.get("axis", 1) == 1


def _floor(reach: F64, gain: F64 | None, fraction: float) -> F64:
    """The least reach of each channel of one tensor, `(C,)`. With the gain of the batch norm that
    follows, which says how large a channel really is.
    """
    floor = np.full(len(reach), fraction * float(reach.max()))
    if gain is None:
        return floor
    loudest = fraction * float((reach * gain).max())
    return np.asarray(np.minimum(floor, loudest / np.maximum(gain, 1e-300)))


def _largest_gains(graph: Graph, scales: ScaleMap, count: int) -> F64:
    """By class id, the largest factor of a batch norm that a gate applies."""
    gain = np.zeros(count)
    for node in graph.nodes_of("AffineRelu"):
        np.maximum.at(gain, gate_ids(scales, node), np.abs(node.consts["scale"].astype(np.float64)))
    return gain


def _compared_reach(
    graph: Graph, scales: ScaleMap, ranges: Ranges, reach: F64, zero: F64, headroom: F64
) -> F64:
    """By class id, the reach of `x + c` in all comparisons, and twice that of c, which is kept
    within half the ring. A gate that needs more than twice the operand's reach is constant, and
    will be clamped to that.
    """
    sums = np.zeros(len(reach))
    for node in graph.nodes_of("AffineRelu"):
        ids, threshold = gate_ids(scales, node), gate_thresholds(scales, zero, node)
        low = (ranges.low[node.inputs[0]] - zero[ids]) * headroom[ids] + threshold
        high = (ranges.high[node.inputs[0]] - zero[ids]) * headroom[ids] + threshold
        asked = np.maximum(np.maximum(-low, high), 2 * np.abs(threshold))
        np.maximum.at(sums, ids, np.minimum(asked, 2 * reach[ids]))
    return sums


def _knots_reach(
    graph: Graph,
    scales: ScaleMap,
    ranges: Ranges,
    options: PlanOptions,
    knots: Mapping[str, int],
    headroom: F64,
) -> F64:
    """By class id, the reach of `x - t` for all knots t of activations."""
    reach = np.zeros(len(scales.classes.roots()))
    for node in graph.nodes_of(*SPLINES - POWERS):
        (value,) = node.inputs
        places = spline_of(node, ranges, options, knots).knots
        ids = np.broadcast_to(scales.fields[value].ids.reshape(-1), ranges.low[value].shape)
        low = ranges.low[value] * headroom[ids] - places[-1]
        high = ranges.high[value] * headroom[ids] - places[0]
        np.maximum.at(reach, ids, np.maximum(np.abs(low), np.abs(high)))
    return reach


def _fine(graph: Graph) -> list[str]:
    """Means of products, and what powers are taken of."""
    means = [node.output for node in graph.nodes_of("MeanProduct")]
    return means + [node.inputs[0] for node in graph.nodes_of(*POWERS)]


def _spread_over_decades(graph: Graph) -> set[str]:
    """The values where scales begin of which a quiet channel matters as much as a loud one: means
    of products, the operands of powers, and the powers.
    """
    found = {node.output for node in graph.nodes_of("MeanProduct", *POWERS)}
    for node in graph.nodes_of(*POWERS):
        below = graph.producer(node.inputs[0])
        while below is not None and below.op in MOVEMENT:
            below = graph.producer(below.inputs[0])
        if below is not None:
            found.add(below.output)
    return found


def _room(graph: Graph, scales: ScaleMap, count: int) -> F64:
    """By class id, 2 where a protocol wants one headroom bit: of what a max-pool compares, and of
    the narrow operand of a product. Means of products, and what powers are taken of, are few and
    spread over decades: they have FINE_BITS more.
    """
    narrow = [factors[1] for factors in widening(graph).factors.values()]
    pooled = [node.inputs[0] for node in graph.nodes_of("MaxPool")]
    room = np.ones(count)
    for value in (*narrow, *pooled):
        room[scales.ids_in(value)] = 2.0
    for value in _fine(graph):
        room[scales.ids_in(value)] = 2.0**-FINE_BITS
    return room
