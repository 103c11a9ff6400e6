"""Products of two tensors, as Mul."""

from __future__ import annotations

import numpy as np

from moiety.compiler.onnx_import.axes import enlarged
from moiety.compiler.onnx_import.call import Call


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
