"""Importers of Conv and ConvTranspose."""

from __future__ import annotations

from collections.abc import Sequence

from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.volumes import volumetric
from moiety.compiler.onnx_import.windows import (
    image_shape,
    planar,
    transposed_pads,
    two,
    window_pads,
)
from moiety.protocols.arrays import F32


def _weight(call: Call) -> F32:
    """The weight of a layer of images."""
    weight = call.weight(1, "the weight")
    image_shape(call)
    if weight.ndim != 4:
        call.fail(
            f"weight of shape {weight.shape}",
            "a kernel of two axes is wanted for an operand (N, C, H, W)",
        )
    kernel = call.ints("kernel_shape")
    if kernel and kernel != weight.shape[2:]:
        call.fail(f"kernel_shape {kernel} contradicts the weight of shape {weight.shape}")
    return weight


@importer("Conv")
@volumetric
@planar
def _conv(call: Call) -> Sequence[str]:
    """1-D to 3-D, constant weight; strides, pads, auto_pad, dilations, group."""
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
@volumetric
@planar
def _convtranspose(call: Call) -> Sequence[str]:
    """1-D to 3-D, constant weight; strides, pads, auto_pad, output_padding, output_shape,
    dilations, group.
    """
    weight, groups = _weight(call), int(call.attrs.get("group", 1))
    pads, extra = transposed_pads(call, weight.shape[2:])
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
