"""Rings: how wide each value is between layers, which values share a ring, which can be made in a
wider one, and how wide the results are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import (
    ANY_RING,
    LINEAR,
    PRODUCTS,
    REINDEXING,
    RELUS,
    SHARED_RING,
    WIDE_OPERANDS,
)
from moiety.compiler.ir.queries import output_layers
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.ties import tied_together

RESULT_INTEGER_BITS = 10
"""Integer bits of revealed values, sign included, where their range asks for no more: a constant
discloses nothing.
"""


def ring_widths(graph: Graph, needed: Mapping[str, int]) -> dict[str, int]:
    """The ring of every value between layers, from that which each needs for itself.

    Values that ops of one ring tie together take the widest that any of them needs: linear layers
    and ReLUs can write any ring, and so a narrow value is never extended, at the price of a
    comparison, to meet a wider one.
    """
    return {
        value: max(needed[other] for other in tied) for value, tied in tied_rings(graph).items()
    }


def tied_rings(graph: Graph) -> dict[str, tuple[str, ...]]:
    """For every value, all that are in one ring with it."""
    ties = ((node.output, *node.inputs) for node in graph.nodes_of(*SHARED_RING))
    groups = tied_together(tuple(graph.shapes), ties)
    group_of = {value: group for group in groups for value in group}
    return {value: group_of[value] for value in graph.shapes}


def result_widths(graph: Graph, ranges: Ranges, options: PlanOptions) -> dict[str, int]:
    """The ring of the results: of the values that layers write for them, and of what is reindexed
    from those. Empty in the uniform style, where they have no ring of their own.
    """
    if options.uniform is not None:
        return {}
    widths: dict[str, int] = {}
    for value in graph.outputs:
        layers = output_layers(graph, value) or []
        bits = options.output_frac + max(
            RESULT_INTEGER_BITS, _integer_bits(layers, ranges, options)
        )
        pending = [value]
        while pending:
            name = pending.pop()
            widths[name] = bits
            node = graph.producer(name)
            if node is not None and name not in layers:
                pending.extend(node.inputs)
    return widths


def _integer_bits(layers: list[str], ranges: Ranges, options: PlanOptions) -> int:
    """Bits before the point, sign included, that hold the calibrated range and its margin."""
    reach = max(
        float(np.abs([ranges.low[v], ranges.high[v]]).max()) * options.headroom_of(v)
        for v in layers
    )
    return 1 + math.ceil(math.log2(max(reach, 1e-30)))


@dataclass(frozen=True)
class Widening:
    """Which values are made in a wide ring when a linear layer or a product asks for one.

    free: in any ring, for a ReLU extends as it goes, the image belongs to the client, and a product
    in a wider ring costs less than its extension (a mean of products not: its extension is of
    few values).
    wide: free, or their operands are extended: that of a pool (a sum does not fit the narrow ring),
    and the parts of a concatenation or the inside of a padding (smaller than the whole). Everything
    else is extended after it is made. factors: of every product of two values, the operand that it
    takes in its own ring, and the other; of a square both are one, and it is not widened. readers:
    the linear layers and products in whose rings each value is wanted, passed back to where that is
    satisfied.
    """

    free: frozenset[str]
    wide: frozenset[str]
    factors: Mapping[str, tuple[str, str]]
    readers: Mapping[str, frozenset[str]]

    @property
    def extended(self) -> frozenset[str]:
        """The values that are extended after they are made."""
        asked = (value for value, readers in self.readers.items() if readers)
        return frozenset(asked) - self.wide


def widening(graph: Graph) -> Widening:
    """Where the values of a legalised Graph are widened."""
    free, wide = set(graph.inputs), set(graph.inputs)
    for node in graph.nodes:
        if _widens_freely(node, free):
            free.add(node.output)
            wide.add(node.output)
        elif node.op in WIDE_OPERANDS or (node.op in REINDEXING and wide.issuperset(node.inputs)):
            wide.add(node.output)
    factors = {node.output: _factors(graph, node, free) for node in graph.nodes_of(*PRODUCTS)}
    readers = _readers(graph, wide, factors)
    return Widening(frozenset(free), frozenset(wide), factors, readers)


def _widens_freely(node: Node, free: set[str]) -> bool:
    return (
        node.op in RELUS
        or node.op == "Mul"
        or (node.op in ANY_RING and free.issuperset(node.inputs))
    )


def _factors(graph: Graph, node: Node, free: set[str]) -> tuple[str, str]:
    """The wide operand of a product is the one of its shape; of two, the one that is made in any
    ring.
    """
    x, y = node.inputs
    swapped = graph.shapes[x] == graph.shapes[y] and y in free and x not in free
    return (y, x) if swapped else (x, y)


def _readers(
    graph: Graph, wide: set[str], factors: Mapping[str, tuple[str, str]]
) -> dict[str, frozenset[str]]:
    readers: dict[str, frozenset[str]] = dict.fromkeys(graph.shapes, frozenset())
    for node in reversed(graph.nodes):
        if node.op in LINEAR:
            readers[node.inputs[0]] |= {node.output}
        elif node.op in PRODUCTS:
            first, second = factors[node.output]
            if first != second:
                readers[first] |= {node.output}
        elif node.op in ANY_RING and node.output in wide:
            for value in node.inputs:
                readers[value] |= readers[node.output]
    return readers
