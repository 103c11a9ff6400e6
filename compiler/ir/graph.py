"""The Graph: a float dataflow graph over tensors, between an ONNX file and a Program.

Static single assignment: every node makes exactly one value, every value has a fixed shape whose
first dimension is the batch (1 at compile time). Constants are not values; they live in the node
that uses them (`Node.consts`), so that a pass that changes a weight replaces one node. Graphs and
nodes are immutable; passes build new ones.

Operators and their meaning are in `ops.py`; the list is closed, so a pass can be exhaustive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One operator application. `output` is the name of the single value it makes; `name`
    is the ONNX node it stems from.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    consts: Mapping[str, Array] = field(default_factory=dict)

    def with_(self, **changes: Any) -> Node:
        """A copy with some fields replaced."""
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order, with the shape of every value (inputs included)."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    shapes: Mapping[str, Shape]

    def producer(self, value: str) -> Node | None:
        """The node that makes `value`, or None for a graph input."""
        return self._producers.get(value)

    def consumers(self, value: str) -> tuple[Node, ...]:
        """The nodes that read `value`, in order; a graph output is not a consumer."""
        return self._consumers.get(value, ())

    @property
    def _producers(self) -> dict[str, Node]:
        return self._index()[0]

    @property
    def _consumers(self) -> dict[str, tuple[Node, ...]]:
        return self._index()[1]

    def _index(self) -> tuple[dict[str, Node], dict[str, tuple[Node, ...]]]:
        cached = self.__dict__.get("_cached_index")
        if cached is None:
            producers: dict[str, Node] = {}
            users: dict[str, list[Node]] = {}
            for node in self.nodes:
                producers[node.output] = node
                for value in dict.fromkeys(node.inputs):
                    users.setdefault(value, []).append(node)
            cached = (producers, {value: tuple(nodes) for value, nodes in users.items()})
            object.__setattr__(self, "_cached_index", cached)
        return cached

    def to_networkx(self) -> nx.DiGraph:
        """Values as graph nodes, one edge per use (attributes `op`, `node`)."""
        g: nx.DiGraph = nx.DiGraph(name=self.name)
        g.add_nodes_from(self.inputs)
        for node in self.nodes:
            g.add_node(node.output, op=node.op, node=node)
            g.add_edges_from((value, node.output) for value in node.inputs)
        return g

    def rebuilt(self, nodes: Iterable[Node]) -> Graph:
        """A Graph of the same inputs and outputs with other nodes: sorted, dead ones
        dropped, shapes inferred again.
        """
        from moiety.compiler.ir.ops import infer_shapes

        ordered = _sorted_live(tuple(nodes), self.inputs, self.outputs)
        base = {value: self.shapes[value] for value in self.inputs}
        return replace(self, nodes=ordered, shapes=infer_shapes(ordered, base))


def _sorted_live(
    nodes: tuple[Node, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> tuple[Node, ...]:
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
