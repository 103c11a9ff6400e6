"""Products of two values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.graph import Array, Node, Shape
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.ops.base import Op, Trait, operator, require
from moiety.compiler.ir.ops.elementwise import broadcast_shape, same_shape, summed_to
from moiety.compiler.ir.scale_fields import Field, ScaleMap
from moiety.protocols.errors import ContractViolation


class _Product(Op):
    """What products of two values share: their scale."""

    operands = 2
    traits = Trait.PRODUCT

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """Fresh ids, which nothing may be tied to: their unit is no free choice, it follows from
        those of the operands (planning/products). One per channel, or one for all where each
        operand has one scale for all channels.
        """
        classes = [self._classes(scales, node, value) for value in node.inputs]
        alike = all(len(each) == 1 for each in classes)
        return scales.begin(node.output, 1 if alike else scales.graph.shapes[node.output][1])

    def _classes(self, scales: ScaleMap, node: Node, value: str) -> set[int]:
        """Of the channels of an operand."""
        given = scales.per_channel(node, value)
        if (given.multiplier != 1).any():
            raise ContractViolation(
                f"{node.op} {node.name!r} multiplies a value that has a multiplier; legalise first"
            )
        return {scales.classes.root(index) for index in given.ids.reshape(-1).tolist()}


@operator
class Mul(_Product):
    """`x * y`, of one shape, or each axis of y of x's size or 1: a gate per channel, or per pixel.
    By a constant it is a Scale.
    """

    traits = Trait.PRODUCT | Trait.ELEMENTWISE

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        return broadcast_shape(shapes)

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return np.asarray(operands[0] * operands[1])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit("Mul", node, node.inputs)

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        x, y = operands
        return [grad * y, summed_to(y.shape, grad * x)]


@operator
class MeanProduct(_Product):
    """The mean over height and width of `x * y`, of one shape: a variance, where both are the
    distance from the mean. Its products are summed up before they are rounded.
    """

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        shape = same_shape(shapes)
        require(len(shape) == 4, f"needs height and width, operands have shape {shape}")
        return (*shape[:2], 1, 1)

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        x, y = operands
        return np.asarray((x * y).mean(axis=(2, 3), keepdims=True))

    def write(self, writer: OnnxWriter, node: Node) -> None:
        product = writer.emit("Mul", node, node.inputs, f"{node.output}::product")
        writer.emit("ReduceMean", node, [product], axes=[2, 3])

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        x, y = operands
        share = grad / grad.dtype.type(summands(x.shape))
        return [share * y, share * x]


def summands(shape: Shape) -> int:
    """Products in each sum of a MeanProduct of operands of `shape`."""
    return math.prod(shape[2:])
