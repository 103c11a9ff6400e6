"""What several importers do along an axis: cuts, copies, and any choice of slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.ir.axis_map import AxisMap
from moiety.compiler.onnx_import.call import Call
from moiety.protocols.arrays import I64

MAX_PIECES = 256
"""Most slices of which a Gather, Slice, Pad or Resize is put together; more are a LinearMap."""


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
    return value if count == 1 else call.emit("Concat", call.times(value, count), axis=axis)


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


def taken(call: Call, value: str, axis: int, indices: I64) -> str:
    """The slices `indices` along `axis`, in that order: equal runs are copies, evenly spaced
    ones one Slice.
    """
    size, chosen = call.builder.shapes[value][axis], indices
    factor = len(indices) // size
    if np.array_equal(indices, np.arange(factor * size) // max(1, factor)):
        return repeated(call, value, axis, factor)
    pieces: list[str] = []
    while len(indices) and len(pieces) <= MAX_PIECES:
        count, step = _even_run(indices)
        first = int(indices[0])
        if step > 0:
            pieces.append(cut(call, value, axis, first, first + (count - 1) * step + 1, step))
        else:
            pieces.extend([cut(call, value, axis, first, first + 1)] * count)
        indices = indices[count:]
    if len(pieces) > MAX_PIECES:
        call.make_room(len(chosen), size)
        return mapped(call, value, axis, AxisMap.of(chosen[:, None] == np.arange(size)))
    return pieces[0] if len(pieces) == 1 else call.emit("Concat", pieces, axis=axis)


def _even_run(indices: I64) -> tuple[int, int]:
    """How many of the first indices are evenly spaced, and their step: positive, or 0 for copies.
    Where they fall, the first alone.
    """
    if len(indices) == 1:
        return 1, 1
    step = int(indices[1] - indices[0])
    if step < 0:
        return 1, 0
    uneven = np.flatnonzero(indices != indices[0] + step * np.arange(len(indices)))
    return int(uneven[0]) if len(uneven) else len(indices), step


def mapped(call: Call, value: str, axis: int, weights: AxisMap) -> str:
    """A fixed linear map along any axis but the batch."""
    shape = call.builder.shapes[value]
    if axis > 1:
        return call.emit("LinearMap", [value], axis=axis, map=weights)
    last = len(shape)
    moved = call.transpose(call.reshape(value, (*shape, 1)), (0, *range(2, last + 1), 1))
    result = call.emit("LinearMap", [moved], axis=last, map=weights)
    back = call.transpose(result, (0, last, *range(1, last)))
    return call.reshape(back, (shape[0], weights.results, *shape[2:]))


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
