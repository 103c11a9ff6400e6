"""Importers of fully connected layers: Gemm and MatMul."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from moiety.compiler.onnx_import.axes import enlarged
from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.room import WEIGHT
from moiety.compiler.onnx_import.windows import NO_PADS
from moiety.protocols.arrays import F32


def _linear(call: Call, value: str, weight: F32, bias: F32) -> str:
    """`x @ weight.T + bias` over the last axis: Gemm for (1, K), else a 1x1 Conv with the axes
    before as its pixels.
    """
    shape = call.builder.shapes[value]
    if len(shape) == 2:
        return call.emit("Gemm", [value], weight=weight, bias=bias)
    moved = call.transpose(value, (0, len(shape) - 1, *range(1, len(shape) - 1)))
    image = call.reshape(moved, (1, shape[-1], math.prod(shape[1:-1]), 1))
    attrs = {"strides": (1, 1), "pads": NO_PADS, "dilations": (1, 1), "groups": 1}
    result = call.emit("Conv", [image], weight=weight[:, :, None, None], bias=bias, **attrs)
    result = call.reshape(result, (1, weight.shape[0], *shape[1:-1]))
    return call.transpose(result, (0, *range(2, len(shape)), 1))


@importer("Gemm")
def _gemm(call: Call) -> Sequence[str]:
    """Constant matrix and bias; transB, alpha, beta."""
    if call.flag("transA"):
        call.fail(
            "transA=1 is not supported", "transpose in the model, or export the layer as Linear"
        )
    weight = call.weight(1, "the weight") * np.float32(call.attrs.get("alpha", 1.0))
    weight = weight if call.flag("transB") else weight.T
    if weight.ndim != 2:
        call.fail(f"weight of shape {weight.shape} is no matrix")
    bias = call.zeros(weight.shape[0])
    if call.constant(2) is not None:
        given = call.weight(2, "the bias")
        if given.size not in (1, bias.size):
            call.fail(f"bias of shape {given.shape} does not fit {bias.size} outputs")
        bias = bias + given.reshape(-1) * np.float32(call.attrs.get("beta", 1.0))
    return [call.emit("Gemm", [call.value()], weight=np.ascontiguousarray(weight), bias=bias)]


@importer("MatMul")
def _matmul(call: Call) -> Sequence[str]:
    """A tensor and a constant, either on the left; matrices of any batch axes of their own."""
    if call.is_value(0) and call.is_value(1):
        call.fail(
            "multiplies two secret tensors",
            "only products with constant weights are supported (no attention)",
        )
    left = call.is_value(0)
    value, weight = call.value(0 if left else 1), call.weight(1 if left else 0, "the weight")
    if weight.ndim == 1:
        shape = call.builder.shapes[value]
        result = _multiplied(call, value, weight[:, None] if left else weight[None], left)
        axis = len(shape) - (1 if left else 2)
        sizes = call.builder.shapes[result]
        return [call.reshape(result, (*sizes[:axis], *sizes[axis + 1 :]))]
    return [_multiplied(call, value, weight, left)]


def _multiplied(call: Call, value: str, weight: F32, left: bool) -> str:
    """`value @ weight`, or with the value on the right by `(weight^T value^T)^T`."""
    shape = call.builder.shapes[value]
    if not left:
        if len(shape) < 3:
            call.fail(
                f"weight of shape {weight.shape} times an operand of shape {shape}, whose rows are "
                "the batch",
                "write it as x @ constant",
            )
        perm = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
        turned = _multiplied(call, call.transpose(value, perm), weight.swapaxes(-1, -2), True)
        return call.transpose(turned, perm)
    lead = weight.shape[:-2]
    matrices = weight.reshape((*[1] * (len(shape) - weight.ndim), *weight.shape))
    fits = matrices.ndim <= max(2, len(shape)) and (len(shape) == 2 or len(matrices) == 1)
    if not fits or weight.shape[-2] != shape[-1] or len(shape) < 2:
        call.fail(
            f"weight of shape {weight.shape} with an operand of shape {shape}",
            "the last axis of the operand must be the weight's last but one, and the batch its own",
        )
    if math.prod(lead) == 1:
        matrix = weight.reshape(weight.shape[-2], weight.shape[-1])
        return _linear(call, value, np.ascontiguousarray(matrix.T), call.zeros(matrix.shape[1]))
    return _each_by_its_own(call, value, matrices)


def _each_by_its_own(call: Call, value: str, weight: F32) -> str:
    """Matrices `(1, ..., M, K) @ (1, ..., K, N)`: a 1x1 Conv with a group for each, whose rows are
    its pixels.
    """
    shape = call.builder.shapes[value]
    lead = np.broadcast_shapes(shape[:-2], weight.shape[:-2])
    value = enlarged(call, value, (*lead, *shape[-2:]))
    rows, depth, filters = shape[-2], shape[-1], weight.shape[-1]
    count, last = math.prod(lead), len(shape) - 1
    moved = call.transpose(value, (*range(last - 1), last, last - 1))
    image = call.reshape(moved, (1, count * depth, rows, 1))
    call.make_room(count, depth, filters, each=WEIGHT)
    matrices = np.broadcast_to(weight, (*lead, depth, filters)).swapaxes(-1, -2)
    kernel = np.ascontiguousarray(matrices.reshape(count * filters, depth, 1, 1))
    attrs = {"strides": (1, 1), "pads": NO_PADS, "dilations": (1, 1), "groups": count}
    bias = call.zeros(count * filters)
    result = call.emit("Conv", [image], weight=kernel, bias=bias, **attrs)
    result = call.reshape(result, (*lead, filters, rows))
    return call.transpose(result, (*range(last - 1), last, last - 1))
