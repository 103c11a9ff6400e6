"""Refinements of units, each of which returns what it was given where it does not apply:

- `frozen_gates`: a gate's operand that moves by less than a unit over all calibration images
  is a constant (a dead channel, which its batch norm blows up from nothing): the gate is
  frozen at its mean.
- `coarsened`: where a layer's rounded inputs alone make an error of many units of its output, a
  coarser unit for that output loses nothing, and saves the weights of all other outputs, which
  share its shift.
- `aligned`: the threshold that matters most for a channel becomes an integer.
- `fitted`, for minimal disclosure: weights fit a shift that follows from the layer's size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import LINEAR, OPS
from moiety.compiler.ir.scale_fields import ScaleMap
from moiety.compiler.ir.shapes import rebuilt
from moiety.compiler.planning import shifts
from moiety.compiler.planning.class_ranges import only_gated
from moiety.compiler.planning.derived_units import DERIVED, derived_ids, with_derived_unit
from moiety.compiler.planning.layers import result_layers
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.units import Units, gate_ids, gate_thresholds, ideal_weights
from moiety.protocols.arrays import BOOL, F64, I64
from moiety.protocols.errors import BadPlan

NOISE_GAIN = 16.0
"""Largest Euclidean norm of a row of weights, in units of output per unit of input, that is worth a
finer output unit.
"""

MAX_STRETCH = 1.1
"""Units are made coarser by at most this factor for the sake of a threshold."""


def image_class(graph: Graph, scales: ScaleMap) -> BOOL:
    """Which ids share an input's unit; it is public, hence a power of two."""
    roots = scales.classes.roots()
    return np.isin(roots, [roots[scales.sources[source][0]] for source in graph.inputs])


def frozen_gates(graph: Graph, ranges: Ranges, units: Units) -> Graph:
    """Gates whose operand moves by less than a unit become the constant `relu(g*m + h)`, m the
    middle of its range.
    """
    changed: dict[str, Node] = {}
    for node in graph.nodes_of("AffineRelu"):
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
    return rebuilt(graph, [changed.get(node.output, node) for node in graph.nodes])


def coarsened(graph: Graph, units: Units, options: PlanOptions) -> Units:
    """Coarser units for outputs whose error comes from their inputs' rounding,
    layer after layer.
    """
    fixed, results = image_class(graph, units.scales), set(result_layers(graph))
    for node in graph.nodes_of(*LINEAR, *DERIVED):
        if node.op in DERIVED:
            units = with_derived_unit(graph, units, options, node)
        elif node.output not in results:
            norms = np.sqrt((ideal_weights(graph, units, node) ** 2).sum(axis=(1, 2, 3)))
            growth = _by_class(units.scales, node.output, norms / NOISE_GAIN)
            units = replace(units, unit=units.unit * np.where(fixed, 1.0, growth))
    return units


def fitted(graph: Graph, units: Units, options: PlanOptions) -> Units:
    """Coarser units for outputs whose weights would not fit a shift that follows from the
    layer's size alone.

    BadPlan for a layer that writes a result, whose unit is public.
    """
    for _ in range(len(graph.nodes)):
        before = units.unit
        for node in graph.nodes_of(*LINEAR, *DERIVED):
            if node.op in DERIVED:
                units = with_derived_unit(graph, units, options, node)
                continue
            excess = _excess(graph, units, node, options)
            growth = _by_class(units.scales, node.output, excess * (1 + 1e-9))
            units = replace(units, unit=units.unit * growth)
        if (units.unit == before).all():
            break
    return units


def _excess(graph: Graph, units: Units, node: Node, options: PlanOptions) -> F64:
    """How many times too large each output's weights are for the shift of the layer's size, `(M,)`.
    BadPlan where that cannot be helped.
    """
    result = node.output in result_layers(graph)
    terms = math.prod(OPS[node.op].convolution(node).weight.shape[1:])
    shift, bits = shifts.by_size(terms, result, options)
    peaks = np.abs(ideal_weights(graph, units, node)).max(axis=(1, 2, 3)) * 2.0**shift
    excess = peaks / (2.0 ** (bits - 1) - 1)
    if result and excess.max(initial=0.0) > 1:
        raise BadPlan(
            f"{node.op} {node.name!r} needs {math.ceil(math.log2(excess.max()))} more weight bits "
            "than layers of its size usually do, which its shift would disclose: use fewer output "
            "fractional bits, more weight bits, or the usual disclosure"
        )
    return np.asarray(excess)


