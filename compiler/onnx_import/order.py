"""The order of an ONNX graph's nodes: each after those that it reads from."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import onnx

from moiety.protocols.errors import BadModel


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put the nodes, and those of graphs inside them, in topological order, as onnxruntime does;
    sorted ones stay as they are. BadModel names a cycle.
    """
    for node in graph.node:
        for inner in graphs_of(node):
            sort_nodes(inner)
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needs = {
        index: [makers[name] for name in names_read(node) if name in makers]
        for index, node in enumerate(graph.node)
    }
    if all(maker < index for index, found in needs.items() for maker in found):
        return
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise BadModel(_of_cycle([graph.node[index] for index in error.args[1]])) from None
    nodes = [graph.node[index] for index in order]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node: branches, bodies of loops."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """The values that a node reads from the graph around it, those of its inner graphs included."""
    yield from (name for name in node.input if name)
    for graph in graphs_of(node):
        inside = {value.name for value in (*graph.input, *graph.initializer)}
        inside.update(name for each in graph.node for name in each.output)
        read = (name for each in graph.node for name in names_read(each))
        results = (value.name for value in graph.output)
        yield from (name for name in (*read, *results) if name not in inside)


def _of_cycle(nodes: list[onnx.NodeProto]) -> str:
    path = " -> ".join(f"{node.op_type} {node.name or node.output[0]!r}" for node in nodes[:8])
    more = f" -> ... ({len(nodes) - 1} nodes)" if len(nodes) > 8 else ""
    return (
        f"the nodes form a cycle, {path}{more}: a network must not need its own result; export "
        "the model again"
    )
