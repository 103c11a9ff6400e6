"""From a Graph in normal form to one that the planner can give scales to: rescaling layers where an
op cannot take its operand's scale.

Each inserted node is a `Scale` by one, the identity over the reals; it becomes a depthwise 1x1
Linear step whose integer weights carry the change of scale.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import LINEAR, OPS, REINDEXING, SUMS
from moiety.compiler.ir.queries import output_layers, reaches_linear_only
from moiety.compiler.ir.shapes import rebuilt
from moiety.compiler.ir.verify import verify
from moiety.compiler.passes.normal_form import check_normal_form
from moiety.protocols.errors import BadModel


def legalise(graph: Graph) -> Graph:
    """The same function with rescaling layers where needed. BadModel for what has no
    fixed-point form.
    """
    check_normal_form(graph)
    _check(graph)
    for rule in (_after_average_pools, _inputs_of_sums, _before_outputs):
        graph = rule(graph)
    verify(graph)
    return graph


def _check(graph: Graph) -> None:
    for value, shape in graph.shapes.items():
        if len(shape) < 2:
            raise BadModel(
                f"value {value!r} of shape {shape} has no channel axis behind the batch: "
                "reshape it to (1, 1)"
            )
    for node in graph.nodes:
        problem = _problem(graph, node)
        if problem is not None:
            raise BadModel(f"{node.op} {node.name!r}: {problem}")


def _problem(graph: Graph, node: Node) -> str | None:
    """Why a node in normal form cannot be planned where it stands."""
    if node.op == "AffineRelu" and not reaches_linear_only(graph, node.output):
        return "its result must be used by convolutions and fully connected layers only"
    operand, result = graph.shapes[node.inputs[0]], graph.shapes[node.output]
    return OPS[node.op].unplannable(node, operand, result)


def _rescaling(name: str, operand: str, output: str, channels: int) -> Node:
    """A Scale by one."""
    consts = {"scale": np.ones(channels, np.float32), "shift": np.zeros(channels, np.float32)}
    return Node("Scale", name, (operand,), output, {}, consts)


def _rescaled(graph: Graph, edges: set[tuple[str, str]]) -> Graph:
    """A Scale by one on each (value, reader) edge; reader is the reading node's output value. One
    Scale per value.
    """
    if not edges:
        return graph
    new = {value: f"{value}::rescaled" for value, _ in sorted(edges)}
    nodes = [_rescaling(name, value, name, graph.shapes[value][1]) for value, name in new.items()]
    for node in graph.nodes:
        inputs = tuple(
            new[value] if (value, node.output) in edges else value for value in node.inputs
        )
        nodes.append(node if inputs == node.inputs else node.with_(inputs=inputs))
    return rebuilt(graph, _operands_first(graph, nodes))


def _operands_first(graph: Graph, nodes: list[Node]) -> list[Node]:
    """`nodes` in the order of `graph`, each new one right before the first node that reads it."""
    by_output = {node.output: node for node in nodes}
    ordered: dict[str, Node] = {}

    def visit(value: str) -> None:
        if value in by_output and value not in ordered:
            for operand in by_output[value].inputs:
                visit(operand)
            ordered[value] = by_output[value]

    for node in graph.nodes:
        visit(node.output)
    return list(ordered.values())


def _after_average_pools(graph: Graph) -> Graph:
    """An average pool is a sum here, k times larger than its operand: only a linear layer can
    take that off.
    """
    edges = {
        (node.output, reader.output)
        for node in graph.nodes_of("AvgPool")
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
        for node in graph.nodes_of(*SUMS)
        for value in node.inputs
        if value in fixed
    }
    return _rescaled(graph, edges)


def _before_outputs(graph: Graph) -> Graph:
    """An output has a public scale and a ring of its own, so a linear layer must write it."""
    for output in graph.outputs:
        if output_layers(graph, output) is None:
            graph = _rescaled_output(graph, output)
    return graph


def _rescaled_output(graph: Graph, output: str) -> Graph:
    """A Scale by one that takes over the output's name, if that is not the image's."""
    if output in graph.inputs:
        return _revealed_input(graph, output)
    value = f"{output}::unscaled"
    renamed = {output: value}
    nodes = [
        node.with_(
            output=renamed.get(node.output, node.output),
            inputs=tuple(renamed.get(operand, operand) for operand in node.inputs),
        )
        for node in graph.nodes
    ]
    rescaling = _rescaling(f"{output}::rescaled", value, output, graph.shapes[output][1])
    return rebuilt(graph, [*nodes, rescaling])


def _revealed_input(graph: Graph, image: str) -> Graph:
    """The image by way of a layer, like everything that the client is shown: its expression reads
    it.
    """
    shown = f"{image}::revealed"
    outputs = tuple(shown if value == image else value for value in graph.outputs)
    rescaling = _rescaling(shown, image, shown, graph.shapes[image][1])
    return rebuilt(replace(graph, outputs=outputs), [*graph.nodes, rescaling])
