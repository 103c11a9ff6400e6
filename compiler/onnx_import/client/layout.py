"""Translators of what moves and chooses elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from moiety.compiler.onnx_import.client.call import ClientCall, Made, translator
from moiety.compiler.onnx_import.client.masked import repeated
from moiety.compiler.onnx_import.public import Public
from moiety.compiler.onnx_import.shaping import reshape_sizes, split_sizes
from moiety.runtime.program.expression.layout import (
    Concat,
    Expand,
    Slice,
    Take,
    TakeAlong,
    Transpose,
)


@translator("Reshape")
def _reshape(call: ClientCall) -> Sequence[Public]:
    """A constant shape."""
    return [call.reshaped(call.public(), reshape_sizes(call))]


@translator("Flatten")
def _flatten(call: ClientCall) -> Sequence[Public]:
    """From any axis on."""
    shape = call.shape()
    axis = int(call.attrs.get("axis", 1))
    axis += len(shape) if axis < 0 else 0
    return [call.reshaped(call.public(), (math.prod(shape[:axis]), math.prod(shape[axis:])))]


@translator("Squeeze")
def _squeeze(call: ClientCall) -> Sequence[Public]:
    """Any axes."""
    shape, given = call.shape(), call.ints("axes", 1)
    axes = {call.from_front(axis, len(shape)) for axis in given} if given else None
    if axes is None:
        axes = {axis for axis, size in enumerate(shape) if size == 1}
    elif any(shape[axis] != 1 for axis in axes):
        call.fail(f"axes {sorted(axes)} of {shape} are not all 1")
    return [call.reshaped(call.public(), [n for axis, n in enumerate(shape) if axis not in axes])]


@translator("Unsqueeze")
def _unsqueeze(call: ClientCall) -> Sequence[Public]:
    """Any axes."""
    given = call.ints("axes", 1)
    if given is None:
        call.fail("the axes are missing")
    rank = len(call.shape()) + len(given)
    axes, rest = {call.from_front(axis, rank) for axis in given}, iter(call.shape())
    shape = [1 if axis in axes else next(rest) for axis in range(rank)]
    return [call.reshaped(call.public(), shape)]


@translator("Transpose")
def _transpose(call: ClientCall) -> Sequence[Public]:
    """Any order."""
    x = call.public()
    perm = call.ints("perm") or tuple(reversed(range(len(x.shape))))
    return [call.emit_operation(Transpose(inputs=(x.number,), perm=perm))]


@translator("Concat")
def _concat(call: ClientCall) -> Sequence[Public]:
    """Any axis."""
    inputs = tuple(x.number for x in call.publics())
    return [call.emit_operation(Concat(inputs=inputs, axis=call.axis(1)))]


@translator("Split")
def _split(call: ClientCall) -> Sequence[Public]:
    """Any axis; equal or given sizes."""
    axis, sizes = split_sizes(call)
    ends = np.cumsum(sizes).tolist()
    return [
        _slice_of(call, call.public(), axis, range(end - size, end))
        for size, end in zip(sizes, ends, strict=True)
    ]


@translator("Slice")
def _slice(call: ClientCall) -> Sequence[Public]:
    """Constant bounds; any axes and steps."""
    x = call.public()
    starts, stops = call.ints("starts", 1), call.ints("ends", 2)
    if starts is None or stops is None:
        call.fail("starts or ends are missing")
    axes = call.ints("axes", 3) or tuple(range(len(starts)))
    steps = call.ints("steps", 4) or (1,) * len(starts)
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        axis = call.from_front(axis, len(x.shape))
        if axis == 0 and call.builder.batch > 1:
            if len(range(call.builder.batch)[start:stop:step]) != call.builder.batch:
                call.fail("cuts the batch axis", "keep all images")
            continue
        x = _slice_of(call, x, axis, range(x.shape[axis])[start:stop:step])
    return [x]


def _slice_of(call: ClientCall, x: Public, axis: int, places: range) -> Public:
    if not places:
        call.fail(f"takes nothing of axis {axis} of {x.shape}")
    if places == range(x.shape[axis]):
        return x
    step = places.step if len(places) > 1 else 1
    return call.emit_operation(
        Slice(inputs=(x.number,), axis=axis, start=places[0], count=len(places), step=step)
    )


@translator("Gather")
def _gather(call: ClientCall) -> Sequence[Public]:
    """Any axis; places that are computed, too."""
    x, places = call.publics()
    return [call.emit_operation(Take(inputs=(x.number, places.number), axis=call.axis(0)))]


@translator("GatherElements", begins=True)
def _gather_elements(call: ClientCall) -> Sequence[Public]:
    """Any axis; the other axes alike."""
    x, places = call.publics()
    return [call.emit_operation(TakeAlong(inputs=(x.number, places.number), axis=call.axis(0)))]


@translator("Expand")
def _expand(call: ClientCall) -> Sequence[Made]:
    """A constant shape, or as many as are true of a mask."""
    if isinstance(call.operands[1], Public):
        return [repeated(call, call.operands[1])]
    x, wanted = call.public(), call.ints("shape", 1)
    if wanted is None:
        call.fail("the new shape is missing")
    if np.broadcast_shapes(x.shape, wanted) == x.shape:
        return [x]
    return [call.emit_operation(Expand(inputs=(x.number,), shape=wanted))]


@translator("Tile")
def _tile(call: ClientCall) -> Sequence[Public]:
    """Constant repeats."""
    x, repeats = call.public(), call.ints("repeats", 1)
    if repeats is None or len(repeats) != len(x.shape) or min(repeats, default=1) < 1:
        call.fail(f"repeats {repeats} of {x.shape}", "one positive number for each axis")
    for axis, count in enumerate(repeats):
        if count > 1:
            inputs = tuple(call.times(x.number, count))
            x = call.emit_operation(Concat(inputs=inputs, axis=axis))
    return [x]
