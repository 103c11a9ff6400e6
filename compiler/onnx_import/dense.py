"""Importers of fully connected layers: Gemm and MatMul."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from moiety.compiler.onnx_import.call import Call, importer
from moiety.protocols.arrays import F32


def _linear(call: Call, weight: F32, bias: F32) -> str:
    """`x @ weight.T + bias` over the last axis: Gemm for (1, K), else a 1x1 Conv with the axes
    before as its pixels.
    """
    shape = call.shape()
    if len(shape) == 2:
        return call.emit("Gemm", [call.value()], weight=weight, bias=bias)
    moved = call.transpose(call.value(), (0, len(shape) - 1, *range(1, len(shape) - 1)))
    image = call.reshape(moved, (1, shape[-1], math.prod(shape[1:-1]), 1))
    attrs = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1}
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
    """(..., K) times a constant (K, M)."""
    if call.is_value(0) and call.is_value(1):
        call.fail(
            "multiplies two secret tensors",
            "only products with constant weights are supported (no attention)",
        )
    if not call.is_value(0):
        call.fail("the constant is on the left", "write it as x @ constant")
    weight = call.weight(1, "the weight")
    if weight.ndim != 2 or weight.shape[0] != call.shape()[-1] or len(call.shape()) < 2:
        call.fail(
            f"weight of shape {weight.shape} with an operand of shape {call.shape()}",
            "only (..., K) @ (K, M) is supported",
        )
    return [_linear(call, np.ascontiguousarray(weight.T), call.zeros(weight.shape[1]))]
