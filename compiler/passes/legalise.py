"""From a Graph in normal form to one that the planner can give scales to: rescaling layers where an
op cannot take its operand's scale.

Each inserted node is a `Scale` by one, the identity over the reals; it becomes a depthwise 1x1
Linear step whose integer weights carry the change of scale.
"""

from __future__ import annotations

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.verify import verify
from moiety.compiler.planning.scales import FINAL, LINEAR, REINDEXING, SUMS, window_factors
from moiety.protocols.errors import BadModel

MAX_FACTOR = 64
"""The most operands of an Add step."""

PLANNABLE = LINEAR | REINDEXING | SUMS | FINAL | {"Relu", "AffineRelu", "MaxPool"}


def legalise(graph: Graph) -> Graph:
    """The same function with rescaling layers where needed. BadModel for
    what has no fixed-point form.
    """
    _check(graph)
    for rule in (_after_average_pools, _inputs_of_sums, _before_outputs):
        graph = rule(graph)
    verify(graph)
    return graph


def reaches_linear_only(graph: Graph, value: str) -> bool:
    """Does every use of `value` reach a linear layer through reindexing ops, and none an output?"""
    if value in graph.outputs:
        return False
    return all(
        node.op in LINEAR or (node.op in REINDEXING and reaches_linear_only(graph, node.output))
        for node in graph.consumers(value)
    )


def output_layers(graph: Graph, value: str) -> list[str] | None:
    """The linear layers' values that `value` is a mere reindexing of, if each is
    used for that alone; else None.

    Such layers can write the output's own scale and ring.
    """
    node = graph.producer(value)
    if node is None or len(graph.consumers(value)) + graph.outputs.count(value) != 1:
        return None
    if node.op in LINEAR:
        return [value]
    if node.op not in REINDEXING - {"AvgPool"}:
        return None
    below = [output_layers(graph, operand) for operand in dict.fromkeys(node.inputs)]
    return (
        None
        if None in below
        else [layer for layers in below if layers is not None for layer in layers]
    )


def revealed(graph: Graph, output: str) -> str:
    """The value the client gets for a graph output: what stands before
    its final Sigmoid or Softmax.
    """
    node = graph.producer(output)
    return node.inputs[0] if node is not None and node.op in FINAL else output


def _check(graph: Graph) -> None:
    for value, shape in graph.shapes.items():
        if len(shape) < 2:
            raise BadModel(
                f"value {value!r} of shape {shape} has no channel axis behind the batch: reshape it to (1, 1)"
            )
    for node in graph.nodes:
        where = f"{node.op} {node.name!r}"
        if node.op not in PLANNABLE:
            raise BadModel(
                f"{where}: this operator has no fixed-point form here; the default passes rewrite it"
            )
        if node.op == "Conv" and tuple(node.attrs["strides"]) != (1, 1):
            raise BadModel(f"{where}: strides must have been rewritten by the default passes")
        if node.op == "AffineRelu" and not reaches_linear_only(graph, node.output):
            raise BadModel(
                f"{where}: its result must be used by convolutions and fully connected layers only"
            )
        if node.op in FINAL and (node.output not in graph.outputs or graph.consumers(node.output)):
            raise BadModel(
                f"{where}: it must stand directly before an output, where the client computes it"
            )
        if node.op == "Softmax" and node.attrs["axis"] != 1:
            raise BadModel(
                f"{where}: softmax must be along the channels (axis 1), not axis {node.attrs['axis']}"
            )
        if node.op == "AvgPool" and window_factors(graph, node).largest > MAX_FACTOR:
            raise BadModel(
                f"{where}: windows at the border average fewer elements (count_include_pad = 0), and a kernel of "
                f"{tuple(node.attrs['kernel'])} has no small common divisor; export with count_include_pad = 1"
            )


def _rescaled(graph: Graph, edges: set[tuple[str, str]]) -> Graph:
    """A Scale by one on each (value, reader) edge; reader is the reading node's
    output value. One Scale per value.
    """
    if not edges:
        return graph
    nodes: list[Node] = []
    new: dict[str, str] = {}
    for value in dict.fromkeys(v for v, _ in sorted(edges)):
        channels = graph.shapes[value][1]
        new[value] = f"{value}::rescaled"
        consts = {"scale": np.ones(channels, np.float32), "shift": np.zeros(channels, np.float32)}
        nodes.append(Node("Scale", new[value], (value,), new[value], {}, consts))
    for node in graph.nodes:
        inputs = tuple(
            new[value] if (value, node.output) in edges else value for value in node.inputs
        )
        nodes.append(node if inputs == node.inputs else node.with_(inputs=inputs))
    by_output = {node.output: node for node in nodes}
    ordered: dict[str, Node] = {}

    def visit(value: str) -> None:
        if value in by_output and value not in ordered:
            for operand in by_output[value].inputs:
                visit(operand)
            ordered[value] = by_output[value]

    for node in graph.nodes:
        visit(node.output)
    return graph.rebuilt(ordered.values())


def _after_average_pools(graph: Graph) -> Graph:
    """An average pool is a sum here, k times larger than its operand: only a
    linear layer can take that off.
    """
    edges = {
        (node.output, reader.output)
        for node in graph.nodes
        if node.op == "AvgPool"
        for reader in graph.consumers(node.output)
        if not (
            reader.op in LINEAR
            or (reader.op in REINDEXING and reaches_linear_only(graph, reader.output))
        )
    }
    return _rescaled(graph, edges)


def _inputs_of_sums(graph: Graph) -> Graph:
    """The scale of the image is public and fixed; a sum needs a scale for its own range."""
    fixed = set(graph.inputs)
    for node in graph.nodes:
        if node.op not in LINEAR | SUMS and fixed & set(node.inputs):
            fixed.add(node.output)
    edges = {
        (value, node.output)
        for node in graph.nodes
        if node.op in SUMS
        for value in node.inputs
        if value in fixed
    }
    return _rescaled(graph, edges)


def _before_outputs(graph: Graph) -> Graph:
    """An output has a public scale and a ring of its own, so a linear layer must write it."""
    edges: set[tuple[str, str]] = set()
    renamed: dict[str, str] = {}
    for output in graph.outputs:
        value = revealed(graph, output)
        if output_layers(graph, value) is not None:
            continue
        if value == output:
            renamed[output] = f"{output}::unscaled"
        else:
            edges.add((value, output))
    graph = _rescaled(graph, edges)
    if not renamed:
        return graph
    # The Scale takes over the output's name.
    nodes = [
        node.with_(
            output=renamed.get(node.output, node.output),
            inputs=tuple(renamed.get(v, v) for v in node.inputs),
        )
        for node in graph.nodes
    ]
    for output, value in renamed.items():
        if output in graph.inputs:
            raise BadModel(f"output {output!r} is the input itself: there is nothing to compute")
        channels = graph.shapes[output][1]
        consts = {"scale": np.ones(channels, np.float32), "shift": np.zeros(channels, np.float32)}
        nodes.append(Node("Scale", f"{output}::rescaled", (value,), output, {}, consts))
    return graph.rebuilt(nodes)
