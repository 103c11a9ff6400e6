"""Attributes of convolutions and pools: kernels, strides and the many ways to say padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import wraps

import numpy as np
import onnx

from moiety.compiler.onnx_import.call import Call, Importer, Operand

Pads = tuple[int, int, int, int]
"""(top, left, bottom, right)."""

NO_PADS: Pads = (0, 0, 0, 0)

LARGEST_SIZE = 1 << 16
"""Of a kernel, stride, dilation or pad."""

BEYOND = {
    "kernel_shape": 1,
    "strides": 1,
    "dilations": 1,
    "output_padding": 0,
    "output_shape": 1,
}
"""What the attributes of a layer of signals are along the added axis."""


def planar(function: Importer) -> Importer:
    """A layer of 1-D signals (N, C, L) is one of images (N, C, L, 1)."""

    @wraps(function)
    def with_signals(call: Call) -> Sequence[str]:
        if not call.is_value(0) or len(call.shape()) != 3:
            return function(call)
        (result, *_) = function(_as_image(call))
        return [call.reshape(result, call.builder.shapes[result][:3])]

    return with_signals


def _as_image(call: Call) -> Call:
    attrs = dict(call.attrs)
    for name, size in BEYOND.items():
        if name in attrs:
            attrs[name] = [*attrs[name], size]
    if "pads" in attrs:
        before, after = attrs["pads"]
        attrs["pads"] = [before, 0, after, 0]
    proto = onnx.NodeProto.FromString(call.proto.SerializeToString())
    image = call.reshape(call.value(), (*call.shape(), 1))
    operands: list[Operand] = [image, *call.operands[1:]]
    if len(operands) > 1 and isinstance(operands[1], np.ndarray):
        operands[1] = operands[1][..., None]
        proto.input[1] += "::image"  # arrays are remembered by name
    return replace(call, proto=proto, attrs=attrs, operands=tuple(operands))


def two(call: Call, name: str, default: int = 1) -> tuple[int, int]:
    """Attribute `name` for height and width."""
    values = call.ints(name) or (default, default)
    if len(values) != 2:
        call.fail(f"{name}={values}", "of an image, two numbers are wanted")
    if not 1 <= min(values) <= max(values) <= LARGEST_SIZE:
        call.fail(f"{name}={values} must lie within 1 and {LARGEST_SIZE}", "export the model again")
    return values[0], values[1]


def image_shape(call: Call) -> tuple[int, int]:
    """Height and width of the operand."""
    shape = call.shape()
    if len(shape) != 4:
        call.fail(
            f"operand has shape {shape}",
            "only images (N, C, H, W), volumes (N, C, D, H, W) and signals (N, C, L) are supported",
        )
    return shape[2], shape[3]


def window_pads(
    call: Call, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[Pads, tuple[int, int]]:
    """Pads as given or as auto_pad says, without what ceil_mode leaves unused, and the (bottom,
    right) that it adds to them.
    """
    sizes = image_shape(call)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    mode = call.text("auto_pad", "NOTSET")
    match mode:
        case "NOTSET" | "":
            pads = _given_pads(call)
        case "VALID":
            pads = NO_PADS
        case "SAME_UPPER" | "SAME_LOWER":
            pads = _same_pads(call, sizes, strides, extents)
        case _:
            call.fail(f"auto_pad={mode!r} is unknown")
    if not call.flag("ceil_mode"):
        return pads, (0, 0)
    ends = [
        _end_in_ceil_mode(sizes[i], extents[i], strides[i], pads[i], pads[i + 2]) for i in range(2)
    ]
    kept = (pads[0], pads[1], min(pads[2], ends[0]), min(pads[3], ends[1]))
    return kept, (ends[0] - kept[2], ends[1] - kept[3])


def _same_pads(
    call: Call, sizes: Sequence[int], strides: Sequence[int], extents: Sequence[int]
) -> Pads:
    """As auto_pad says. Strides beyond the kernel may ask for less than nothing, which runtimes
    read in two ways.
    """
    totals = [
        (math.ceil(size / stride) - 1) * stride + extent - size
        for size, stride, extent in zip(sizes, strides, extents, strict=True)
    ]
    if min(totals) < -1:
        call.fail(
            f"auto_pad with strides {tuple(strides)} beyond the kernel's extent {tuple(extents)} "
            "means different pixels in different runtimes",
            "write the pads out",
        )
    upper = call.text("auto_pad", "") == "SAME_UPPER"
    return halved([max(0, total) for total in totals], larger_last=upper)


def _given_pads(call: Call) -> Pads:
    pads = call.ints("pads") or NO_PADS
    if len(pads) != 4 or not 0 <= min(pads) <= max(pads) <= LARGEST_SIZE:
        call.fail(f"pads={pads}", f"four pads from 0 to {LARGEST_SIZE} are supported")
    return pads[0], pads[1], pads[2], pads[3]


def transposed_pads(call: Call, kernel: Sequence[int]) -> tuple[Pads, tuple[int, int]]:
    """Pads and output_padding as given, or as output_shape or auto_pad ask for."""
    sizes, strides, dilations = image_shape(call), two(call, "strides"), two(call, "dilations")
    extra, pads = call.ints("output_padding") or (0, 0), call.ints("pads") or NO_PADS
    if len(extra) != 2 or len(pads) != 4 or min(pads) < 0:
        call.fail(
            f"output_padding={list(extra)}, pads={list(pads)}",
            "two and four non-negative numbers are supported",
        )
    mode, wanted = call.text("auto_pad", "NOTSET"), call.ints("output_shape")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = (sizes[0] * strides[0], sizes[1] * strides[1])
    if wanted is None:
        given = pads if mode != "VALID" else NO_PADS
        return (given[0], given[1], given[2], given[3]), (extra[0], extra[1])
    cut = [
        strides[i] * (sizes[i] - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1 - size
        for i, size in enumerate(wanted[-2:])
    ]
    if min(cut) < 0 and call.ints("output_shape") is None:
        call.fail(
            f"auto_pad with strides {strides} beyond the kernel makes results of different sizes "
            "in different runtimes",
            "write the pads and output_padding out",
        )
    # A result larger than the windows reach ends in the bias.
    rows, columns = (extra[i] + max(0, -cut[i]) for i in range(2))
    return halved([max(0, total) for total in cut], mode == "SAME_UPPER"), (rows, columns)


def halved(totals: Sequence[int], larger_last: bool) -> Pads:
    """The total of each axis before and after it, as equal as can be."""
    (top, left), (bottom, right) = (
        [total // 2 for total in totals],
        [total - total // 2 for total in totals],
    )
    return (top, left, bottom, right) if larger_last else (bottom, right, top, left)


def _end_in_ceil_mode(size: int, extent: int, stride: int, before: int, after: int) -> int:
    """The padding behind an axis that its last window reaches into: windows that would start there
    are dropped, even those that the written padding has room for.
    """
    count = math.ceil((size + before + after - extent) / stride) + 1
    if (count - 1) * stride >= size + before:
        count -= 1
    return max(0, (count - 1) * stride + extent - size - before)
