"""Ops that move, copy or drop elements, or put zeros beside them: local, in any ring and scale.

Their scale rule is their own reindexing, of class ids and multipliers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.graph import Array, Node, Shape
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.ops.base import Op, Trait, operator, require
from moiety.compiler.ir.scale_fields import Field, ScaleMap, squeezed

_LOCAL = Trait.MOVEMENT | Trait.REINDEXING | Trait.SHARED_RING | Trait.ANY_RING


@operator
class Concat(Op):
    """Operands one after another along `axis`, not the batch."""

    operands = None
    attrs = ("axis",)
    traits = _LOCAL | Trait.WIDE_OPERANDS | Trait.KEEPS_ZERO

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        first, axis = shapes[0], node.attrs["axis"]
        require(1 <= axis < len(first), f"axis {axis} is not a non-batch axis of {first}")
        rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
        require(len(rest) == 1, f"operands {list(shapes)} differ outside axis {axis}")
        return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return np.concatenate(operands, axis=node.attrs["axis"])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit("Concat", node, node.inputs, axis=node.attrs["axis"])

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        axis = node.attrs["axis"]
        widths = [scales.graph.shapes[value][axis] for value in node.inputs]
        given = [scales.fields[value] for value in node.inputs]
        return Field(
            _joined([each.ids for each in given], widths, axis),
            _joined([each.multiplier for each in given], widths, axis),
        )

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        axis = node.attrs["axis"]
        return np.split(grad, np.cumsum([operand.shape[axis] for operand in operands])[:-1], axis)


def _joined(arrays: Sequence[Array], widths: Sequence[int], axis: int) -> Array:
    """Concat of arrays that broadcast to operands with `widths` along `axis`."""
    rest = np.broadcast_shapes(*((*a.shape[:axis], 1, *a.shape[axis + 1 :]) for a in arrays))
    parts = [
        np.broadcast_to(array, (*rest[:axis], width, *rest[axis + 1 :]))
        for array, width in zip(arrays, widths, strict=True)
    ]
    return squeezed(np.concatenate(parts, axis=axis))


@operator
class Slice(Op):
    """`[start:stop:step]` of every axis, resolved: `0 <= start < stop <= size`, steps positive; the
    batch whole. Also Split.
    """

    attrs = ("starts", "stops", "steps")
    traits = _LOCAL | Trait.AVERAGING | Trait.KEEPS_ZERO

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        starts, stops, steps = (node.attrs[name] for name in self.attrs)
        require(
            len(starts) == len(stops) == len(steps) == len(shape),
            f"needs one start, stop and step per axis of {shape}",
        )
        resolved = all(
            0 <= a < b <= size and s >= 1
            for a, b, s, size in zip(starts, stops, steps, shape, strict=True)
        )
        require(resolved, f"[{starts}:{stops}:{steps}] is empty or outside {shape}")
        require((starts[0], stops[0]) == (0, shape[0]), "the batch axis cannot be cut")
        return tuple(len(range(*bounds)) for bounds in zip(starts, stops, steps, strict=True))

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        # The batch is never cut, whatever its size at run time.
        return operands[0][(slice(None), *_limits(node)[1:])]

    def write(self, writer: OnnxWriter, node: Node) -> None:
        starts, stops, steps = (
            writer.ints(node, role, node.attrs[role][1:]) for role in self.attrs
        )  # not the batch
        axes = writer.ints(node, "axes", range(1, len(node.attrs["starts"])))
        writer.emit("Slice", node, [node.inputs[0], starts, stops, axes, steps])

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        def cut(array: Array) -> Array:
            bounds = zip(array.shape, _limits(node), strict=True)
            return array[tuple(slice(None) if size == 1 else limit for size, limit in bounds)]

        return scales.fields[node.inputs[0]].map(cut)

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        back = np.zeros_like(operands[0])
        back[_limits(node)] = grad
        return [back]


def _limits(node: Node) -> tuple[slice, ...]:
    starts, stops, steps = (node.attrs[name] for name in ("starts", "stops", "steps"))
    return tuple(slice(*bounds) for bounds in zip(starts, stops, steps, strict=True))


@operator
class Reshape(Op):
    """Another `shape` for the same elements in order, the batch first. Also Flatten,
    Squeeze, Unsqueeze.
    """

    attrs = ("shape",)
    traits = _LOCAL | Trait.AVERAGING

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        shape, given = tuple(node.attrs["shape"]), shapes[0]
        require(
            math.prod(shape) == math.prod(given), f"{given} has not as many elements as {shape}"
        )
        require(
            shape[:1] == given[:1],
            f"reshaping {given} to {shape} does not keep the batch axis first",
        )
        return shape

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return operands[0].reshape(-1, *node.attrs["shape"][1:])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        # 0: the batch stays what it is at run time
        shape = writer.ints(node, "shape", [0, *node.attrs["shape"][1:]])
        writer.emit("Reshape", node, [node.inputs[0], shape])

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        source, shape = node.inputs[0], scales.graph.shapes[node.output]
        full = scales.fields[source].widened(scales.graph.shapes[source])
        return full.map(lambda array: array.reshape(shape))

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        return [grad.reshape(operands[0].shape)]


@operator
class Transpose(Op):
    """Axes in the order `perm`, the batch first."""

    attrs = ("perm",)
    traits = _LOCAL | Trait.AVERAGING

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,), perm = shapes, tuple(node.attrs["perm"])
        require(
            sorted(perm) == list(range(len(shape))),
            f"perm {perm} is not a permutation of the axes of {shape}",
        )
        require(perm[0] == 0, f"perm {perm} moves the batch axis")
        return tuple(shape[axis] for axis in perm)

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return operands[0].transpose(node.attrs["perm"])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit("Transpose", node, node.inputs, perm=node.attrs["perm"])

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        given = scales.fields[node.inputs[0]]
        return given.map(lambda array: array.transpose(node.attrs["perm"]))

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        return [grad.transpose(np.argsort(node.attrs["perm"]))]


@operator
class Pad(Op):
    """Zeros around: `pads` are (before, after) per axis, none on the batch."""

    attrs = ("pads",)
    traits = _LOCAL | Trait.WIDE_OPERANDS

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,), pads = shapes, node.attrs["pads"]
        require(len(pads) == len(shape), f"needs one (before, after) per axis of {shape}")
        require(
            all(min(pair) >= 0 for pair in pads) and tuple(pads[0]) == (0, 0),
            f"pads {pads} are negative or pad the batch axis",
        )
        return tuple(size + sum(pair) for size, pair in zip(shape, pads, strict=True))

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return np.pad(operands[0], node.attrs["pads"])

    def write(self, writer: OnnxWriter, node: Node) -> None:
        before, after = zip(*node.attrs["pads"], strict=True)
        pads = writer.ints(node, "pads", [*before, *after])
        writer.emit("Pad", node, [node.inputs[0], pads])

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """Zero is zero in any scale: a padding element takes its neighbour's."""

        def extend(array: Array) -> Array:
            sizes = zip(array.shape, node.attrs["pads"], strict=True)
            return np.pad(array, [(0, 0) if size == 1 else pair for size, pair in sizes], "edge")

        return scales.fields[node.inputs[0]].map(extend)

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        sizes = zip(node.attrs["pads"], operands[0].shape, strict=True)
        return [grad[tuple(slice(before, before + size) for (before, _), size in sizes)]]


@operator
class Upsample(Op):
    """Nearest: every pixel `factors` (height, width) times. Moved behind element-wise ops, joined
    with the Conv that reads it, else written as copies (Reshape, Concat, Reshape).
    """

    attrs = ("factors",)
    traits = Trait.MOVEMENT | Trait.AVERAGING
    rewritten_by = "expand-upsample"

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,), factors = shapes, node.attrs["factors"]
        require(len(shape) == 4, f"needs an (N, C, H, W) operand, has {shape}")
        require(
            len(factors) == 2 and min(factors) >= 1, f"needs two positive factors, has {factors}"
        )
        return (*shape[:2], shape[2] * factors[0], shape[3] * factors[1])

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        rows, columns = node.attrs["factors"]
        return operands[0].repeat(rows, axis=2).repeat(columns, axis=3)

    def write(self, writer: OnnxWriter, node: Node) -> None:
        scales = writer.weight(node, "scales", np.array([1, 1, *node.attrs["factors"]]))
        writer.emit(
            "Resize",
            node,
            [node.inputs[0], "", scales],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
