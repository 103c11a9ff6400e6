"""Importers that choose or copy slices along an axis: Gather, Tile, Expand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.graph import Array
from moiety.compiler.onnx_import.axes import copied, enlarged, taken
from moiety.compiler.onnx_import.call import Call, importer


@importer("Gather")
def _gather(call: Call) -> Sequence[str]:
    """Constant indices, any axis but the batch."""
    shape, indices = call.shape(), call.constant(1)
    axis = int(call.attrs.get("axis", 0)) % len(shape)
    if call.proto.input[0] in call.builder.vectors:
        return [_of_vector(call, indices)]
    if indices is None or indices.size == 0:
        call.fail("the indices must be a constant that is not empty")
    if axis == 0:
        call.fail_on_batch("takes images out of the batch", "gather along another axis")
    chosen = np.asarray(indices, np.int64).reshape(-1)
    if chosen.min() < -shape[axis] or chosen.max() >= shape[axis]:
        call.fail(f"indices {chosen.min()} to {chosen.max()} are outside axis {axis} of {shape}")
    value = taken(call, call.value(), axis, chosen % shape[axis])
    return [call.reshape(value, [*shape[:axis], *indices.shape, *shape[axis + 1 :]])]


def _of_vector(call: Call, indices: Array | None) -> str:
    """Elements of a vector without a batch axis, which the indices give it again."""
    (_, size) = call.shape()
    if indices is None or indices.ndim < 2 or indices.shape[0] != 1:
        call.fail("takes elements of a vector without a batch axis", "keep the batch first")
    chosen = np.asarray(indices, np.int64).reshape(-1)
    if chosen.min() < -size or chosen.max() >= size:
        call.fail(f"indices {chosen.min()} to {chosen.max()} are outside a vector of {size}")
    return call.reshape(taken(call, call.value(), 1, chosen % size), indices.shape)


@importer("Tile")
def _tile(call: Call) -> Sequence[str]:
    """Any axis but the batch."""
    value, repeats = call.value(), call.ints("repeats", 1)
    if repeats is None or len(repeats) != len(call.shape()) or min(repeats) < 1 or repeats[0] != 1:
        call.fail(f"repeats {repeats} of {call.shape()}", "every axis but the batch can be copied")
    for axis, count in enumerate(repeats):
        value = copied(call, value, axis, count)
    return [value]


@importer("Expand")
def _expand(call: Call) -> Sequence[str]:
    """To any constant shape of the same rank; the batch stays."""
    shape, wanted = call.shape(), call.ints("shape", 1)
    if wanted is None:
        call.fail("the new shape is missing")
    if len(wanted) > len(shape):
        call.fail(
            f"puts {len(wanted) - len(shape)} axes before the batch of {shape}",
            "keep the batch first",
        )
    target = np.broadcast_shapes(shape, wanted)
    return [enlarged(call, call.value(), target)]
