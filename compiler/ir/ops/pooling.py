"""Pools: MaxPool and AvgPool, over windows of height and width.

Attributes kernel and strides are (height, width), pads (top, left, bottom, right) and smaller than
the kernel; ceil_mode is already resolved to pads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.compiler.ir.onnx_writer import OnnxWriter
from moiety.compiler.ir.ops.base import Op, Trait, operator, require
from moiety.compiler.ir.ops.windows import check_window, padded, taps, window_shape
from moiety.compiler.ir.scale_fields import Field, ScaleMap

MAX_FACTOR = 64
"""The most operands of an Add step, so the largest factor of an average's windows."""


class _Pool(Op):
    """What both pools share: the shape rule, and the attributes that ONNX has too."""

    attrs: ClassVar[tuple[str, ...]] = ("kernel", "strides", "pads")

    def infer(self, node: Node, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        check_window(node, shape)
        kernel, pads = node.attrs["kernel"], node.attrs["pads"]
        require(
            max(pads[0], pads[2]) < kernel[0] and max(pads[1], pads[3]) < kernel[1],
            "pads must be smaller than the kernel",
        )
        return (*shape[:2], *window_shape(node, shape, kernel))

    def _written(self, node: Node) -> dict[str, Any]:
        """ONNX's attributes."""
        attrs = node.attrs
        return {
            "kernel_shape": attrs["kernel"],
            "strides": attrs["strides"],
            "pads": attrs["pads"],
        }


@operator
class MaxPool(_Pool):
    """The largest element of each window; padding is minus infinity."""

    traits = Trait.SHARED_RING | Trait.KEEPS_ZERO

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        return _reduced(node, padded(operands[0], node.attrs["pads"], -np.inf), np.maximum)

    def write(self, writer: OnnxWriter, node: Node) -> None:
        writer.emit("MaxPool", node, node.inputs, **self._written(node))

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """Elements that are compared have one scale."""
        return scales.per_channel(node, node.inputs[0])

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        """To the largest of each window, in equal parts where there are several."""
        x, pads = operands[0], node.attrs["pads"]
        around = padded(x, pads, -np.inf)
        places = _places(node, result.shape)
        ties = np.sum([around[place] == result for place in places], axis=0)
        back = np.zeros_like(around)
        for place in places:
            back[place] += np.where(around[place] == result, grad / ties, 0)
        return [_inside(back, pads, x.shape)]

    def rounding_bias(self, node: Node, operand: Array, result: Array) -> Array:
        """With m = floor(result), no element is rounded to more than m + 1, and the largest to no
        less than m. So the largest of a window becomes m + 1 unless all its elements above m, of
        fractions p, are rounded down: its mean is `m + 1 - prod(1 - p)`, and `m + p` is right for
        the largest alone. A window of k equal elements, p uniform: `1/2 - 1/(k + 1)`.
        """
        around = padded(operand, node.attrs["pads"], -np.inf)
        floor = np.floor(result)
        all_down = np.ones_like(result)
        for place in _places(node, result.shape):
            all_down *= 1 - np.clip(around[place] - floor, 0, 1)
        return np.asarray(floor + 1 - all_down - result)

    def comparisons(self, node: Node, operand: Shape, result: Shape) -> int:
        """Along rows, then down columns."""
        kernel, stride = node.attrs["kernel"], node.attrs["strides"][1]
        rows = math.prod(operand) // stride
        return rows * (kernel[1] - 1) + math.prod(result) * (kernel[0] - 1)


@operator
class AvgPool(_Pool):
    """The mean of each window; padding counts as zeros where `count_include_pad` says so, else not
    at all. GlobalAveragePool, and ReduceMean over height and width, are it with the full kernel.
    """

    attrs = (*_Pool.attrs, "count_include_pad")
    traits = (
        Trait.REINDEXING
        | Trait.SHARED_RING
        | Trait.ANY_RING
        | Trait.AVERAGING
        | Trait.WIDE_OPERANDS
    )

    def evaluate(self, node: Node, operands: Sequence[Array]) -> Array:
        (x,), (kh, kw), pads = operands, node.attrs["kernel"], node.attrs["pads"]
        total = _reduced(node, padded(x, pads, 0.0), np.add)
        if counts_padding(node) or not any(pads):
            return np.asarray(total / total.dtype.type(kh * kw))
        ones = np.ones((1, 1, *x.shape[2:]), total.dtype)
        return np.asarray(total / _reduced(node, padded(ones, pads, 0.0), np.add))

    def write(self, writer: OnnxWriter, node: Node) -> None:
        counted = int(node.attrs["count_include_pad"])
        attrs = self._written(node)
        writer.emit("AveragePool", node, node.inputs, count_include_pad=counted, **attrs)

    def scale_rule(self, scales: ScaleMap, node: Node) -> Field:
        """A sum of integers, `divisor` times too large: the multiplier says so."""
        given = scales.per_channel(node, node.inputs[0])
        return Field(given.ids, given.multiplier / self.enlarges(scales.graph, node))

    def enlarges(self, graph: Graph, node: Node) -> int:
        return window_factors(graph, node).divisor

    def adjoint(
        self, node: Node, operands: Sequence[Array], result: Array, grad: Array
    ) -> Sequence[Array]:
        """To every element of the window, divided by what the window divided by."""
        x, pads = operands[0], node.attrs["pads"]
        places = _places(node, result.shape)
        inside = padded(np.ones((1, 1, *x.shape[2:]), x.dtype), pads, 0.0)
        if node.attrs["count_include_pad"]:
            divisor = np.float32(len(places))
        else:
            divisor = np.sum([inside[place] for place in places], axis=0)
        back = np.zeros((*x.shape[:2], *inside.shape[2:]), grad.dtype)
        for place in places:
            back[place] += grad / divisor
        return [_inside(back, pads, x.shape)]

    def unplannable(self, node: Node, operand: Shape, result: Shape) -> str | None:
        if _factors(node, operand, result).largest <= MAX_FACTOR:
            return None
        return (
            "windows at the border average fewer elements (count_include_pad = 0), and a kernel of "
            f"{tuple(node.attrs['kernel'])} has no small common divisor; export with "
            "count_include_pad = 1"
        )


def counts_padding(node: Node) -> bool:
    """Does a pool count zeros around the image as elements? Then its windows at the border are no
    means of the image's elements.
    """
    return bool(node.attrs["count_include_pad"]) and any(node.attrs["pads"])


@dataclass(frozen=True)
class WindowFactors:
    """An average pool as `sum * factors / divisor`, with a public integer factor per row
    and per column.
    """

    per_axis: tuple[tuple[int, ...], tuple[int, ...]]
    divisor: int

    @property
    def largest(self) -> int:
        return max(max(factors) for factors in self.per_axis)


def window_factors(graph: Graph, node: Node) -> WindowFactors:
    """Where padding is not counted, windows at the border have fewer elements: the least common
    multiple is the divisor.
    """
    return _factors(node, graph.shapes[node.inputs[0]], graph.shapes[node.output])


def _factors(node: Node, operand: Shape, result: Shape) -> WindowFactors:
    counts = [_counted(node, axis, operand[2 + axis], result[2 + axis]) for axis in range(2)]
    common = [math.lcm(*axis) for axis in counts]
    rows, columns = (
        tuple(multiple // count for count in axis)
        for axis, multiple in zip(counts, common, strict=True)
    )
    return WindowFactors((rows, columns), math.prod(common))


def _counted(node: Node, axis: int, size: int, windows: int) -> list[int]:
    """How many elements each window of an axis divides by."""
    kernel, stride, before = (node.attrs[name][axis] for name in ("kernel", "strides", "pads"))
    if node.attrs["count_include_pad"]:
        return [kernel] * windows
    starts = [position * stride - before for position in range(windows)]
    return [min(start + kernel, size) - max(start, 0) for start in starts]


def _reduced(node: Node, x: Array, combine: np.ufunc) -> Array:
    """Rows, then columns: both pools are separable. `x` is padded."""
    for axis in (2, 3):
        size, stride = node.attrs["kernel"][axis - 2], node.attrs["strides"][axis - 2]
        if size == 1 and stride == 1:
            continue
        if size == x.shape[axis]:  # in the same order, without a step of Python for every element
            x = combine.accumulate(x, axis=axis).take([-1], axis=axis)
            continue
        views = taps(x, axis, size, stride)
        result = next(views).copy()
        for view in views:
            combine(result, view, out=result)
        x = result
    return x


def _places(node: Node, shape: Shape) -> list[tuple[slice, ...]]:
    """For each tap, where it is in the padded operand for all windows of a result of `shape`."""
    (kh, kw), (sh, sw) = node.attrs["kernel"], node.attrs["strides"]
    rows = [slice(i, i + (shape[2] - 1) * sh + 1, sh) for i in range(kh)]
    columns = [slice(j, j + (shape[3] - 1) * sw + 1, sw) for j in range(kw)]
    return [(slice(None), slice(None), row, column) for row in rows for column in columns]


def _inside(array: Array, pads: Sequence[int], shape: Shape) -> Array:
    """A padded array without its padding."""
    top, left = pads[:2]
    return array[:, :, top : top + shape[2], left : left + shape[3]]
