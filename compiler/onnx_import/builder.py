"""The Graph while it is being imported: its nodes, and the names that it will have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from moiety.compiler.ir.formulas import Formula
from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.compiler.ir.ops import FINAL
from moiety.compiler.ir.shapes import infer_shape, rebuilt
from moiety.compiler.onnx_import.inner import inner_activations
from moiety.protocols.errors import BadModel


@dataclass
class Builder:
    """Graph nodes made so far, with the shapes of their values."""

    source: str
    """The name of the input."""

    opset: int

    batch: int
    """The batch size that the model was exported with, 0 when it was open."""

    read: frozenset[str]
    """The ONNX values that nodes or the model's outputs read."""

    shapes: dict[str, Shape]
    """Of every value, first of the input's."""

    readers: Mapping[str, Sequence[onnx.NodeProto]] = field(default_factory=dict)
    """The ONNX nodes that read an ONNX value."""

    nodes: list[Node] = field(default_factory=list)

    weights: dict[str, Array] = field(default_factory=dict)
    """float32, one array per ONNX tensor, by name."""

    approximate: set[str] = field(default_factory=set)
    """ONNX values whose importer means to differ a little from the operator."""

    elementwise: dict[str, tuple[str, Formula]] = field(default_factory=dict)
    """Graph values that are a formula of each element of another, whatever nodes make them."""

    vectors: set[str] = field(default_factory=set)
    """ONNX values without a batch axis, whose Graph values have one in front."""

    quantised: dict[str, tuple[np.float32, np.generic]] = field(default_factory=dict)
    """ONNX values that are integers, with their scale and zero point."""

    notes: list[str] = field(default_factory=list)
    """What the model's owner must be told."""

    def __post_init__(self) -> None:
        self._names = {self.source}
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
        """The Graph node that makes a value, None for the input."""
        return self._producers.get(value)

    def emit(self, node: Node) -> str:
        """Append a node; the value it makes. ContractViolation where its operands do not fit."""
        operands = [self.shapes[value] for value in node.inputs]
        self.shapes[node.output] = infer_shape(node, operands)
        self.nodes.append(node)
        self._producers[node.output] = node
        return node.output

    def finish(self, name: str, outputs: Sequence[tuple[str, str]]) -> tuple[Graph, dict[str, str]]:
        """The Graph with the given outputs, (ONNX name, value) each, and the new names of its
        values: those that are outputs get their ONNX names. BadModel where an op that must stand
        before an output does not.
        """
        if not outputs:
            raise BadModel(f"model {name!r} has no output")
        names = self._output_names(outputs)

        def renamed(values: Iterable[str]) -> tuple[str, ...]:
            return tuple(names.get(value, value) for value in values)

        nodes = [
            node.with_(inputs=renamed(node.inputs), output=renamed([node.output])[0])
            for node in self.nodes
        ]
        shapes = dict(zip(renamed(self.shapes), self.shapes.values(), strict=True))
        results = tuple(output for output, _ in outputs)
        graph = rebuilt(Graph(name, (self.source,), results, tuple(nodes), shapes), nodes)
        graph = inner_activations(graph)
        _check_final(graph)
        return graph, names

    def _output_names(self, outputs: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Value -> the name it gets; whoever else has an output's name steps aside."""
        names: dict[str, str] = {}
        for output, value in outputs:
            if value in names or value == self.source:
                value = self._another(output, value)
            names[value] = output
        taken = set(names.values()) - {self.source}
        for value in self.shapes:
            if value not in names and value in taken:
                names[value] = self.fresh(value)
        return names

    def _another(self, output: str, value: str) -> str:
        """A second name for one value needs a node of its own."""
        attrs = {"shape": self.shapes[value]}
        return self.emit(Node("Reshape", output, (value,), self.fresh(output), attrs))


def _check_final(graph: Graph) -> None:
    for node in graph.nodes_of(*FINAL):
        if graph.consumers(node.output) or node.output not in graph.outputs:
            raise BadModel(
                f"{node.op} {node.name!r}: only supported directly before an output, where the "
                "client applies it to the revealed logits; replace it by Relu and fine-tune the "
                "model, or cut the model there"
            )
