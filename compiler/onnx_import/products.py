"""Importer of powers, and products of two tensors, as Mul."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.formulas import NAMED
from moiety.compiler.onnx_import.axes import enlarged
from moiety.compiler.onnx_import.call import Call, importer

MAX_POWER = 4
_FITTED = {0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}


def multiplied(call: Call, left: str, right: str) -> str:
    """`left * right`, broadcast as NumPy does. The one of the result's shape is the first operand;
    where neither is, `left` is enlarged.
    """
    shapes = call.builder.shapes
    rank = max(len(shapes[left]), len(shapes[right]))
    left, right = (
        call.reshape(value, (1,) * (rank - len(shapes[value])) + shapes[value])
        for value in (left, right)
    )
    try:
        shape = np.broadcast_shapes(shapes[left], shapes[right])
    except ValueError:
        call.fail(f"tensors of shapes {shapes[left]} and {shapes[right]} do not broadcast")
    if shapes[right] == shape != shapes[left]:
        left, right = right, left
    return call.emit("Mul", [enlarged(call, left, shape), right])


def power_of(call: Call) -> int | None:
    """The exponent of a Pow that products compute; None where it is another, or a tensor."""
    if not call.is_constant(1):
        return None
    exponents = np.unique(call.weight(1, "the exponent"))
    whole = [power for power in range(1, MAX_POWER + 1) if np.array_equal(exponents, [power])]
    return whole[0] if whole else None


@importer("Pow")
def _pow(call: Call) -> Sequence[str]:
    """A whole constant exponent from 1 to 4, as products; 0.5, -0.5 and -1 fitted by straight
    pieces.
    """
    power = power_of(call)
    if power is None:
        return [_fitted_power(call)]
    value = call.value()
    square = value if power == 1 else multiplied(call, value, value)
    if power <= 2:
        return [square]
    return [multiplied(call, square, value if power == 3 else square)]


def _fitted_power(call: Call) -> str:
    exponents = np.unique(call.weight(1, "the exponent"))
    if len(exponents) != 1 or float(exponents[0]) not in _FITTED:
        call.fail(
            f"exponents from {exponents.min():g} to {exponents.max():g}",
            f"one for all elements, a whole number from 1 to {MAX_POWER}, is supported",
        )
    formula = NAMED[_FITTED[float(exponents[0])]]
    return call.emit("Activation", [call.value()], formula=formula)
