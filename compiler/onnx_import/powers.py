"""Importers of roots, reciprocals and powers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.formulas import NAMED
from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.products import multiplied

MAX_POWER = 4


def powered(call: Call, value: str, exponent: float) -> str:
    """`value^exponent`, of positive values; a power of a power is one."""
    node = call.builder.producer(value)
    if node is not None and node.op == "Power":
        return powered(call, node.inputs[0], exponent * node.attrs["exponent"])
    if node is not None and node.op == "AddConst" and node.consts["value"].size == 1:
        value = biased(call, node.inputs[0], float(node.consts["value"].reshape(())))
    if exponent == 1:
        return value
    return call.emit("Power", [value], exponent=float(exponent))


def biased(call: Call, value: str, constant: float) -> str:
    """`value + constant`, as a layer: what a power is taken of needs a scale of its own."""
    channels = call.builder.shapes[value][1]
    scale = np.ones(channels, np.float32)
    return call.emit("Scale", [value], scale=scale, shift=np.full(channels, constant, np.float32))


@importer("Sqrt")
def _sqrt(call: Call) -> Sequence[str]:
    """Any shape; fitted by straight pieces over the calibrated range."""
    return [powered(call, call.value(), 0.5)]


@importer("Reciprocal")
def _reciprocal(call: Call) -> Sequence[str]:
    """Any shape; fitted by straight pieces over the calibrated range, in which it must be
    finite.
    """
    value = call.value()
    node = call.builder.producer(value)
    if node is not None and node.op == "Power":
        return [powered(call, value, -1.0)]
    return [call.emit("Activation", [value], formula=NAMED["reciprocal"])]


def divided(call: Call, value: str, divisor: str) -> str:
    """`value / divisor`, the divisor positive."""
    return multiplied(call, value, powered(call, divisor, -1.0))


@importer("Pow")
def _pow(call: Call) -> Sequence[str]:
    """A constant exponent: a whole one from 1 to 4, as products; any other of values that are
    positive on all calibration images.
    """
    exponents = np.unique(call.weight(1, "the exponent"))
    if len(exponents) != 1 or exponents[0] == 0:
        call.fail(
            f"exponents from {exponents.min():g} to {exponents.max():g}",
            "one for all elements, and not 0, is supported",
        )
    exponent, value = float(exponents[0]), call.value()
    if exponent not in range(1, MAX_POWER + 1):
        return [powered(call, value, exponent)]
    square = value if exponent == 1 else multiplied(call, value, value)
    if exponent <= 2:
        return [square]
    return [multiplied(call, square, value if exponent == 3 else square)]
