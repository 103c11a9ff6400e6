"""Importers of activations, as ReLUs, Clips and affine maps where they are no ops of the Graph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from moiety.compiler.onnx_import.arithmetic import fit, negated, scaled, shifted
from moiety.compiler.onnx_import.call import Call, importer


@importer("Relu")
def _relu(call: Call) -> Sequence[str]:
    """Any shape."""
    return [call.emit("Relu", [call.value()])]


@importer("Clip")
def _clip(call: Call) -> Sequence[str]:
    """Constant bounds, either or both; ReLU6 costs two ReLUs."""
    low, high = _bound(call, "min", 1, -math.inf), _bound(call, "max", 2, math.inf)
    value = call.value()
    if (low, high) == (-math.inf, math.inf):
        return [value]
    if not low < high:
        call.fail(f"bounds ({low:g}, {high:g})", "the lower must be less than the upper one")
    if low == -math.inf:  # high - relu(high - x)
        below = call.emit("Relu", [shifted(call, negated(call, value), high)])
        return [shifted(call, negated(call, below), high)]
    moved = shifted(call, value, -low)
    if high == math.inf:
        return [shifted(call, call.emit("Relu", [moved]), low)]
    return [shifted(call, call.emit("Clip", [moved], min=0.0, max=high - low), low)]


def _bound(call: Call, name: str, index: int, default: float) -> float:
    """As attribute or operand; exporters write the largest float for "no bound"."""
    array = call.constant(index)
    if array is not None and array.size:
        given = float(array.reshape(-1)[0])
    else:
        given = float(call.attrs.get(name, default))
    if math.isnan(given):
        call.fail(f"the bound {name} is NaN", "export the model again")
    beyond = given * math.copysign(1, default) >= float(np.finfo(np.float16).max)
    return default if beyond else given


@importer("LeakyRelu", "PRelu")
def _leaky(call: Call) -> Sequence[str]:
    """Constant slope, broadcast: `a*x + (1 - a)*relu(x)`."""
    value = call.value()
    if call.proto.op_type == "PRelu":
        value, slope = fit(call, 1)
    else:
        slope = np.full((1,) * len(call.shape()), call.attrs.get("alpha", 0.01), np.float32)
    positive = call.emit("Relu", [value])
    return [call.emit("Add", [scaled(call, value, slope), scaled(call, positive, 1 - slope)])]


@importer("Abs")
def _abs(call: Call) -> Sequence[str]:
    """Any shape: `2 relu(x) - x`."""
    return [absolute(call, call.value())]


def absolute(call: Call, value: str) -> str:
    """`2 relu(x) - x`."""
    positive = call.emit("Relu", [value])
    return call.emit("Sub", [call.emit("Add", [positive, positive]), value])


@importer("HardSigmoid")
def _hardsigmoid(call: Call) -> Sequence[str]:
    """Any shape: `clip(alpha*x + beta, 0, 1)`, two ReLUs."""
    alpha, beta = float(call.attrs.get("alpha", 0.2)), float(call.attrs.get("beta", 0.5))
    factor = np.full((1,) * len(call.shape()), alpha, np.float32)
    line = shifted(call, scaled(call, call.value(), factor), beta)
    return [call.emit("Clip", [line], min=0.0, max=1.0)]