def _by_class(scales: ScaleMap, value: str, factors: F64) -> F64:
    """By class id, the largest factor, at least 1, that a channel of a linear layer's
    result asks for.
    """
    roots = scales.classes.roots()
    largest = np.ones(len(roots))
    np.maximum.at(largest, roots[scales.sources[value]], factors)
    return np.asarray(largest[roots])


@dataclass(frozen=True, eq=False)
class _Thresholds:
    """Thresholds of one gate, by channel. ids: class. unit: of its operand. steps: the threshold in
    units; 1 where it is not live. live: a gate that never changes, or whose result is constant,
    does not care.
    """

    ids: I64
    unit: F64
    steps: F64
    live: BOOL

    @classmethod
    def of(cls, graph: Graph, units: Units, node: Node) -> _Thresholds:
        ids, unit = gate_ids(units.scales, node), units.of(graph, node.inputs[0])
        threshold = gate_thresholds(units.scales, units.zero, node)
        live = (node.consts["scale"] != 0) & (np.abs(threshold) < units.reach[ids]) & (unit != 0)
        steps = np.where(live, threshold / np.where(unit != 0, unit, 1.0), 1.0)
        return cls(ids, unit, steps, live)

    @property
    def move(self) -> F64:
        """By how much the zero must move for a whole number of steps."""
        return np.asarray((np.rint(self.steps) - self.steps) * self.unit)

    @property
    def stretch(self) -> F64:
        """The factor by which the unit must grow for a whole number of steps."""
        return np.asarray(np.abs(self.steps) / np.maximum(np.floor(np.abs(self.steps)), 1.0))


def aligned(graph: Graph, ranges: Ranges, units: Units) -> Units:
    """Of all thresholds that a channel is compared with, the one that matters most is made an
    integer: it costs nothing, and the rounding of a threshold moves a whole channel.

    Where the zero is free, it moves by less than a unit; elsewhere the unit grows until a whole
    number of them is the threshold.
    """
    roots = units.scales.classes.roots()
    free, fixed = _free_zeros(graph, units.scales), _fixed_units(graph, units.scales)
    responses = ranges.responses.gate if ranges.responses is not None else {}
    zero, unit, heaviest = units.zero.copy(), units.unit.copy(), np.full(len(roots), -1.0)
    for node in graph.nodes_of("AffineRelu"):
        gate = _Thresholds.of(graph, units, node)
        ids, root, stretch = gate.ids, roots[gate.ids], gate.stretch
        weight = responses.get(node.output, np.zeros(len(ids)))
        growable = ~free[ids] & ~fixed[ids] & (stretch >= 1) & (stretch <= MAX_STRETCH)
        chosen = gate.live & (weight > heaviest[root]) & (free[ids] | growable)
        heaviest[root[chosen]] = weight[chosen]
        moved, grown = chosen & free[ids], chosen & growable
        zero[ids[moved]] = units.zero[ids[moved]] + gate.move[moved]
        unit[root[grown]] = units.unit[root[grown]] * stretch[grown]
    return replace(units, zero=zero, unit=np.where(free, units.unit, unit[roots]))


def _free_zeros(graph: Graph, scales: ScaleMap) -> BOOL:
    """By class id: may integers count from any zero?"""
    free = np.zeros(len(scales.classes.roots()), bool)
    for value, ids in scales.sources.items():
        free[ids] = only_gated(graph, value)
    return free


def _fixed_units(graph: Graph, scales: ScaleMap) -> BOOL:
    """By class id: the units of the inputs and of the results, which are public, and derived."""
    results = np.zeros(len(scales.classes.roots()), bool)
    for layer in result_layers(graph):
        results[scales.sources[layer]] = True
    public = image_class(graph, scales) | results[scales.classes.roots()]
    return np.asarray(public | derived_ids(graph, scales))
