"""Importers of Conv and ConvTranspose."""

from __future__ import annotations

from collections.abc import Sequence

from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.windows import (
    NO_PADS,
    Pads,
    halved,
    image_shape,
    planar,
    two,
    window_pads,
)
from moiety.protocols.arrays import F32


def _weight(call: Call) -> F32:
    """The weight of a layer of images."""
    weight = call.weight(1, "the weight")
    image_shape(call)
    if weight.ndim != 4:
        call.fail(f"weight of shape {weight.shape}", "only 1-D and 2-D convolutions are supported")
    kernel = call.ints("kernel_shape")
    if kernel and kernel != weight.shape[2:]:
        call.fail(f"kernel_shape {kernel} contradicts the weight of shape {weight.shape}")
    return weight


@importer("Conv")
@planar
def _conv(call: Call) -> Sequence[str]:
    """1-D and 2-D, constant weight; strides, pads, auto_pad, dilations, group."""
    weight = _weight(call)
    strides, dilations = two(call, "strides"), two(call, "dilations")
    pads, _ = window_pads(call, weight.shape[2:], strides, dilations)
    convolution = call.emit(
        "Conv",
        [call.value()],
        strides=strides,
        pads=pads,
        dilations=dilations,
        groups=int(call.attrs.get("group", 1)),
        weight=weight,
        bias=call.bias(2, weight.shape[0]),
    )
    return [convolution]


@importer("ConvTranspose")
@planar
def _convtranspose(call: Call) -> Sequence[str]:
    """1-D and 2-D, constant weight; strides, pads, auto_pad, output_padding, output_shape,
    dilations, group.
    """
    weight, groups = _weight(call), int(call.attrs.get("group", 1))
    pads, extra = _transposed_pads(call, weight.shape[2:])
    convolution = call.emit(
        "ConvTranspose",
        [call.value()],
        strides=two(call, "strides"),
        pads=pads,
        dilations=two(call, "dilations"),
        output_padding=extra,
        groups=groups,
        weight=weight,
        bias=call.bias(2, weight.shape[1] * groups),
    )
    return [convolution]


def _transposed_pads(call: Call, kernel: Sequence[int]) -> tuple[Pads, tuple[int, int]]:
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
    # A result larger than the windows reach ends in the bias.
    rows, columns = (extra[i] + max(0, -cut[i]) for i in range(2))
    return halved([max(0, total) for total in cut], mode == "SAME_UPPER"), (rows, columns)
