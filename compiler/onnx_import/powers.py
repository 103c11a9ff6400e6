"""Importers of roots, reciprocals and powers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.formulas import NAMED
from moiety.compiler.ir.graph import Node
from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.products import multiplied

MAX_POWER = 4
_ALONG = {"AddConst", "Clip", "LinearMap", "Relu", "Reshape", "Scale", "Slice", "Transpose"}
_FITTED = {0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}


def powered(call: Call, value: str, exponent: float) -> str:
    """`value^exponent`, of positive values; a power of a power is one. Where there are several
    values in a channel, one for each pixel say, they are pixels of one channel here: they have one
    scale. A constant is added by a layer, for what a power is taken of needs a scale of its own.
    """
    shape = call.builder.shapes[value]
    node = call.builder.producer(value)
    below = _producer_before_reshape(call, node)
    if below is not None and below.op == "Power":
        exponent, value = exponent * below.attrs["exponent"], below.inputs[0]
        return call.reshape(_power(call, value, exponent), shape)
    constant = 0.0
    if node is not None and node.op == "AddConst" and node.consts["value"].size == 1:
        value, constant = node.inputs[0], float(node.consts["value"].reshape(()))
    if math.prod(shape[2:]) > 1:
        value = call.reshape(value, (1, 1, math.prod(shape), 1))
    return call.reshape(_power(call, _biased(call, value, constant), exponent), shape)


def _producer_before_reshape(call: Call, node: Node | None) -> Node | None:
    if node is not None and node.op == "Reshape":
        return call.builder.producer(node.inputs[0])
    return node


def _power(call: Call, value: str, exponent: float) -> str:
    return value if exponent == 1 else call.emit("Power", [value], exponent=float(exponent))


def _biased(call: Call, value: str, constant: float) -> str:
    channels = call.builder.shapes[value][1]
    scale, shift = np.ones(channels, np.float32), np.full(channels, constant, np.float32)
    return call.emit("Scale", [value], scale=scale, shift=shift) if constant else value


def divided(call: Call, value: str, divisor: str) -> str:
    """`value / divisor`, the divisor positive."""
    return multiplied(call, value, powered(call, divisor, -1.0))


def is_size(call: Call, value: str) -> bool:
    """Is `value` made of means of squares alone, or of powers of such? It is positive then, there
    are few of it, and its error counts in proportion.
    """
    node = call.builder.producer(value)
    while node is not None and node.op in _ALONG:
        node = call.builder.producer(node.inputs[0])
    return node is not None and node.op in ("MeanProduct", "Power")


def fitted_power(call: Call, exponent: float) -> str | None:
    """A power of the operand, as the kind of values asks for; None where it has none."""
    value = call.value()
    if is_size(call, value):
        return powered(call, value, exponent)
    if exponent not in _FITTED:
        return None
    return call.emit("Activation", [value], formula=NAMED[_FITTED[exponent]])


@importer("Sqrt", "Reciprocal")
def _root(call: Call) -> Sequence[str]:
    """Any shape; fitted by straight pieces over the calibrated range, in which it must be
    finite.
    """
    made = fitted_power(call, 0.5 if call.proto.op_type == "Sqrt" else -1.0)
    assert made is not None
    return [made]


def power_of(call: Call) -> int | None:
    """The exponent of a Pow that products compute; None where it is another, or a tensor."""
    if not call.is_constant(1):
        return None
    exponents = np.unique(call.weight(1, "the exponent"))
    whole = [power for power in range(1, MAX_POWER + 1) if np.array_equal(exponents, [power])]
    return whole[0] if whole else None


@importer("Pow")
def _pow(call: Call) -> Sequence[str]:
    """A constant exponent: a whole one from 1 to 4, as products; 0.5, -0.5 and -1 fitted by
    straight pieces, and any other of a mean of squares.
    """
    power = power_of(call)
    if power is None:
        return [_fractional(call)]
    value = call.value()
    square = value if power == 1 else multiplied(call, value, value)
    if power <= 2:
        return [square]
    return [multiplied(call, square, value if power == 3 else square)]


def _fractional(call: Call) -> str:
    exponents = np.unique(call.weight(1, "the exponent"))
    alike = len(exponents) == 1 and exponents[0] != 0
    made = fitted_power(call, float(exponents[0])) if alike else None
    if made is None:
        call.fail(
            f"exponents from {exponents.min():g} to {exponents.max():g}",
            f"one for all elements, a whole number from 1 to {MAX_POWER}, is supported",
        )
    return made
