"""Importers of reindexing operators: concatenation, slices, shapes, padding, and those that
change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from moiety.compiler.ir.graph import Shape
from moiety.compiler.onnx_import.axes import cut, taken
from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.fix_input import REAL, type_name

LARGEST_PAD = 1 << 16
"""Elements on one side of an axis."""


@importer("Identity")
def _identity(call: Call) -> Sequence[str]:
    """Any."""
    return [call.value()]


@importer("Dropout")
def _dropout(call: Call) -> Sequence[str]:
    """Inference mode, one output."""
    call.not_in_training()
    call.only_first_output()
    return [call.value()]


@importer("Cast")
def _cast(call: Call) -> Sequence[str]:
    """To a floating type."""
    if call.attrs["to"] not in REAL:
        call.fail(
            f"a secret tensor cannot become {type_name(call.attrs['to'])}",
            "keep activations in floating point",
        )
    return [call.value()]


@importer("Concat")
def _concat(call: Call) -> Sequence[str]:
    """Any axis but the batch."""
    values = [call.value(index) for index in range(len(call.operands))]
    axis = int(call.attrs["axis"]) % len(call.shape())
    if axis == 0:
        call.fail_on_batch("joins images of the batch", "join along another axis")
    return [call.emit("Concat", values, axis=axis) if len(values) > 1 else values[0]]


@importer("Split")
def _split(call: Call) -> Sequence[str]:
    """Any axis but the batch; equal or given sizes."""
    axis, sizes = split_sizes(call)
    ends = np.cumsum(sizes)
    return [
        cut(call, call.value(), axis, int(end) - size, int(end))
        for size, end in zip(sizes, ends, strict=True)
    ]


def split_sizes(call: Call) -> tuple[int, tuple[int, ...]]:
    """The axis of a Split, and the size of each part."""
    shape = call.shape()
    axis = int(call.attrs.get("axis", 0)) % len(shape)
    count = len(call.proto.output)
    sizes = call.ints("split", 1)
    if sizes is None:
        chunk = math.ceil(shape[axis] / count)
        sizes = tuple(min(chunk, shape[axis] - index * chunk) for index in range(count))
    if sum(sizes) != shape[axis] or min(sizes) < 1 or len(sizes) != count:
        call.fail(f"sizes {sizes} of axis {axis} of {shape}", "give positive sizes that add up")
    return axis, sizes


@importer("Slice")
def _slice(call: Call) -> Sequence[str]:
    """Constant bounds; any steps, any axis but the batch."""
    value, shape = call.value(), call.shape()
    starts, stops = call.ints("starts", 1), call.ints("ends", 2)
    if starts is None or stops is None:
        call.fail("starts or ends are missing")
    axes = call.ints("axes", 3) or tuple(range(len(starts)))
    steps = call.ints("steps", 4) or (1,) * len(starts)
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        axis %= len(shape)
        if axis == 0 and call.builder.batch > 1:
            if len(range(call.builder.batch)[start:stop:step]) != call.builder.batch:
                call.fail("cuts the batch axis", "keep all images")
            continue
        chosen = np.arange(*slice(start, stop, step).indices(shape[axis]))
        if not chosen.size:
            call.fail(f"[{start}:{stop}:{step}] of axis {axis} of {shape} is empty")
        value = taken(call, value, axis, chosen)
    return [value]


def _reshaped(call: Call, shape: Sequence[int]) -> list[str]:
    if not shape or shape[0] != 1:
        call.fail_on_batch(
            f"turns {call.shape()} into {tuple(shape)}, which does not keep the batch first",
            "flatten from axis 1 on",
        )
    return [call.reshape(call.value(), shape)]


@importer("Flatten")
def _flatten(call: Call) -> Sequence[str]:
    """From axis 1 on."""
    shape = call.shape()
    axis = int(call.attrs.get("axis", 1))
    axis += len(shape) if axis < 0 else 0
    if axis == 0 and call.builder.batch > 1:
        call.fail(f"joins the {call.builder.batch} images of the batch", "flatten from axis 1 on")
    return _reshaped(call, (math.prod(shape[:axis]), math.prod(shape[axis:])))


@importer("Reshape")
def _reshape(call: Call) -> Sequence[str]:
    """Constant shape that keeps the batch first."""
    sizes = reshape_sizes(call)
    if len(sizes) == 1 and _only_gathered(call):
        return [call.reshape(call.value(), (1, *sizes))]
    return _reshaped(call, sizes)


def reshape_sizes(call: Call) -> list[int]:
    """The shape that a Reshape asks for, for a batch of one."""
    shape, wanted = call.shape(), call.ints("shape", 1)
    if wanted is None:
        call.fail("the new shape is missing")
    sizes = list(wanted)
    if not call.flag("allowzero"):
        sizes = [
            shape[axis] if size == 0 and axis < len(shape) else size
            for axis, size in enumerate(sizes)
        ]
    if sizes and call.builder.batch > 1 and sizes[0] == call.builder.batch:
        sizes[0] = 1  # the file was exported for a fixed larger batch
    if sizes.count(-1) == 1:
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = math.prod(shape) // known if known else 0
    if min(sizes, default=0) < 1 or math.prod(sizes) != math.prod(shape):
        call.fail(f"{shape} cannot become {wanted}")
    return sizes


def _only_gathered(call: Call) -> bool:
    """Is the result only read by Gathers? PyTorch's exporter writes a strided view as a Reshape to
    a vector and a Gather of its elements. The Gather knows that there is no batch axis (copying).
    """
    readers = call.builder.readers.get(call.proto.output[0], ())
    vector = bool(readers) and all(reader.op_type == "Gather" for reader in readers)
    if vector:
        call.builder.vectors.add(call.proto.output[0])
    return vector


@importer("Squeeze")
def _squeeze(call: Call) -> Sequence[str]:
    """Any axis but the batch."""
    shape, given = call.shape(), call.ints("axes", 1)
    axes = (
        {axis % len(shape) for axis in given}
        if given
        else {axis for axis, size in enumerate(shape) if size == 1}
    )
    if 0 in axes:
        call.fail_on_batch("removes the batch axis", "name the axes to squeeze, or use Flatten")
    if any(shape[axis] != 1 for axis in axes):
        call.fail(f"axes {sorted(axes)} of {shape} are not all 1")
    return _reshaped(call, [size for axis, size in enumerate(shape) if axis not in axes])


@importer("Unsqueeze")
def _unsqueeze(call: Call) -> Sequence[str]:
    """Any axis but the batch."""
    given = call.ints("axes", 1)
    if given is None:
        call.fail("the axes are missing")
    rank = len(call.shape()) + len(given)
    axes, rest = {axis % rank for axis in given}, iter(call.shape())
    if len(axes) != len(given):
        call.fail(f"axes {given} are not all different", "export the model again")
    if 0 in axes and call.builder.batch > 1:
        call.fail("puts an axis before the batch", "keep the batch first")
    return _reshaped(call, [1 if axis in axes else next(rest) for axis in range(rank)])


@importer("Transpose")
def _transpose(call: Call) -> Sequence[str]:
    """The batch stays first."""
    perm = call.ints("perm") or tuple(reversed(range(len(call.shape()))))
    if perm[0] != 0:
        call.fail_on_batch(f"perm {perm} moves the batch axis", "keep the batch first")
    return [call.transpose(call.value(), perm)]


@importer("Pad")
def _pad(call: Call) -> Sequence[str]:
    """Constant, reflect, edge and wrap; negative pads crop; any axis but the batch."""
    pads = _pads(call)
    mode: Any = call.text("mode", "constant")  # which NumPy has by the same names
    if mode == "constant":
        return [_padded_with(call, pads)]
    if mode not in ("reflect", "edge", "wrap"):
        call.fail(f"mode {mode!r} is not supported", "constant, reflect, edge and wrap are")
    value = call.value()
    for axis, (size, (before, after)) in enumerate(zip(call.shape(), pads, strict=True)):
        inside = np.arange(max(0, -before), size + min(0, after))
        indices = np.pad(inside, (max(0, before), max(0, after)), mode=mode)
        value = taken(call, value, axis, indices)
    return [value]


def _pads(call: Call) -> list[tuple[int, int]]:
    """(before, after) of every axis."""
    shape = call.shape()
    given, chosen = call.ints("pads", 1), call.ints("axes", 3)
    axes = [axis % len(shape) for axis in chosen] if chosen else list(range(len(shape)))
    if given is None or len(given) != 2 * len(axes):
        call.fail(f"pads {given} for {len(axes)} axes of {shape}")
    if max(map(abs, given)) > LARGEST_PAD:
        call.fail(f"pads {given} are too large", f"at most {LARGEST_PAD} are supported")
    pads = [(0, 0)] * len(shape)
    for axis, before, after in zip(axes, given[: len(axes)], given[len(axes) :], strict=True):
        pads[axis] = (before, after)
    return pads


def _padded_with(call: Call, pads: Sequence[tuple[int, int]]) -> str:
    """A number around: zeros, and then a constant frame where it is not zero."""
    fill = call.constant(2)
    if fill is not None and fill.size:
        filling = float(fill.reshape(-1)[0])
    else:
        filling = float(call.attrs.get("value", 0.0))
    around = padded(call, call.value(), call.shape(), pads)
    if filling == 0 or around == call.value():
        return around
    positive = [(max(0, before), max(0, after)) for before, after in pads]
    sizes = zip(call.builder.shapes[around], positive, strict=True)
    inner = np.zeros([size - sum(pair) for size, pair in sizes])
    frame = np.pad(inner, positive, constant_values=filling).astype(np.float32)
    return call.emit("AddConst", [around], value=call.finite(frame, "the padding"))


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
    """Blocksize; mode DCR and CRD."""
    batch, channels, height, width = call.shape()
    block = int(call.attrs["blocksize"])
    if block < 1:
        call.fail(f"blocksize={block} must be positive", "export the model again")
    if call.proto.op_type == "SpaceToDepth":
        split = call.reshape(
            call.value(), (batch, channels, height // block, block, width // block, block)
        )
        moved = call.transpose(split, (0, 3, 5, 1, 2, 4))
        return [call.reshape(moved, (batch, channels * block**2, height // block, width // block))]
    rest = channels // block**2
    if call.text("mode", "DCR") == "CRD":
        moved = call.transpose(
            call.reshape(call.value(), (batch, rest, block, block, height, width)),
            (0, 1, 4, 2, 5, 3),
        )
    else:
        moved = call.transpose(
            call.reshape(call.value(), (batch, block, block, rest, height, width)),
            (0, 3, 4, 1, 5, 2),
        )
    return [call.reshape(moved, (batch, rest, height * block, width * block))]
