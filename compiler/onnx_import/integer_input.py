"""Inputs of integers, such as the levels of a picture: read as the real numbers that they are.

Allowed where the model itself casts them to real numbers first, and only moves them before that: an
operator that computes on integers would round or wrap.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from moiety.protocols.errors import BadModel

INTEGERS = {
    TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.UINT16,
    TensorProto.INT16,
    TensorProto.INT32,
}

_MOVING = {
    "Identity",
    "Transpose",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Slice",
    "Split",
    "Gather",
}


def make_real(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> None:
    """Make the input `value` one of float32; BadModel where something computes on its integers."""
    moved = {value.name}
    before = 0
    while len(moved) > before:  # nodes need not be in order yet
        before = len(moved)
        for node in model.graph.node:
            if node.op_type in _MOVING and not moved.isdisjoint(node.input):
                moved |= set(node.output)
    for node in model.graph.node:
        if node.op_type not in (*_MOVING, "Cast", "Shape", "Size") and not moved.isdisjoint(
            node.input
        ):
            raise BadModel(
                f"{node.op_type} {node.name or node.output[0]!r} computes on the integers of input "
                f"{value.name!r}: cast them to float first, or export the model with float32 input"
            )
    if any(output.name in moved for output in model.graph.output):
        raise BadModel(f"an output is made of the integers of input {value.name!r}, uncomputed")
    value.type.tensor_type.elem_type = TensorProto.FLOAT
