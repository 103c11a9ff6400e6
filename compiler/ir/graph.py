"""The Graph: a float dataflow graph over tensors, between an ONNX file and a Program.

Static single assignment: every node makes exactly one value, every value has a fixed shape whose
first dimension is the batch (1 at compile time) and whose second is the channels. Constants are not
values; they live in the node that uses them (`Node.consts`), so that a pass that changes a weight
replaces one node. Graphs and nodes are immutable; passes build new ones.

Operators and their meaning are in `ops`; the list is closed, so a pass can be exhaustive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy.typing as npt

from moiety.runtime.program.expression.expression import AS_REVEALED, Expression

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One operator application. `output` is the name of the single value it makes; `name` is the
    ONNX node it stems from.
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
    """Nodes in topological order, with the shape of every value (inputs included). The outputs are
    what the client is shown; `expression` is what it computes from them, the model's outputs.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    shapes: Mapping[str, Shape]
    expression: Expression = AS_REVEALED

    def producer(self, value: str) -> Node | None:
        """The node that makes `value`, or None for a graph input."""
        return self._producers.get(value)

    def consumers(self, value: str) -> tuple[Node, ...]:
        """The nodes that read `value`, in order; a graph output is not a consumer."""
        return self._consumers.get(value, ())

    def nodes_of(self, *ops: str) -> Iterator[Node]:
        """The nodes of these ops, in order."""
        return (node for node in self.nodes if node.op in ops)

    @cached_property
    def _producers(self) -> dict[str, Node]:
        return {node.output: node for node in self.nodes}

    @cached_property
    def _consumers(self) -> dict[str, tuple[Node, ...]]:
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                readers.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in readers.items()}


def channelwise(vector: Array, rank: int) -> Array:
    """A `(C,)` vector shaped to broadcast along axis 1 of a tensor of `rank` dimensions."""
    return vector.reshape((1, -1) + (1,) * (rank - 2))
