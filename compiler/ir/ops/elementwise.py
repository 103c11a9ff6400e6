"""Ops that act on every pixel alike: affine maps per channel, sums, and the ReLU family."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.graph import Array, Node, Shape, channelwise
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.ops.base import Convolution, Op, Trait, operator, require
from moiety.compiler.ir.scale_fields import Field, ScaleMap
from moiety.protocols.errors import ContractViolation


def same_shape(shapes: Sequence[Shape]) -> Shape:
    """The shape that all operands have; ShapeError where they differ."""
    require(
        all(shape == shapes[0] for shape in shapes),
        f"operands must have one shape, have {list(shapes)}",
    )
    return shapes[0]


def broadcast_shape(shapes: Sequence[Shape]) -> Shape:
    """The first operand's shape, to which the second broadcasts: each of its axes is as long as the
    first's, or 1. ShapeError where one is not.
    """
    x, y = shapes
    fits = len(x) == len(y) and all(b in (1, a) for a, b in zip(x, y, strict=True))
    require(fits, f"the second operand, of shape {y}, does not broadcast to {x}")
    return x


def summed_to(shape: Shape, grad: Array) -> Array:
    """Summed over the axes along which an operand of `shape` was broadcast."""
    axes = tuple(axis for axis, size in enumerate(shape) if size < grad.shape[axis])
    return np.asarray(grad.sum(axis=axes, keepdims=True))


class _Affine(Op):
    """`scale*x + shift` per channel (axis 1), constants `(C,)`: what Scale and AffineRelu share."""

    consts = ("scale", "shift")

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        require(len(shape) >= 2, f"needs a channel axis, operand has shape {shape}")
        for name in self.consts:
            found = node.consts[name].shape
            require(found == (shape[1],), f"{name} must be ({shape[1]},), is {found}")
        return shape

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        (x,) = operands
        scale, shift = (
            channelwise(node.consts[name].astype(x.dtype, copy=False), x.ndim)
            for name in self.consts
        )
        return np.asarray(x * scale + shift)

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        return [grad * channelwise(node.consts["scale"].astype(grad.dtype), grad.ndim)]

    def _write(self, writer: OnnxWriter, node: Node, output: str) -> None:
        """Mul and Add, which make `output`."""
        rank = len(writer.graph.shapes[node.inputs[0]])
        scale, shift = (
            writer.weight(node, role, channelwise(node.consts[role], rank)) for role in self.consts
        )
        product = writer.emit("Mul", node, [node.inputs[0], scale], f"{node.output}::product")
        writer.emit("Add", node, [product, shift], output)


@operator
class Scale(_Affine):
    """`scale*x + shift` per channel (axis 1): BatchNormalization, and Mul, Div, Add, Sub by
    per-channel constants. What no other layer absorbs becomes a depthwise 1x1 Linear step.
    """

    traits = Trait.LINEAR | Trait.ELEMENTWISE

    def write(self, writer: OnnxWriter, node: Node) -> None:
        self._write(writer, node, node.output)

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """As Conv: the change of scale is in the weights."""
        scales.per_channel(node, node.inputs[0])
        return scales.begin(node.output, len(node.consts["scale"]))

    def convolution(self, node: Node) -> Convolution:
        scale, shift = (node.consts[name].astype(np.float64) for name in self.consts)
        return Convolution(scale[:, None, None, None], shift, len(scale))


@operator
class AffineRelu(_Affine):
    """`relu(g*x + h)` per channel, g = scale and h = shift. Computed as a gate `[g*x + h > 0]` on
    `x + h/g`: the factor g waits in the scale field until a Conv or Gemm takes it. So every use
    must reach such layers through per-channel linear reindexing ops.
    """

    traits = Trait.ELEMENTWISE | Trait.RELU
    made_by = "absorb-batchnorm"

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return np.asarray(np.maximum(super().evaluate(node, operands), 0))

    def write(self, writer: OnnxWriter, node: Node) -> None:
        self._write(writer, node, f"{node.output}::affine")
        writer.emit("Relu", node, [f"{node.output}::affine"])

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """The operand's classes, multiplied by the factors that wait."""
        given = scales.per_channel(node, node.inputs[0])
        rank = len(scales.graph.shapes[node.output])
        gain = channelwise(node.consts["scale"].astype(np.float64), rank)
        return Field(given.ids, given.multiplier * gain)

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        return super().adjoint(node, operands, result, grad * (result > 0))


