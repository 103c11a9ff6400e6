"""Importer of Where: elements of two tensors or constants, chosen by a constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.graph import Array
from moiety.compiler.onnx_import.arithmetic import added, broadcast_constant, combined, scaled
from moiety.compiler.onnx_import.call import Call, importer


@importer("Where")
def _where(call: Call) -> Sequence[str]:
    """A constant condition, tensors or constants to choose from, broadcast: `c*x + (1 - c)*y`."""
    if call.is_value(0):
        call.fail("its condition is computed from the input", "nobody may see what it chooses")
    condition = call.constant(0)
    if condition is None:
        call.fail("the condition is missing")
    chosen = np.asarray(condition, np.float32)
    masks = {1: chosen, 2: 1 - chosen}
    computed = [index for index in masks if call.is_value(index)]
    values = [_masked(call, call.value(index), masks[index]) for index in computed]
    if len(values) == 2:
        return [combined(call, "Add", *values)]
    (other,) = masks.keys() - computed
    rest = call.weight(other, "the constant") * masks[other]
    return [added(call, *broadcast_constant(call, values[0], rest))]


def _masked(call: Call, value: str, mask: Array) -> str:
    """`value` where the mask is 1, else 0."""
    return scaled(call, *broadcast_constant(call, value, mask))
