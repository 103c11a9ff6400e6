"""Shape inference, and Graphs made anew from other nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import networkx as nx

from moiety.compiler.ir.graph import Graph, Node, Shape
from moiety.compiler.ir.ops import OPS
from moiety.compiler.ir.ops.base import ShapeError, require
from moiety.protocols.errors import ContractViolation


def infer_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Shape of the value `node` makes from operands of `shapes`; ContractViolation names a node
    that they do not fit.
    """
    op = OPS.get(node.op)
    if op is None:
        raise ContractViolation(f"{node.name!r}: {node.op!r} is no operator of the Graph")
    fits = bool(node.inputs) if op.operands is None else len(node.inputs) == op.operands
    try:
        require(fits, "wrong number of operands")
        return tuple(int(size) for size in op.infer(node, shapes))
    except ShapeError as error:
        raise ContractViolation(f"{node.op} {node.name!r}: {error}") from None


def infer_shapes(nodes: Iterable[Node], input_shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes of every value, inputs included; `nodes` are in topological order. ContractViolation
    names a bad node.
    """
    shapes: dict[str, Shape] = dict(input_shapes)
    for node in nodes:
        missing = [value for value in node.inputs if value not in shapes]
        if missing:
            raise ContractViolation(
                f"{node.op} {node.name!r} reads {missing[0]!r}, which nothing before it makes"
            )
        shapes[node.output] = infer_shape(node, [shapes[value] for value in node.inputs])
    return shapes


def rebuilt(graph: Graph, nodes: Iterable[Node]) -> Graph:
    """A Graph of the same inputs and outputs with other nodes: sorted, dead ones dropped, shapes
    inferred again.
    """
    ordered = _sorted_live(tuple(nodes), graph.outputs)
    base = {value: graph.shapes[value] for value in graph.inputs}
    return replace(graph, nodes=ordered, shapes=infer_shapes(ordered, base))


def _sorted_live(nodes: tuple[Node, ...], outputs: tuple[str, ...]) -> tuple[Node, ...]:
    """Nodes that `outputs` depend on, in topological order and else in the order given."""
    by_output = {node.output: node for node in nodes}
    g: nx.DiGraph = nx.DiGraph()
    g.add_nodes_from(by_output)
    for node in nodes:
        g.add_edges_from((value, node.output) for value in node.inputs if value in by_output)
    live: set[str] = set()
    for value in outputs:
        if value in by_output:
            live |= {value} | nx.ancestors(g, value)
    position = {node.output: index for index, node in enumerate(nodes)}
    order = nx.lexicographical_topological_sort(g.subgraph(live), key=lambda value: position[value])
    return tuple(by_output[value] for value in order)
