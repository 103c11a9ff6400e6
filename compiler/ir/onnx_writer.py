"""What the ops write themselves with: the nodes and constants of one ONNX model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from moiety.compiler.ir.graph import Array, Graph, Node


class OnnxWriter:
    """Collects ONNX nodes and initialisers. Values keep the Graph's names; what a node needs
    besides its value is named `VALUE::role`.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def constant(self, node: Node, role: str, array: Array) -> str:
        """A constant operand of its own dtype; its name."""
        name = f"{node.output}::{role}"
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def ints(self, node: Node, role: str, values: Sequence[int]) -> str:
        """A constant operand int64."""
        return self.constant(node, role, np.array(values, np.int64))

    def weight(self, node: Node, role: str, array: Array) -> str:
        """A constant operand float32."""
        return self.constant(node, role, array.astype(np.float32))

    def emit(
        self, op: str, node: Node, inputs: Sequence[str], output: str | None = None, **attrs: Any
    ) -> str:
        """An ONNX node that makes `output` (default: the value of `node`); the value's name."""
        target = output or node.output
        self.nodes.append(helper.make_node(op, list(inputs), [target], name=target, **attrs))
        return target
