"""Importers of reindexing operators: concatenation, slices, shapes, padding, and those that change nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from moiety.compiler.graph import Shape
from moiety.compiler.onnx_import.builder import Call, importer

_REAL = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}


@importer("Identity")
def _identity(call: Call) -> Sequence[str]:
    return [call.value()]


@importer("Dropout")
def _dropout(call: Call) -> Sequence[str]:
    training = call.constant(2)
    if training is not None and bool(np.any(training)):
        call.fail("is in training mode", "export the model in inference mode (model.eval())")
    call.only_first_output()
    return [call.value()]


@importer("Cast")
def _cast(call: Call) -> Sequence[str]:
    if call.attrs["to"] not in _REAL:
        found = {number: label for label, number in TensorProto.DataType.items()}.get(call.attrs["to"], "unknown")
        call.fail(
            f"a secret tensor cannot become {found}",
            "keep activations in floating point",
        )
    return [call.value()]


@importer("Concat")
def _concat(call: Call) -> Sequence[str]:
    values = [call.value(index) for index in range(len(call.operands))]
    axis = int(call.attrs["axis"]) % len(call.shape())
    return [call.emit("Concat", values, axis=axis) if len(values) > 1 else values[0]]


def cut(call: Call, value: str, axis: int, start: int, stop: int, step: int = 1) -> str:
    """`[start:stop:step]` of one axis."""
    shape = call.builder.shapes[value]
    if (start, step) == (0, 1) and stop == shape[axis]:
        return value
    starts, stops, steps = [0] * len(shape), list(shape), [1] * len(shape)
    starts[axis], stops[axis], steps[axis] = start, stop, step
    return call.emit("Slice", [value], starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))


@importer("Split")
def _split(call: Call) -> Sequence[str]:
    shape = call.shape()
    axis = int(call.attrs.get("axis", 0)) % len(shape)
    count = len(call.proto.output)
    sizes = call.ints("split", 1)
    if sizes is None:
        chunk = math.ceil(shape[axis] / count)
        sizes = tuple(min(chunk, shape[axis] - index * chunk) for index in range(count))
    if sum(sizes) != shape[axis] or min(sizes) < 1 or len(sizes) != count:
        call.fail(f"sizes {sizes} of axis {axis} of {shape}", "give positive sizes that add up")
    ends = np.cumsum(sizes)
    return [cut(call, call.value(), axis, int(end) - size, int(end)) for size, end in zip(sizes, ends, strict=True)]


@importer("Slice")
def _slice(call: Call) -> Sequence[str]:
    value, shape = call.value(), call.shape()
    starts, stops = call.ints("starts", 1), call.ints("ends", 2)
    if starts is None or stops is None:
        call.fail("starts or ends are missing")
    axes = call.ints("axes", 3) or tuple(range(len(starts)))
    steps = call.ints("steps", 4) or (1,) * len(starts)
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        if step < 1:
            call.fail(f"step {step} runs backwards", "only positive steps are supported")
        taken = range(*slice(start, stop, step).indices(shape[axis % len(shape)]))
        if not taken:
            call.fail(f"[{start}:{stop}:{step}] of axis {axis} of {shape} is empty")
        value = cut(call, value, axis % len(shape), taken.start, taken[-1] + 1 if step > 1 else taken.stop, step)
    return [value]


def _reshaped(call: Call, shape: Sequence[int]) -> list[str]:
    if not shape or shape[0] != 1:
        call.fail(
            f"turns {call.shape()} into {tuple(shape)}, which does not keep the batch first", "flatten from axis 1 on"
        )
    return [call.reshape(call.value(), shape)]


@importer("Flatten")
def _flatten(call: Call) -> Sequence[str]:
    shape = call.shape()
    axis = int(call.attrs.get("axis", 1))
    axis += len(shape) if axis < 0 else 0
    return _reshaped(call, (math.prod(shape[:axis]), math.prod(shape[axis:])))


@importer("Reshape")
def _reshape(call: Call) -> Sequence[str]:
    shape, wanted = call.shape(), call.ints("shape", 1)
    if wanted is None:
        call.fail("the new shape is missing")
    sizes = list(wanted)
    if not call.attrs.get("allowzero", 0):
        sizes = [shape[axis] if size == 0 and axis < len(shape) else size for axis, size in enumerate(sizes)]
    if sizes and call.builder.batch > 1 and sizes[0] == call.builder.batch:
        sizes[0] = 1  # the file was exported for a fixed larger batch
    if sizes.count(-1) == 1:
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = math.prod(shape) // known if known else 0
    if min(sizes, default=0) < 1 or math.prod(sizes) != math.prod(shape):
        call.fail(f"{shape} cannot become {wanted}")
    return _reshaped(call, sizes)


@importer("Squeeze")
def _squeeze(call: Call) -> Sequence[str]:
    shape, given = call.shape(), call.ints("axes", 1)
    axes = {axis % len(shape) for axis in given} if given else {axis for axis, size in enumerate(shape) if size == 1}
    if 0 in axes:
        call.fail("removes the batch axis", "name the axes to squeeze, or use Flatten")
    if any(shape[axis] != 1 for axis in axes):
        call.fail(f"axes {sorted(axes)} of {shape} are not all 1")
    return _reshaped(call, [size for axis, size in enumerate(shape) if axis not in axes])


@importer("Unsqueeze")
def _unsqueeze(call: Call) -> Sequence[str]:
    given = call.ints("axes", 1)
    if given is None:
        call.fail("the axes are missing")
    rank = len(call.shape()) + len(given)
    axes, rest = {axis % rank for axis in given}, iter(call.shape())
    return _reshaped(call, [1 if axis in axes else next(rest) for axis in range(rank)])


@importer("Transpose")
def _transpose(call: Call) -> Sequence[str]:
    perm = call.ints("perm") or tuple(reversed(range(len(call.shape()))))
    if perm[0] != 0:
        call.fail(f"perm {perm} moves the batch axis", "keep the batch first")
    return [call.transpose(call.value(), perm)]


@importer("Pad")
def _pad(call: Call) -> Sequence[str]:
    shape = call.shape()
    mode = call.attrs.get("mode", b"constant").decode()
    if mode != "constant":
        call.fail(f"mode {mode!r} is not supported", "only padding with zeros is")
    fill = call.constant(2)
    filling = float(fill.reshape(-1)[0]) if fill is not None and fill.size else float(call.attrs.get("value", 0.0))
    if filling != 0:
        call.fail(f"pads with {filling:g}", "only padding with zeros is supported")
    given, chosen = call.ints("pads", 1), call.ints("axes", 3)
    axes = [axis % len(shape) for axis in chosen] if chosen else list(range(len(shape)))
    if given is None or len(given) != 2 * len(axes):
        call.fail(f"pads {given} for {len(axes)} axes of {shape}")
    pads: list[tuple[int, int]] = [(0, 0)] * len(shape)
    for position, axis in enumerate(axes):
        pads[axis] = (given[position], given[position + len(axes)])
    return [padded(call, call.value(), shape, pads)]


def padded(call: Call, value: str, shape: Shape, pads: Sequence[tuple[int, int]]) -> str:
    """Zeros around, or a crop where a pad is negative."""
    for axis, (before, after) in enumerate(pads):
        if max(0, -before) + max(0, -after) >= shape[axis]:
            call.fail(f"pads {tuple(pads)} crop {shape} to nothing")
        value = cut(call, value, axis, max(0, -before), shape[axis] + min(0, after))
    positive = tuple((max(0, before), max(0, after)) for before, after in pads)
    return call.emit("Pad", [value], pads=positive) if any(map(any, positive)) else value


@importer("DepthToSpace", "SpaceToDepth")
def _depth_and_space(call: Call) -> Sequence[str]:
    batch, channels, height, width = call.shape()
    block = int(call.attrs["blocksize"])
    if call.proto.op_type == "SpaceToDepth":
        split = call.reshape(call.value(), (batch, channels, height // block, block, width // block, block))
        moved = call.transpose(split, (0, 3, 5, 1, 2, 4))
        return [call.reshape(moved, (batch, channels * block**2, height // block, width // block))]
    rest = channels // block**2
    if call.attrs.get("mode", b"DCR") == b"CRD":
        moved = call.transpose(
            call.reshape(call.value(), (batch, rest, block, block, height, width)), (0, 1, 4, 2, 5, 3)
        )
    else:
        moved = call.transpose(
            call.reshape(call.value(), (batch, block, block, rest, height, width)), (0, 3, 4, 1, 5, 2)
        )
    return [call.reshape(moved, (batch, rest, height * block, width * block))]
