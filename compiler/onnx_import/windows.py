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

_BEYOND = {
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
    for name, size in _BEYOND.items():
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
        call.fail(f"{name}={values}", "only images and signals are supported")
    return values[0], values[1]


def image_shape(call: Call) -> tuple[int, int]:
    """Height and width of the operand."""
    shape = call.shape()
    if len(shape) != 4:
        call.fail(
            f"operand has shape {shape}",
            "only images (N, C, H, W) and signals (N, C, L) are supported",
        )
    return shape[2], shape[3]


def window_pads(
    call: Call, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[Pads, tuple[int, int]]:
    """Pads as given or as auto_pad says, and the (bottom, right) that ceil_mode adds to them."""
    sizes = image_shape(call)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    mode = call.text("auto_pad", "NOTSET")
    match mode:
        case "NOTSET" | "":
            pads = _given_pads(call)
        case "VALID":
            pads = NO_PADS
        case "SAME_UPPER" | "SAME_LOWER":
            totals = [
                max(0, (math.ceil(size / stride) - 1) * stride + extent - size)
                for size, stride, extent in zip(sizes, strides, extents, strict=True)
            ]
            pads = halved(totals, larger_last=mode == "SAME_UPPER")
        case _:
            call.fail(f"auto_pad={mode!r} is unknown")
    if not call.attrs.get("ceil_mode", 0):
        return pads, (0, 0)
    below, beside = (
        _added_by_ceil_mode(sizes[i], extents[i], strides[i], pads[i], pads[i + 2])
        for i in range(2)
    )
    return pads, (below, beside)


def _given_pads(call: Call) -> Pads:
    pads = call.ints("pads") or NO_PADS
    if len(pads) != 4 or min(pads) < 0:
        call.fail(f"pads={pads}", "four pads, none negative, are supported")
    return pads[0], pads[1], pads[2], pads[3]


def halved(totals: Sequence[int], larger_last: bool) -> Pads:
    """The total of each axis before and after it, as equal as can be."""
    (top, left), (bottom, right) = (
        [total // 2 for total in totals],
        [total - total // 2 for total in totals],
    )
    return (top, left, bottom, right) if larger_last else (bottom, right, top, left)


def _added_by_ceil_mode(size: int, extent: int, stride: int, before: int, after: int) -> int:
    padded = size + before + after
    count = math.ceil((padded - extent) / stride) + 1
    if (count - 1) * stride >= size + before:
        count -= 1  # a window that starts in the right padding is dropped
    return max(0, (count - 1) * stride + extent - padded)
