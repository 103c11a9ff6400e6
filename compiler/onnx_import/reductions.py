"""Importers of reductions: means and maxima are pools, sums are linear maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps

import numpy as np

from moiety.compiler.ir.axis_map import AxisMap
from moiety.compiler.ir.graph import Node, Shape
from moiety.compiler.onnx_import.activations import absolute
from moiety.compiler.onnx_import.arithmetic import negated, scaled
from moiety.compiler.onnx_import.axes import mapped
from moiety.compiler.onnx_import.call import Call, Importer, importer
from moiety.compiler.onnx_import.powers import powered
from moiety.compiler.onnx_import.windows import NO_PADS

Reduction = Callable[[Call, str, list[int]], str]
"""Of a value over axes, none of them the batch, which stay with size 1."""


def _reducing(reduction: Reduction) -> Importer:
    """An importer of it: the axes, of either form, and keepdims."""

    @wraps(reduction)
    def imported(call: Call) -> Sequence[str]:
        shape, given = call.shape(), call.ints("axes", 1)
        everything = () if call.flag("noop_with_empty_axes") else range(len(shape))
        axes = sorted({axis % len(shape) for axis in given or everything})
        if 0 in axes:
            call.fail_on_batch(f"over axes {axes} of {shape}", "the batch axis cannot be reduced")
        value = reduction(call, call.value(), axes)
        if call.flag("keepdims", True):
            return [value]
        return [call.reshape(value, [size for axis, size in enumerate(shape) if axis not in axes])]

    return imported


def _pooled(call: Call, op: str, value: str, axes: list[int]) -> str:
    """A pool with full windows over axes, which stay with size 1."""
    shape = call.builder.shapes[value]
    if not axes:
        return value
    if len(shape) == 4 and set(axes) <= {2, 3}:
        kernel = (shape[2] if 2 in axes else 1, shape[3] if 3 in axes else 1)
        return _full_pool(call, op, value, kernel)
    if len(shape) == 4 and axes == [1, 2]:  # channels last
        moved = call.transpose(value, (0, 3, 1, 2))
        return call.transpose(_full_pool(call, op, moved, (shape[1], shape[2])), (0, 2, 3, 1))
    image = _mixed(call, value, axes)
    mixed = call.builder.shapes[image][2]
    pooled = _full_pool(call, op, image, (mixed, 1))
    return call.reshape(pooled, _reduced(shape, axes))


def _reduced(shape: Shape, axes: list[int]) -> list[int]:
    return [1 if axis in axes else size for axis, size in enumerate(shape)]


def _mixed(call: Call, value: str, axes: list[int]) -> str:
    """As an image whose height and width are what is mixed, and its channels what is not."""
    shape = call.builder.shapes[value]
    if len(shape) == 4 and axes == [2, 3]:
        return value
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    count, mixed = (math.prod(shape[axis] for axis in part) for part in (kept, axes))
    return call.reshape(call.transpose(value, (*kept, *axes)), (1, count, mixed, 1))


def mean(call: Call, value: str, axes: list[int]) -> str:
    """Over axes, which stay with size 1. Of products that nobody else reads, the products are
    summed up before they are rounded.
    """
    node = call.builder.producer(value)
    if node is None or node.op != "Mul" or not _of_one_shape(call, node):
        return _pooled(call, "AvgPool", value, axes)
    left, right = node.inputs
    return mean_of_products(call, left, right, axes)


def _of_one_shape(call: Call, node: Node) -> bool:
    left, right = (call.builder.shapes[value] for value in node.inputs)
    return left == right


def mean_of_products(call: Call, left: str, right: str, axes: list[int]) -> str:
    """Of two tensors of one shape, over axes, which stay with size 1."""
    shape = call.builder.shapes[left]
    images = [_mixed(call, value, axes) for value in (left, right)]
    return call.reshape(call.emit("MeanProduct", images), _reduced(shape, axes))


def _full_pool(call: Call, op: str, value: str, kernel: tuple[int, int]) -> str:
    attrs = {"count_include_pad": False} if op == "AvgPool" else {}
    return call.emit(op, [value], kernel=kernel, strides=(1, 1), pads=NO_PADS, **attrs)


@importer("ReduceMean")
@_reducing
def _mean(call: Call, value: str, axes: list[int]) -> str:
    """Over any axes but the batch; keepdims."""
    return mean(call, value, axes)


@importer("ReduceMax")
@_reducing
def _max(call: Call, value: str, axes: list[int]) -> str:
    """Over any axes but the batch; keepdims."""
    return _pooled(call, "MaxPool", value, axes)


@importer("ReduceMin")
@_reducing
def _min(call: Call, value: str, axes: list[int]) -> str:
    """As ReduceMax: `-max(-x)`."""
    return negated(call, _pooled(call, "MaxPool", negated(call, value), axes))


def summed(call: Call, value: str, axes: list[int]) -> str:
    """Over axes, which stay with size 1."""
    for axis in axes:
        size = call.builder.shapes[value][axis]
        if size > 1:
            call.make_room(size)
            value = mapped(call, value, axis, AxisMap.of(np.ones((1, size))))
    return value


@importer("ReduceSum")
@_reducing
def _sum(call: Call, value: str, axes: list[int]) -> str:
    """Over any axes but the batch; keepdims."""
    return summed(call, value, axes)


@importer("ReduceSumSquare")
@_reducing
def _sum_square(call: Call, value: str, axes: list[int]) -> str:
    """Over any axes but the batch; keepdims."""
    return sum_of_squares(call, value, axes)


def sum_of_squares(call: Call, value: str, axes: list[int]) -> str:
    """Over axes, which stay with size 1."""
    shape = call.builder.shapes[value]
    count = math.prod(shape[axis] for axis in axes)
    found = mean_of_products(call, value, value, axes)
    return scaled(call, found, np.full((1,) * len(shape), count, np.float32))


@importer("ReduceL2")
@_reducing
def _l2(call: Call, value: str, axes: list[int]) -> str:
    """The root of ReduceSumSquare."""
    return powered(call, sum_of_squares(call, value, axes), 0.5)


@importer("ReduceL1")
@_reducing
def _l1(call: Call, value: str, axes: list[int]) -> str:
    """The sum of absolute values, as ReduceSum."""
    return summed(call, absolute(call, value), axes)


@importer("CumSum")
def _running_sum(call: Call) -> Sequence[str]:
    """Along any axis but the batch, which must be a constant; exclusive, reverse."""
    given, shape = call.ints("axis", 1), call.shape()
    if given is None or len(given) != 1:
        call.fail("the axis is missing")
    axis = given[0] % len(shape)
    if axis == 0:
        call.fail_on_batch("sums up over the batch axis", "choose another axis")
    call.make_room(shape[axis], shape[axis])
    matrix = np.tri(shape[axis], k=-int(call.flag("exclusive")))
    if call.flag("reverse"):
        matrix = matrix.T
    return [mapped(call, call.value(), axis, AxisMap.of(matrix))]
