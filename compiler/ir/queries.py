"""Questions about where a value comes from and where it goes."""

from __future__ import annotations

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.ops import LINEAR, MOVEMENT, REINDEXING
from moiety.runtime.program.expression.expression import ResultForm


def result_forms(graph: Graph) -> tuple[ResultForm, ...]:
    """The model's outputs, which the client computes from the Graph's."""
    shapes = [graph.shapes[value][1:] for value in graph.outputs]
    return graph.expression.described(graph.outputs, shapes)


def reaches_linear_only(graph: Graph, value: str) -> bool:
    """Does every use of `value` reach a linear layer through reindexing ops, and none an output?"""
    if value in graph.outputs:
        return False
    return all(
        node.op in LINEAR or (node.op in REINDEXING and reaches_linear_only(graph, node.output))
        for node in graph.consumers(value)
    )


def output_layers(graph: Graph, value: str) -> list[str] | None:
    """The linear layers' values that `value` is a mere movement of, if each is used for that
    alone; else None.

    Such layers can write the output's own scale and ring.
    """
    node = graph.producer(value)
    if node is None or len(graph.consumers(value)) + graph.outputs.count(value) != 1:
        return None
    if node.op in LINEAR:
        return [value]
    if node.op not in MOVEMENT:
        return None
    layers: list[str] = []
    for operand in dict.fromkeys(node.inputs):
        below = output_layers(graph, operand)
        if below is None:
            return None
        layers += below
    return layers
