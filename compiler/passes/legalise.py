"""From a Graph in normal form to one that the planner can give scales to: rescaling layers where an
op cannot take its operand's scale.

Each inserted node is a `Scale` by one, the identity over the reals; it becomes a depthwise 1x1
Linear step whose integer weights carry the change of scale.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import (
    LINEAR,
    MOVEMENT,
    OPS,
    POWERS,
    PRODUCTS,
    REINDEXING,
    SPLINES,
    SUMS,
)
from moiety.compiler.ir.queries import output_layers, reaches_linear_only
from moiety.compiler.ir.scales import propagate
from moiety.compiler.ir.shapes import rebuilt
from moiety.compiler.ir.verify import verify
from moiety.compiler.passes.normal_form import check_normal_form
from moiety.protocols.errors import BadModel

MAX_ENLARGED = 1 << 10
"""Two linear maps in a row, one for each axis, enlarge integers by at most this factor."""

MAX_MIXED = 16
"""By how much more some channels of a concatenation may be enlarged than others: the weights of
these set the precision of those.
"""


def legalise(graph: Graph) -> Graph:
    """The same function with rescaling layers where needed. BadModel for what has no
    fixed-point form.
    """
    check_normal_form(graph)
    _check(graph)
    for rule in (_after_averages, _inputs_of_sums, _before_powers, _after_derived, _before_outputs):
        graph = rule(graph)
    verify(graph)
    return graph


def average_pools_below(graph: Graph, layer: str) -> frozenset[tuple[str, str]]:
    """The edges (average pool, its reader) on the way down from a linear layer, through ops that
    reindex; of pools of pools the upper one. Rescaled ones are left out.
    """
    edges: set[tuple[str, str]] = set()
    pending = [layer]
    while pending:
        reader = pending.pop()
        node = graph.producer(reader)
        for value in node.inputs if node is not None else ():
            below = graph.producer(value)
            if below is not None and OPS[below.op].enlarges(graph, below) > 1:
                if reader != rescaled_name(value):
                    edges.add((value, reader))
            elif below is not None and below.op in REINDEXING:
                pending.append(value)
    return frozenset(edges)


def rescaled(graph: Graph, edges: Collection[tuple[str, str]]) -> Graph:
    """A Scale by one on each (value, reader) edge; reader is the reading node's output value. One
    Scale per value, that which is there already if there is one.
    """
    if not edges:
        return graph
    new = {value: rescaled_name(value) for value, _ in sorted(edges)}
    nodes = [
        _rescaling(name, value, name, graph.shapes[value][1])
        for value, name in new.items()
        if name not in graph.shapes
    ]
    for node in graph.nodes:
        inputs = tuple(
            new[value] if (value, node.output) in edges else value for value in node.inputs
        )
        nodes.append(node if inputs == node.inputs else node.with_(inputs=inputs))
    return rebuilt(graph, _operands_first(graph, nodes))


def rescaled_name(value: str) -> str:
    """What `rescaled` calls the result of the Scale behind `value`."""
    return f"{value}::rescaled"


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


def _after_averages(graph: Graph) -> Graph:
    """A mean is a sum here, k times larger than its operand, and a sum does not fit the ring of
    what it sums up: only a linear layer can take that off. Of two in a row it is the last that is
    followed by one, unless both enlarge too much; of values that are joined, each is, unless all
    are enlarged alike.
    """
    enlarged: dict[str, int] = {}
    edges: set[tuple[str, str]] = set()
    for node in graph.nodes:
        if node.op not in REINDEXING:
            continue
        operands = {value: enlarged.get(value, 1) for value in node.inputs}
        factor = OPS[node.op].enlarges(graph, node)
        if _mixes(node, operands) or _adds_up(node, max(operands.values()), factor):
            edges |= {(value, node.output) for value, below in operands.items() if below > 1}
            operands = dict.fromkeys(operands, 1)
        enlarged[node.output] = max(operands.values()) * factor
        if factor > 1:
            readers = graph.consumers(node.output)
            edges |= {(node.output, each.output) for each in readers if not _takes(graph, each)}
    return rescaled(graph, _lowered(graph, edges))


def _lowered(graph: Graph, edges: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Edges into a Reshape that makes fewer channels of many, moved behind it: a mean for every
    pixel is then a pixel of one channel, instead of a channel.
    """
    lowered: set[tuple[str, str]] = set()
    pending = list(edges)
    while pending:
        value, reader = pending.pop()
        node = graph.producer(reader)
        fewer = graph.shapes[reader][1] < graph.shapes[value][1]
        if node is not None and node.op == "Reshape" and fewer and reader not in graph.outputs:
            pending += [(reader, each.output) for each in graph.consumers(reader)]
        else:
            lowered.add((value, reader))
    return lowered


def _mixes(node: Node, enlarged: Mapping[str, int]) -> bool:
    """Does a Concat join values that are enlarged too differently? Those of one channel must be
    enlarged alike.
    """
    if node.op != "Concat":
        return False
    spread = max(enlarged.values()) / min(enlarged.values())
    return spread > (MAX_MIXED if node.attrs["axis"] == 1 else 1)


def _adds_up(node: Node, below: int, factor: int) -> bool:
    """Would two linear maps in a row leave the weights behind them no precision?"""
    return node.op == "LinearMap" and below > 1 and below * factor > MAX_ENLARGED


def _takes(graph: Graph, reader: Node) -> bool:
    """Can a node read what is larger than the ring between layers?"""
    if reader.op in LINEAR:
        return True
    return reader.op in REINDEXING and (
        OPS[reader.op].enlarges(graph, reader) > 1 or reaches_linear_only(graph, reader.output)
    )


def _inputs_of_sums(graph: Graph) -> Graph:
    """The scale of the image is public and fixed; a sum or activation needs one for its own
    range.
    """
    fixed = set(graph.inputs)
    for node in graph.nodes:
        if node.op not in LINEAR | SUMS | SPLINES | PRODUCTS and fixed & set(node.inputs):
            fixed.add(node.output)
    edges = {
        (value, node.output)
        for node in graph.nodes_of(*SUMS, *SPLINES)
        for value in node.inputs
        if value in fixed
    }
    return rescaled(graph, edges)


def _before_powers(graph: Graph) -> Graph:
    """What a power is taken of has more bits than other values, so it needs a scale of its own."""
    scales = propagate(graph)
    edges: set[tuple[str, str]] = set()
    for node in graph.nodes_of(*POWERS):
        value = below = node.inputs[0]
        while (maker := graph.producer(below)) is not None and maker.op in MOVEMENT:
            below = maker.inputs[0]
        if maker is None or maker.op not in LINEAR or not scales.alone(below):
            edges.add((value, node.output))
    return rescaled(graph, edges)


def _after_derived(graph: Graph) -> Graph:
    """The scale of a product or a power follows from its operands': where something else ties it (a
    residual sum, say), that gets a scale of its own from a layer.
    """
    products = graph.nodes_of(*PRODUCTS, *POWERS)
    scales = propagate(graph)
    edges = {
        (node.output, reader.output)
        for node in products
        if not scales.alone(node.output)
        for reader in graph.consumers(node.output)
        if reader.op not in LINEAR
    }
    return rescaled(graph, edges)


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
