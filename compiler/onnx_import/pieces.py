"""Reindexings that several importers share: cuts, copies, and any
choice of slices along an axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from moiety.compiler.onnx_import.builder import Call

Indices = npt.NDArray[np.int64]
MAX_PIECES = 256
"""Most slices of which a Gather, Slice, Pad or Resize is put together."""


def cut(call: Call, value: str, axis: int, start: int, stop: int, step: int = 1) -> str:
    """`[start:stop:step]` of one axis."""
    shape = call.builder.shapes[value]
    if (start, step) == (0, 1) and stop == shape[axis]:
        return value
    starts, stops, steps = [0] * len(shape), list(shape), [1] * len(shape)
    starts[axis], stops[axis], steps[axis] = start, stop, step
    return call.emit("Slice", [value], starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))


def copied(call: Call, value: str, axis: int, count: int) -> str:
    """The whole tensor `count` times, one after another along `axis`."""
    return value if count == 1 else call.emit("Concat", [value] * count, axis=axis)


def repeated(call: Call, value: str, axis: int, factor: int) -> str:
    """Every slice along `axis` `factor` times in a row."""
    shape = call.builder.shapes[value]
    if factor == 1:
        return value
    if len(shape) == 4 and axis in (2, 3):
        return call.emit("Upsample", [value], factors=(factor, 1) if axis == 2 else (1, factor))
    split = call.reshape(value, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    merged = (*shape[:axis], shape[axis] * factor, *shape[axis + 1 :])
    return call.reshape(copied(call, split, axis + 1, factor), merged)


def taken(call: Call, value: str, axis: int, indices: Indices) -> str:
    """The slices `indices` along `axis`, in that order: equal runs are copies,
    evenly spaced ones one Slice.
    """
    size = call.builder.shapes[value][axis]
    factor = len(indices) // size
    if len(indices) == factor * size and np.array_equal(
        indices, np.arange(len(indices)) // max(1, factor)
    ):
        return repeated(call, value, axis, factor)
    pieces = []
    position = 0
    while position < len(indices):
        rest = indices[position:]
        step = int(rest[1] - rest[0]) if len(rest) > 1 else 1
        even = rest[0] + step * np.arange(len(rest))
        count = int(np.argmin(rest == even)) if not np.array_equal(rest, even) else len(rest)
        if step <= 0:
            equal = np.flatnonzero(rest != rest[0])
            count = int(equal[0]) if step == 0 and len(equal) else len(rest) if step == 0 else 1
        first = int(rest[0])
        if step > 0:
            pieces.append(cut(call, value, axis, first, first + (count - 1) * step + 1, step))
        else:
            pieces.extend([cut(call, value, axis, first, first + 1)] * count)
        position += count
    if len(pieces) > MAX_PIECES:
        call.fail(
            f"needs {len(pieces)} pieces of axis {axis}", f"at most {MAX_PIECES} are supported"
        )
    return pieces[0] if len(pieces) == 1 else call.emit("Concat", pieces, axis=axis)


def enlarged(call: Call, value: str, shape: Sequence[int]) -> str:
    """`value` broadcast to `shape`, of the same rank."""
    for axis, (have, want) in enumerate(zip(call.builder.shapes[value], shape, strict=True)):
        if have == 1 and want > 1 and axis > 0:
            value = repeated(call, value, axis, want)
    if call.builder.shapes[value] != tuple(shape):
        call.fail(
            f"a tensor of shape {call.builder.shapes[value]} cannot be broadcast to {tuple(shape)}"
        )
    return value
