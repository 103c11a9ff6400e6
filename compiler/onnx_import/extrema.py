"""Importers of Max and Min of tensors and constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from moiety.compiler.ir.graph import Array
from moiety.compiler.onnx_import.arithmetic import (
    added,
    broadcast_constant,
    combined,
    negated,
    operands,
)
from moiety.compiler.onnx_import.call import Call, importer


@importer("Max")
def _max(call: Call) -> Sequence[str]:
    """Any number of tensors and constants, broadcast: `b + relu(a - b)`."""
    return [_extremum(call, np.maximum, _larger)]


@importer("Min")
def _min(call: Call) -> Sequence[str]:
    """As Max: `a - relu(a - b)`."""
    return [_extremum(call, np.minimum, _smaller)]


def _extremum(
    call: Call,
    of_constants: Callable[[Array, Array], Array],
    of_values: Callable[[Call, str, str | Array], str],
) -> str:
    """All tensors one after another, and then with what the constants come to."""
    values, constants = operands(call)
    result = reduce(lambda a, b: of_values(call, a, b), values)
    return of_values(call, result, reduce(of_constants, constants)) if constants else result


def _larger(call: Call, a: str, b: str | Array) -> str:
    """`b + relu(a - b)`."""
    if isinstance(b, str):
        above = call.emit("Relu", [combined(call, "Sub", a, b)])
        return combined(call, "Add", above, b)
    a, b = broadcast_constant(call, a, b)
    return added(call, call.emit("Relu", [added(call, a, -b)]), b)


def _smaller(call: Call, a: str, b: str | Array) -> str:
    """`a - relu(a - b)`; of a constant b `b - relu(b - a)`."""
    if isinstance(b, str):
        above = call.emit("Relu", [combined(call, "Sub", a, b)])
        return combined(call, "Sub", a, above)
    a, b = broadcast_constant(call, a, b)
    below = call.emit("Relu", [added(call, negated(call, a), b)])
    return added(call, negated(call, below), b)
