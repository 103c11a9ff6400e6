"""The choice of units: every class of channels gets the one that lets its calibrated range
(`class_ranges`), margin included, fill its ring, and is then refined (`unit_refinements`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.ops import POWERS, PRODUCTS
from moiety.compiler.ir.scale_fields import ScaleMap
from moiety.compiler.ir.scales import propagate
from moiety.compiler.planning.class_ranges import class_ranges
from moiety.compiler.planning.derived_units import with_derived
from moiety.compiler.planning.layers import result_layers
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.unit_refinements import (
    aligned,
    coarsened,
    fitted,
    frozen_gates,
    image_class,
)
from moiety.compiler.planning.units import Units, finer_bits, held_bits
from moiety.protocols.arrays import I64
from moiety.protocols.errors import BadPlan


@dataclass(frozen=True)
class Widths:
    """Where a plan departs from the widths of its options: `activation`, by value where a scale
    begins (values whose channels are tied must agree); `weight`, by linear layer. `knots`: how many
    each activation is fitted with.
    """

    activation: Mapping[str, int] = field(default_factory=dict)
    weight: Mapping[str, int] = field(default_factory=dict)
    knots: Mapping[str, int] = field(default_factory=dict)


def choose_units(
    graph: Graph, ranges: Ranges, options: PlanOptions, widths: Widths | None = None
) -> tuple[Graph, Units]:
    """Units of a legalised Graph, and the Graph with its constant gates frozen. BadPlan where the
    uniform style has no room.
    """
    widths = widths or Widths()
    scales = propagate(graph)
    if options.uniform is not None:
        return graph, _uniform_units(graph, scales, ranges, options, widths)
    first = _filling_units(graph, scales, ranges, options, widths)
    frozen = frozen_gates(graph, ranges, first)
    if frozen is not graph:
        graph = frozen
        first = _filling_units(graph, propagate(graph), ranges, options, widths)
    units = aligned(graph, ranges, coarsened(graph, first, options))
    if options.disclose == "minimal":
        units = fitted(graph, units, options)
    return graph, with_derived(graph, units, options)


def _uniform_units(
    graph: Graph, scales: ScaleMap, ranges: Ranges, options: PlanOptions, widths: Widths
) -> Units:
    """The same unit everywhere. BadPlan where a range and its margin leave the ring."""
    _check_uniform(graph)
    frac = options.uniform or 0
    found = class_ranges(graph, scales, ranges, options, widths.knots)
    filled, room = found.reach * found.room, 2.0 ** (options.ring_bits - 1 - frac)
    for value, ids in scales.sources.items():
        worst = float(filled[ids].max())
        if worst > room:
            missing = math.ceil(math.log2(worst / room))
            raise BadPlan(
                f"{value!r} reaches {worst:.4g}, margin included; the uniform ring holds "
                f"{room:.4g}: {missing} more bits are needed "
                f"(bits {(options.bits or 0) + missing}, or fewer fractional bits)"
            )
    rings = np.full(len(filled), options.ring_bits)
    return Units(
        scales,
        reach=found.reach,
        room=found.room,
        unit=np.full(len(filled), 2.0**-frac),
        zero=np.zeros(len(filled)),
        filled=rings - options.margin_bits,
        bits=rings,
        shifts={node.output: frac for node in graph.nodes_of(*PRODUCTS)},
    )


def _check_uniform(graph: Graph) -> None:
    """BadPlan for what needs a unit of its own."""
    for node in graph.nodes:
        if node.op in POWERS or node.op == "MeanProduct":
            raise BadPlan(
                f"{node.op} {node.name!r}, a part of a norm, needs a scale of its own, which the "
                "uniform style has not: leave bits and scale out"
            )


def _filling_units(
    graph: Graph, scales: ScaleMap, ranges: Ranges, options: PlanOptions, widths: Widths
) -> Units:
    """Units that let what every class needs fill its bits; powers of two, known to the client, for
    the inputs and the results; of products, what follows from their operands.
    """
    found = class_ranges(graph, scales, ranges, options, widths.knots)
    filled = _filled(scales, options, widths)
    roots, of_class = scales.classes.roots(), np.zeros(len(filled))
    np.maximum.at(of_class, roots, found.reach * found.room)
    held = held_bits(filled, found.room, options.margin_bits)
    unit = np.where(of_class > 0, of_class, 1.0)[roots] / 2.0 ** (held - 1)
    if options.input_reach is not None:
        image = roots == roots[scales.sources[graph.inputs[0]][0]]
        reach = options.input_reach * found.room[image]
        unit[image] = reach / 2.0 ** (options.activation_bits - 1)
    public = image_class(graph, scales)
    unit[public] = 2.0 ** np.ceil(np.log2(unit[public]))
    for layer in result_layers(graph):
        unit[scales.sources[layer]] = 2.0**-options.output_frac
    bits = held + finer_bits(found.room)
    units = Units(scales, found.reach, found.room, unit, found.zero, filled, bits)
    return with_derived(graph, units, options)


def _filled(scales: ScaleMap, options: PlanOptions, widths: Widths) -> I64:
    """By class id, the signed bits that its range fills."""
    roots = scales.classes.roots()
    filled = np.zeros(len(roots), np.int64)
    for value, ids in scales.sources.items():
        np.maximum.at(filled, roots[ids], widths.activation.get(value, options.activation_bits))
    return np.asarray(filled[roots])
