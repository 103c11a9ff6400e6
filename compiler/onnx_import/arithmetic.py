"""Importers of Add, Sub, Mul, Div and their like: two tensors, or a tensor and a constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.graph import Array
from moiety.compiler.ir.ops import ELEMENTWISE
from moiety.compiler.onnx_import.axes import enlarged
from moiety.compiler.onnx_import.builder import Builder
from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.products import multiplied
from moiety.compiler.onnx_import.univariate import as_activation


def fit(call: Call, index: int) -> Array:
    """Constant operand `index` with the rank of the tensor operand; it must broadcast to it,
    not the reverse.
    """
    shape = call.shape(1 - index)
    array = call.weight(index, "the constant")
    extra = array.ndim - len(shape)
    if extra > 0 and array.shape[:extra] == (1,) * extra:
        array = array.reshape(array.shape[extra:])
    array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    if array.ndim != len(shape) or any(
        have not in (1, size) for have, size in zip(array.shape, shape, strict=True)
    ):
        call.fail(
            f"constant {call.proto.input[index]!r} of shape {array.shape} would enlarge the tensor "
            f"of shape {shape}"
        )
    return array


def scaled(call: Call, value: str, factors: Array, advice: str) -> str:
    """`value` times a constant of its rank that varies along at most one axis."""
    shape = call.builder.shapes[value]
    varying = [axis for axis, size in enumerate(factors.shape) if size > 1]
    if len(varying) > 1 or varying == [0] or len(shape) < 2:
        call.fail(
            f"a constant of shape {factors.shape} varies over more than one axis of {shape}", advice
        )
    axis = varying[0] if varying else _channel_axis(call.builder, value)
    scale = np.broadcast_to(factors.reshape(-1), (shape[axis],)).astype(np.float32)
    order = (
        0,
        axis,
        *(other for other in range(1, len(shape)) if other != axis),
    )  # channels last, for example
    moved = call.emit(
        "Scale", [call.transpose(value, order)], scale=scale, shift=np.zeros_like(scale)
    )
    return call.transpose(moved, tuple(order.index(position) for position in range(len(shape))))


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


def negated(call: Call, value: str) -> str:
    return scaled(call, value, np.full((1,) * len(call.builder.shapes[value]), -1, np.float32), "")


def shifted(call: Call, value: str, constant: float) -> str:
    """`value + constant`."""
    if constant == 0:
        return value
    return call.emit(
        "AddConst",
        [value],
        value=np.full((1,) * len(call.builder.shapes[value]), constant, np.float32),
    )


def _binary(call: Call, op: str) -> str:
    left, right = call.shape(0), call.shape(1)
    if left == right:
        return call.emit(op, [call.value(0), call.value(1)])
    if len(left) != len(right) or any(
        1 not in (a, b) and a != b for a, b in zip(left, right, strict=True)
    ):
        call.fail(
            f"tensors of shapes {left} and {right}",
            "they must have one rank, and sizes that are equal or 1",
        )
    shape = np.broadcast_shapes(left, right)
    return call.emit(op, [enlarged(call, call.value(index), shape) for index in range(2)])


@importer("Add")
def _add(call: Call) -> Sequence[str]:
    """Two tensors of one rank, broadcast; or a tensor and a constant that does not enlarge it."""
    if call.is_value(0) and call.is_value(1):
        return [_binary(call, "Add")]
    constant = 1 if call.is_value(0) else 0
    return [call.emit("AddConst", [call.value(1 - constant)], value=fit(call, constant))]


@importer("Sub")
def _sub(call: Call) -> Sequence[str]:
    """As Add; also a constant minus a tensor."""
    if call.is_value(0) and call.is_value(1):
        return [_binary(call, "Sub")]
    if call.is_value(0):
        return [call.emit("AddConst", [call.value(0)], value=-fit(call, 1))]
    return [call.emit("AddConst", [negated(call, call.value(1))], value=fit(call, 0))]


_POSITION_ADVICE = "scale per channel, or fold the factor into a neighbouring layer"


@importer("Mul")
def _mul(call: Call) -> Sequence[str]:
    """Two tensors, broadcast; or a tensor and a constant that varies along one axis at most. Two
    tensors that are functions of each element of one, x * sigmoid(x) for one, are one activation.
    """
    if call.is_value(0) and call.is_value(1):
        fused = as_activation(call, "mul", call.value(0), call.value(1))
        return [fused or multiplied(call, call.value(0), call.value(1))]
    constant = 1 if call.is_value(0) else 0
    return [scaled(call, call.value(1 - constant), fit(call, constant), _POSITION_ADVICE)]


@importer("Div")
def _div(call: Call) -> Sequence[str]:
    """By a constant that varies along one axis at most; two tensors as Mul."""
    if call.is_value(0) and call.is_value(1):
        fused = as_activation(call, "div", call.value(0), call.value(1))
        if fused is not None:
            return [fused]
    if call.is_value(1):
        call.fail("divides by a secret tensor", "only division by a constant is supported")
    divisor = fit(call, 1)
    with np.errstate(divide="ignore", over="ignore"):
        factors = call.finite(1.0 / divisor.astype(np.float64), f"1 / {call.proto.input[1]}")
    return [scaled(call, call.value(), factors, _POSITION_ADVICE)]


@importer("Neg")
def _neg(call: Call) -> Sequence[str]:
    """Any shape."""
    return [negated(call, call.value())]


@importer("Sum")
def _sum(call: Call) -> Sequence[str]:
    """Tensors of one shape."""
    total = call.value(0)
    for index in range(1, len(call.operands)):
        if call.shape(index) != call.shape(0):
            call.fail(
                f"tensors of shapes {call.shape(0)} and {call.shape(index)}",
                "broadcasting is not supported",
            )
        total = call.emit("Add", [total, call.value(index)])
    return [total]
