"""The product of two values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.graph import Array, Node, Shape
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.ops.base import Op, Trait, operator, require
from moiety.compiler.ir.scale_fields import Field, ScaleMap
from moiety.protocols.errors import ContractViolation


@operator
class Mul(Op):
    """`x * y`, of one shape, or each axis of y of x's size or 1: a gate per channel, or per pixel.
    By a constant it is a Scale.
    """

    operands = 2
    traits = Trait.PRODUCT | Trait.ELEMENTWISE

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        x, y = shapes
        fits = len(x) == len(y) and all(b in (1, a) for a, b in zip(x, y, strict=True))
        require(fits, f"the second operand, of shape {y}, does not broadcast to {x}")
        return x

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return np.asarray(operands[0] * operands[1])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit("Mul", node, node.inputs)

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """Fresh ids, one per channel, which nothing may be tied to: their unit is no free choice,
        it follows from those of the operands (planning/products).
        """
        for value in node.inputs:
            if (scales.per_channel(node, value).multiplier != 1).any():
                raise ContractViolation(
                    f"{node.op} {node.name!r} multiplies a value that has a multiplier; "
                    "legalise first"
                )
        return scales.begin(node.output, scales.graph.shapes[node.output][1])

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        x, y = operands
        return [grad * y, _summed_to(y.shape, grad * x)]


def _summed_to(shape: Shape, grad: Array) -> Array:
    """Summed over the axes along which an operand of `shape` was broadcast."""
    axes = tuple(axis for axis, size in enumerate(shape) if size < grad.shape[axis])
    return np.asarray(grad.sum(axis=axes, keepdims=True))
