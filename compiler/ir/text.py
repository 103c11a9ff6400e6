"""Graphs as text, for dumps and golden tests."""

from __future__ import annotations

from collections.abc import Sequence

from moiety.compiler.ir.graph import Graph, Node

_UNSAID = {
    "strides": (1, 1),
    "dilations": (1, 1),
    "pads": (0, 0, 0, 0),
    "groups": 1,
    "count_include_pad": False,
}
"""The usual values of attributes, which are left out."""


def format_graph(graph: Graph) -> str:
    """One line per node: value, shape, op, operands, attributes other than the usual ones,
    shapes of constants.
    """
    lines = [f"graph {graph.name}"]
    lines += [f"  {value}: {_shape(graph.shapes[value])} = input" for value in graph.inputs]
    lines += [
        f"  {node.output}: {_shape(graph.shapes[node.output])} = {_call(node)}"
        for node in graph.nodes
    ]
    return "\n".join([*lines, f"  return {', '.join(graph.outputs)}", ""])


def _call(node: Node) -> str:
    attrs = [
        f"{name}={_plain(value)}"
        for name, value in node.attrs.items()
        if _UNSAID.get(name) != value
    ]
    consts = [f"{name}[{_shape(array.shape)}]" for name, array in node.consts.items()]
    return f"{node.op}({', '.join([*node.inputs, *attrs, *consts])})"


def _plain(value: object) -> str:
    return str(value).replace(" ", "")


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
