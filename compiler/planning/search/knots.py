"""How many knots each activation gets where an error is searched for: before the widths, and out of
a part of the error of its own.
"""

from __future__ import annotations

import math
from typing import Final

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import POWERS, SPLINES
from moiety.compiler.planning.activations import USUAL_HIGH
from moiety.compiler.planning.class_ranges import FINE_BITS
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.search.pieces import pieces_price, power_pieces_price
from moiety.compiler.planning.spline_choice import counts_near, fitted_to
from moiety.compiler.planning.splines import KNOTS
from moiety.protocols.network import NETWORKS

FIT_PART: Final = 1 / 3
"""Of the squared error that is allowed, the part that all fits together may make."""

Offer = tuple[float, float]
"""Price and squared error of an activation with one number of knots."""


def cheapest_knots(
    graph: Graph, ranges: Ranges, options: PlanOptions, bound: float
) -> dict[str, int]:
    """By Activation, the number of knots: from the fewest on, those are added that take off most
    error for their price, until the fits' part of the error is kept or there are no more.
    """
    offers = {
        node.output: _offers(graph, node, ranges, options) for node in graph.nodes_of(*SPLINES)
    }
    chosen = {value: min(counts) for value, counts in offers.items()}
    while sum(offers[v][n][1] for v, n in chosen.items()) > FIT_PART * bound**2:
        gains = {
            (value, count): _gain(counts[chosen[value]], counts[count])
            for value, counts in offers.items()
            for count in counts
            if count > chosen[value]
        }
        if not gains or max(gains.values()) <= 0:
            break
        value, count = max(gains, key=gains.__getitem__)
        chosen[value] = count
    return chosen


def _offers(graph: Graph, node: Node, ranges: Ranges, options: PlanOptions) -> dict[int, Offer]:
    """By number of knots, of those with which a spline comes near enough."""
    values = math.prod(graph.shapes[node.output])
    errors = dict(zip(KNOTS, ranges.fit_responses(node.output).tolist(), strict=True))
    network = NETWORKS[options.network]
    if node.op in POWERS:
        bits = options.ring_bits
        wide = bits + FINE_BITS

        def power_price(count: int) -> float:
            return power_pieces_price(values, count, wide, bits, options.rounding, network)

        return {count: (power_price(count), errors[count]) for count in KNOTS}

    def price(count: int) -> float:
        gates = fitted_to(node, ranges, options, count).gates
        bits = options.ring_bits
        return pieces_price(values, gates, USUAL_HIGH, bits, bits, options.rounding, network)

    return {count: (price(count), errors[count]) for count in counts_near(node, ranges, options)}


def _gain(now: Offer, then: Offer) -> float:
    """Squared error that is taken off for each nanosecond."""
    return (now[1] - then[1]) / max(then[0] - now[0], 1e-9)
