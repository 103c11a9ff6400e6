"""The Graph while it is being imported: its nodes, and the names that it will have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.compiler.ir.shapes import infer_shape, rebuilt
from moiety.runtime.program import Expression


@dataclass
class Builder:
    """Graph nodes made so far, with the shapes of their values."""

    sources: tuple[str, ...]
    """The names of the inputs."""

    opset: int

    batch: int
    """The batch size that the model was exported with, 0 when it was open."""

    read: frozenset[str]
    """The ONNX values that nodes or the model's outputs read."""

    shapes: dict[str, Shape]
    """Of every value, first of the inputs'."""

    readers: Mapping[str, Sequence[onnx.NodeProto]] = field(default_factory=dict)
    """The ONNX nodes that read an ONNX value."""

    nodes: list[Node] = field(default_factory=list)

    weights: dict[str, Array] = field(default_factory=dict)
    """float32, one array per ONNX tensor, by name."""

    approximate: set[str] = field(default_factory=set)
    """ONNX values whose importer means to differ a little from the operator."""

    vectors: set[str] = field(default_factory=set)
    """ONNX values without a batch axis, whose Graph values have one in front."""

    quantised: dict[str, tuple[np.float32, np.generic]] = field(default_factory=dict)
    """ONNX values that are integers, with their scale and zero point."""

    held: int = 0
    """Bytes of the constants that were computed and the tables that importers made."""

    notes: list[str] = field(default_factory=list)
    """What the model's owner must be told."""

    def __post_init__(self) -> None:
        self._names = set(self.sources)
        self._producers: dict[str, Node] = {}

    def fresh(self, base: str) -> str:
        """`base`, or `base#2` and so on where that is taken."""
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}#{count}"
        self._names.add(name)
        return name

    def note(self, text: str) -> None:
        """Tell the model's owner, once."""
        if text not in self.notes:
            self.notes.append(text)

    def producer(self, value: str) -> Node | None:
        """The Graph node that makes a value, None for an input."""
        return self._producers.get(value)

    def emit(self, node: Node) -> str:
        """Append a node; the value it makes. ContractViolation where its operands do not fit."""
        operands = [self.shapes[value] for value in node.inputs]
        self.shapes[node.output] = infer_shape(node, operands)
        self.nodes.append(node)
        self._producers[node.output] = node
        return node.output

    def finish(
        self, name: str, revealed: Sequence[str], expression: Expression
    ) -> tuple[Graph, dict[str, str]]:
        """The Graph with the given outputs, and the new names of its values: those that are
        results as they are get the name of the first such result.
        """
        names = self._output_names(revealed, expression)

        def renamed(values: Iterable[str]) -> tuple[str, ...]:
            return tuple(names.get(value, value) for value in values)

        nodes = [
            node.with_(inputs=renamed(node.inputs), output=renamed([node.output])[0])
            for node in self.nodes
        ]
        shapes = dict(zip(renamed(self.shapes), self.shapes.values(), strict=True))
        outputs = renamed(revealed)
        graph = Graph(name, self.sources, outputs, tuple(nodes), shapes, expression)
        return self._without_unread(rebuilt(graph, nodes)), names

    def _without_unread(self, graph: Graph) -> Graph:
        """The Graph without the inputs on which no result depends."""
        read = {value for node in graph.nodes for value in node.inputs} | set(graph.outputs)
        unread = [value for value in graph.inputs if value not in read]
        for value in unread:
            self.note(f"input {value!r}: no result depends on it, it is left out")
        kept = {value: shape for value, shape in graph.shapes.items() if value not in unread}
        inputs = tuple(value for value in graph.inputs if value in read)
        return replace(graph, inputs=inputs, shapes=kept)

    def _output_names(self, revealed: Sequence[str], expression: Expression) -> dict[str, str]:
        """Value -> the name it gets; whoever else has an output's name steps aside."""
        names: dict[str, str] = {}
        for result in expression.results:
            value = revealed[result.value] if result.value < len(revealed) else None
            if value is None or value in self.sources or result.name in self.sources:
                continue
            names.setdefault(value, result.name)
        taken = set(names.values())
        for value in self.shapes:
            if value not in names and value in taken:
                names[value] = self.fresh(value)
        return names
