"""Importers of Add, Sub, Mul, Div and their like: two tensors, or a tensor and a constant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from moiety.compiler.ir.graph import Array
from moiety.compiler.ir.ops import ELEMENTWISE
from moiety.compiler.onnx_import.axes import enlarged
from moiety.compiler.onnx_import.builder import Builder
from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.powers import divided, fitted_power
from moiety.compiler.onnx_import.products import multiplied
from moiety.compiler.onnx_import.univariate import as_activation
from moiety.protocols.arrays import F32


def broadcast_constant(call: Call, value: str, constant: Array) -> tuple[str, Array]:
    """A tensor and a constant of its rank, the tensor as large as both together are."""
    shape = call.builder.shapes[value]
    array = constant
    array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    if array.ndim != len(shape) or array.shape[0] != 1 or not _broadcasts(array.shape, shape):
        call.fail(
            f"a constant of shape {constant.shape} with a tensor of shape {shape}",
            "it must have no larger rank, a batch axis of 1, and sizes that are equal or 1",
        )
    return enlarged(call, value, np.broadcast_shapes(shape, array.shape)), array


def fit(call: Call, index: int) -> tuple[str, Array]:
    """The tensor operand, and constant operand `index` with its rank."""
    return broadcast_constant(call, call.value(1 - index), call.weight(index, "the constant"))


def _broadcasts(left: Sequence[int], right: Sequence[int]) -> bool:
    return all(1 in (a, b) or a == b for a, b in zip(left, right, strict=True))


def scaled(call: Call, value: str, factors: Array) -> str:
    """`value` times a constant of its rank. The axes along which it varies are made the channels
    of a Scale.
    """
    shape = call.builder.shapes[value]
    if len(shape) < 2:
        call.fail(f"a tensor of shape {shape} has no axis but the batch", "reshape it to (1, 1)")
    varying = [axis for axis, size in enumerate(factors.shape) if size > 1]
    first = varying or [_channel_axis(call.builder, value)]
    order = (0, *first, *(axis for axis in range(1, len(shape)) if axis not in first))
    moved = call.transpose(value, order)
    sizes = call.builder.shapes[moved]
    channels = math.prod(shape[axis] for axis in first)
    joined = call.reshape(moved, (1, channels, *sizes[1 + len(first) :]))
    scale = np.broadcast_to(factors.reshape(-1), (channels,)).astype(np.float32)
    result = call.emit("Scale", [joined], scale=scale, shift=np.zeros_like(scale))
    back = tuple(order.index(axis) for axis in range(len(shape)))
    return call.transpose(call.reshape(result, sizes), back)


def added(call: Call, value: str, constant: Array) -> str:
    """`value` plus a constant of its rank that broadcasts to it."""
    if not constant.any():
        return value
    return call.emit("AddConst", [value], value=np.asarray(constant, np.float32))


def _channel_axis(builder: Builder, value: str) -> int:
    """Where the channels of `value` are: where the Transpose that element-wise ops follow put them.
    Networks with channels last have one around every convolution.
    """
    for node in reversed(builder.nodes):
        if node.output == value:
            if node.op == "Transpose":
                return tuple(node.attrs["perm"]).index(1)
            if node.op not in ELEMENTWISE:
                break
            value = node.inputs[0]
    return 1


def multiple(call: Call, value: str, factor: float) -> str:
    """`value * factor`."""
    return scaled(call, value, np.full((1,) * len(call.builder.shapes[value]), factor, np.float32))


def negated(call: Call, value: str) -> str:
    return multiple(call, value, -1)


def shifted(call: Call, value: str, constant: float) -> str:
    """`value + constant`."""
    return added(call, value, np.full((1,) * len(call.builder.shapes[value]), constant))


def combined(call: Call, op: str, left: str, right: str) -> str:
    """Add or Sub of two tensors of one rank, broadcast."""
    shapes = [call.builder.shapes[value] for value in (left, right)]
    if len(shapes[0]) != len(shapes[1]) or not _broadcasts(*shapes):
        call.fail(
            f"tensors of shapes {shapes[0]} and {shapes[1]}",
            "they must have one rank, and sizes that are equal or 1",
        )
    shape = np.broadcast_shapes(*shapes)
    if shapes[1] == shape != shapes[0] and op == "Add":
        left, right = right, left
    return call.emit(op, [enlarged(call, left, shape), right])


def _binary(call: Call, op: str) -> str:
    return combined(call, op, call.value(0), call.value(1))


@importer("Add")
def _add(call: Call) -> Sequence[str]:
    """Two tensors of one rank, or a tensor and a constant; broadcast."""
    if call.is_value(0) and call.is_value(1):
        return [_binary(call, "Add")]
    return [added(call, *fit(call, 1 if call.is_value(0) else 0))]


@importer("Sub")
def _sub(call: Call) -> Sequence[str]:
    """As Add; also a constant minus a tensor."""
    if call.is_value(0) and call.is_value(1):
        return [_binary(call, "Sub")]
    if call.is_value(0):
        value, constant = fit(call, 1)
        return [added(call, value, -constant)]
    value, constant = fit(call, 0)
    return [added(call, negated(call, value), constant)]


@importer("Mul")
def _mul(call: Call) -> Sequence[str]:
    """Two tensors, or a tensor and a constant; broadcast. Two tensors that are functions of each
    element of one, x * sigmoid(x) for one, are one activation.
    """
    if call.is_value(0) and call.is_value(1):
        fused = as_activation(call, "mul", call.value(0), call.value(1))
        return [fused or multiplied(call, call.value(0), call.value(1))]
    constant = 1 if call.is_value(0) else 0
    return [scaled(call, *fit(call, constant))]


@importer("Div")
def _div(call: Call) -> Sequence[str]:
    """By a constant, broadcast, or by a tensor that is positive on all calibration images; two
    tensors that are functions of each element of one, as one activation.
    """
    if call.is_value(0) and call.is_value(1):
        fused = as_activation(call, "div", call.value(0), call.value(1))
        return [fused or divided(call, call.value(0), call.value(1))]
    if call.is_value(1):
        value, constant = fit(call, 0)
        inverse = fitted_power(replace(call, operands=(value,)), -1.0)
        assert inverse is not None
        return [scaled(call, inverse, constant)]
    value, divisor = fit(call, 1)
    with np.errstate(divide="ignore", over="ignore"):
        factors = call.finite(1.0 / divisor.astype(np.float64), f"1 / {call.proto.input[1]}")
    return [scaled(call, value, factors)]


@importer("Neg")
def _neg(call: Call) -> Sequence[str]:
    """Any shape."""
    return [negated(call, call.value())]


@importer("Sum")
def _sum(call: Call) -> Sequence[str]:
    """Any number of tensors and constants, broadcast."""
    return [_total(call)]


@importer("Mean")
def _mean(call: Call) -> Sequence[str]:
    """As Sum, over their number."""
    return [multiple(call, _total(call), 1 / len(call.operands))]


def _total(call: Call) -> str:
    """Of all operands."""
    values, constants = operands(call)
    total = reduce(lambda left, right: combined(call, "Add", left, right), values)
    for constant in constants:
        total = added(call, *broadcast_constant(call, total, constant))
    return total


def operands(call: Call) -> tuple[list[str], list[F32]]:
    """The tensors and the constants among any number of operands."""
    indices = range(len(call.operands))
    values = [call.value(index) for index in indices if call.is_value(index)]
    rest = [call.weight(index, "the constant") for index in indices if not call.is_value(index)]
    return values, rest
