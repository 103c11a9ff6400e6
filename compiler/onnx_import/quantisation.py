"""Importers of QuantizeLinear and DequantizeLinear around activations: models in QDQ form.

The compiler chooses the fixed-point numbers itself, so the pair becomes nothing: activations are
not rounded to the model's 8 bits. What stays is a ReLU that the quantiser left to the integers:
where their range begins at zero and nothing before makes the values non-negative, they are clipped
to it. Weights behind a pair are constants, and folded exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from moiety.compiler.onnx_import.call import Call, importer

NOTE = (
    "the model is quantised (QDQ form): its weights are taken as they are dequantised, its "
    "activations without the rounding to integers, for the compiler chooses their widths itself"
)

_ADVICE = (
    "give the float model, or its QDQ form with every QuantizeLinear before a DequantizeLinear"
)

_NON_NEGATIVE = ("Relu", "Clip", "Sigmoid", "Softmax")
_KEEPS_SIGNS = ("MaxPool", "AvgPool", "Reshape", "Transpose", "Slice", "Concat", "Upsample", "Pad")


@importer("QuantizeLinear")
def _quantize_linear(call: Call) -> Sequence[str]:
    """Of one scale, read by a DequantizeLinear alone: the activation itself, or clipped to positive
    values where the integers' range does that.
    """
    scale, zero = _parameters(call)
    for node in call.builder.readers.get(call.proto.output[0], ()):
        if node.op_type != "DequantizeLinear":
            call.fail(f"its integers are read by {node.op_type} {node.name!r}", _ADVICE)
    limits = _limits(zero)
    if limits is not None and int(zero) == limits.max:
        call.fail("cuts off all positive values", _ADVICE)
    call.builder.quantised[call.proto.output[0]] = (scale, zero)
    value = call.value()
    if limits is None or int(zero) != limits.min or _non_negative(call, value):
        return [value]
    return [call.emit("Clip", [value], min=0.0, max=float(scale) * (limits.max - limits.min))]


@importer("DequantizeLinear")
def _dequantize_linear(call: Call) -> Sequence[str]:
    """What a QuantizeLinear of the same scale and zero point gives."""
    quantised = call.builder.quantised.get(call.proto.input[0])
    if quantised is None:
        call.fail("its operand is not the result of a QuantizeLinear", _ADVICE)
    scale, zero = _parameters(call)
    if (scale, zero) != quantised:
        call.fail(
            f"its scale {scale:g} and zero point {zero} are not those of the QuantizeLinear before "
            "it",
            _ADVICE,
        )
    call.builder.approximate.add(call.proto.output[0])
    call.builder.note(NOTE)
    return [call.emit("Reshape", [call.value()], shape=call.shape())]  # a value of its own


def _parameters(call: Call) -> tuple[np.float32, np.generic]:
    """Scale and zero point, one each."""
    scale = call.weight(1, "the scale")
    zero = call.constant(2)
    if zero is None:
        zero = np.zeros((), np.uint8)
    if scale.size != 1 or zero.size != 1:
        call.fail("quantises an activation by several scales", "use one scale per tensor")
    return scale.reshape(-1)[0], zero.reshape(-1)[0]


def _limits(zero: np.generic) -> np.iinfo[Any] | None:
    """Of the integers; None of small floats."""
    return np.iinfo(zero.dtype) if isinstance(zero, np.integer) else None


def _non_negative(call: Call, value: str) -> bool:
    """Do the ops before make it so?"""
    node = call.builder.producer(value)
    if node is None:
        return False
    if node.op in _NON_NEGATIVE:
        return True
    return node.op in _KEEPS_SIGNS and all(_non_negative(call, each) for each in node.inputs)
