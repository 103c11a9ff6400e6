"""Layers whose weights get fewer bits than the plan gives them, because their rings are full.

A linear layer's ring holds its result and its shift, and may have `shifts.MAX_LAYER_BITS`. Behind
an average pool of k elements, which is a sum, weights are k times smaller, and need a shift of
log2(k) bits more; so the wider the activations, the less was left for the weights. There a
rescaling layer behind the pool (`passes.legalise`) helps: it truncates the sum to the activation's
width, and the layer after it reads a narrow operand.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

import numpy as np

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.ops import LINEAR
from moiety.compiler.ir.queries import reaches_linear_only
from moiety.compiler.passes.legalise import average_pools_below, rescaled, rescaled_name
from moiety.compiler.planning import shifts
from moiety.compiler.planning.formats import Formats, choose_formats
from moiety.compiler.planning.layers import averaged_bits
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.unit_choice import Widths
from moiety.compiler.planning.units import ideal_weights

AVERAGE_BITS: Final = 16
"""Activation bits of averages, at most, where the options ask for fewer."""


def starved_layers(formats: Formats) -> dict[str, int]:
    """By linear layer, how many bits fewer its largest weight has than the plan's widths say;
    layers that have them all are left out, and so are layers of widths that follow other rules
    (uniform, minimal disclosure). The further bits of a layer that writes a result do not count.
    """
    missing: dict[str, int] = {}
    if formats.options.uniform is not None or formats.options.disclose == "minimal":
        return missing  # their shifts follow other rules
    for node in formats.graph.nodes_of(*LINEAR):
        peak = float(np.abs(ideal_weights(formats.graph, formats.units, node)).max(initial=0.0))
        wanted = formats.widths.weight.get(node.output, formats.options.weight_bits)
        if 0 < peak < math.inf:
            averaged = averaged_bits(formats.graph, node)
            found = shifts.missing_bits(
                math.log2(peak), wanted, formats.bits(node.output), averaged
            )
            missing |= {node.output: found} if found else {}
    return missing


def relieved(graph: Graph, ranges: Ranges, options: PlanOptions) -> Graph:
    """A legalised Graph with rescaling layers below the layers that would be starved at the
    options' widths. The same Graph where there are none, or where the ranges do not know the
    rescaled values, as those of earlier versions.
    """
    edges = _pool_edges(graph, starved_layers(choose_formats(graph, ranges, options)))
    known = {edge for edge in edges if rescaled_name(edge[0]) in ranges.low}
    return rescaled(graph, known)


def average_widths(graph: Graph, options: PlanOptions) -> Widths:
    """Of a plan whose widths are given: rescaling layers behind average pools write more bits than
    the options say, for a mean of k elements is finer than they are: its error, where theirs are
    independent, is smaller by sqrt(k).
    """
    if options.uniform is not None or options.disclose == "minimal":
        return Widths()
    given = options.activation_bits
    return Widths(
        activation={
            node.output: max(given, min(given + (averaged + 1) // 2, AVERAGE_BITS))
            for node in graph.nodes_of("Scale")
            if (averaged := averaged_bits(graph, node))
        }
    )


def averages_rescaled(graph: Graph) -> list[str]:
    """The average pools of a relieved Graph that a rescaling layer stands behind for the sake of
    layers alone.
    """
    return [
        node.inputs[0]
        for node in graph.nodes_of("Scale")
        if node.output == rescaled_name(node.inputs[0])
        and averaged_bits(graph, node)
        and reaches_linear_only(graph, node.output)
    ]


def fully_relieved(graph: Graph) -> Graph:
    """With rescaling layers behind all average pools that a layer reads: what is calibrated, so
    that the ranges serve plans with and without them.
    """
    return rescaled(graph, _pool_edges(graph, [n.output for n in graph.nodes_of(*LINEAR)]))


def _pool_edges(graph: Graph, layers: Collection[str]) -> set[tuple[str, str]]:
    return set().union(*(average_pools_below(graph, layer) for layer in layers))