@operator
class Relu(Op):
    """`max(x, 0)`."""

    traits = Trait.ELEMENTWISE | Trait.RELU

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        return same_shape(shapes)

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return np.asarray(np.maximum(operands[0], 0))

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit("Relu", node, node.inputs)

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """A sign is a sign in any positive scale."""
        return scales.fields[node.inputs[0]]

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        return [grad * (result > 0)]


@operator
class Clip(Op):
    """`min(max(x, min), max)`: Clip(0, max), ReLU6 among them, is rewritten to two Relus and a Sub,
    whose comparisons the Program shares (compiler/lowering/fuse_shifts.py).
    """

    attrs = ("min", "max")
    traits = Trait.ELEMENTWISE
    rewritten_by = "clip-to-relu"

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        return same_shape(shapes)

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return np.asarray(np.clip(operands[0], node.attrs["min"], node.attrs["max"]))

    def write(self, writer: OnnxWriter, node: Node) -> None:
        bounds = [
            writer.weight(node, role, np.asarray(node.attrs[role])) for role in ("min", "max")
        ]
        writer.emit("Clip", node, [node.inputs[0], *bounds])

    def left_undone(self, node: Node) -> str | None:
        return (
            f"with bounds ({node.attrs['min']:g}, {node.attrs['max']:g}) is left after the "
            f"passes: only Clip(0, m) can be computed; add {self.rewritten_by} to the pipeline, "
            "or change the model"
        )


class _Sum(Op):
    """What Add, Sub and AddConst share: operands of one scale and ring."""

    traits = Trait.SUM | Trait.SHARED_RING | Trait.ELEMENTWISE

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """A scale per channel for the sum's own range, which all operands must have."""
        result = scales.begin(node.output, scales.graph.shapes[node.output][1])
        ids = scales.sources[node.output]
        for value in node.inputs:
            given = scales.per_channel(node, value)
            if (given.multiplier != 1).any():
                raise ContractViolation(
                    f"{node.op} {node.name!r} adds values of different multiplier; legalise first"
                )
            others = np.broadcast_to(given.ids.reshape(-1), ids.shape)
            for own, other in zip(ids, others, strict=True):
                scales.classes.tie((int(other), int(own)))
        return result


@operator
class Add(_Sum):
    """`x + y`, of one shape, or each axis of y of x's size or 1."""

    operands = 2
    traits = _Sum.traits | Trait.ANY_RING

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        return broadcast_shape(shapes)

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return np.asarray(operands[0] + operands[1])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit("Add", node, node.inputs)

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        return [grad, summed_to(operands[1].shape, grad)]


@operator
class Sub(_Sum):
    """`x - y`, of one shape, or each axis of y of x's size or 1."""

    operands = 2
    traits = _Sum.traits | Trait.ANY_RING

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        return broadcast_shape(shapes)

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return np.asarray(operands[0] - operands[1])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit("Sub", node, node.inputs)

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        return [grad, summed_to(operands[1].shape, -grad)]


@operator
class AddConst(_Sum):
    """`x + value`, where the constant is not per channel: of x's rank, broadcast to its shape."""

    consts = ("value",)

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,), value = shapes, node.consts["value"].shape
        fits = len(value) == len(shape) and all(
            v in (1, s) for v, s in zip(value, shape, strict=True)
        )
        require(fits, f"value must have the operand's rank and broadcast to {shape}, is {value}")
        return shape

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return np.asarray(operands[0] + node.consts["value"].astype(operands[0].dtype))

    def write(self, writer: OnnxWriter, node: Node) -> None:
        value = writer.weight(node, "value", node.consts["value"])
        writer.emit("Add", node, [node.inputs[0], value])

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        return [grad]
