"""What the client computes in the clear on revealed logits: Sigmoid, Softmax.

They stand only before an output. They have no adjoint: the error model looks at the logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.graph import Array, Node, Shape
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.ops.base import Op, Trait, operator, require
from moiety.compiler.ir.scale_fields import Field, ScaleMap


class _Final(Op):
    """What both share."""

    traits = Trait.FINAL

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """Its operand's, which is what is revealed."""
        return scales.fields[node.inputs[0]]


@operator
class Sigmoid(_Final):
    """`1 / (1 + exp(-x))`."""

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        return shapes[0]

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        # By tanh: no overflow for large negative arguments.
        return np.asarray(0.5 * (np.tanh(0.5 * operands[0]) + 1.0))

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit("Sigmoid", node, node.inputs)


@operator
class Softmax(_Final):
    """`exp(x) / sum(exp(x))` along `axis`; the planner takes the channels (axis 1) alone."""

    attrs = ("axis",)

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,), axis = shapes, node.attrs["axis"]
        require(1 <= axis < len(shape), f"axis {axis} is not a non-batch axis of {shape}")
        return shape

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        (x,), axis = operands, node.attrs["axis"]
        exponential = np.exp(x - x.max(axis=axis, keepdims=True))
        return np.asarray(exponential / exponential.sum(axis=axis, keepdims=True))

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit("Softmax", node, node.inputs, axis=node.attrs["axis"])

    def unplannable(self, node: Node, operand: Shape, result: Shape) -> str | None:
        if node.attrs["axis"] == 1:
            return None
        return f"softmax must be along the channels (axis 1), not axis {node.attrs['axis']}"
