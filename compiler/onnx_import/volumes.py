"""Layers and pools of volumes (N, C, D, H, W), as those of images.

The slices of a volume are channels of an image, `(1, C*D, H, W)`: a convolution along the depth is
then a matter of which channels read which, and its weights a Toeplitz matrix over the slices, zero
where a window does not reach. A layer takes as many ciphertexts and messages as one that knew of
three axes; the server multiplies by the zeros, too, D/kd times as much. A kernel of one voxel has
no such zeros: there, the slices lie below each other, `(1, C, D*H, W)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import onnx

from moiety.compiler.ir.graph import Array, Shape
from moiety.compiler.onnx_import.call import Call, Importer
from moiety.compiler.onnx_import.room import WEIGHT
from moiety.compiler.onnx_import.windows import BEYOND, transposed_pads, two, window_pads
from moiety.protocols.arrays import F32

LARGEST = 1 << 28
"""Weights of one layer, zeros included, at most."""


def volumetric(function: Importer) -> Importer:
    """A layer or pool of volumes by the importer of the same layer or pool of images."""

    @wraps(function)
    def with_volumes(call: Call) -> Sequence[str]:
        if not call.is_value(0) or len(call.shape()) != 5:
            return function(call)
        return _VOLUMES[call.proto.op_type](function, call)

    return with_volumes


# --- parts of a call ------------------------------------------------------------------------------


def _over(call: Call, axes: tuple[int, int] | tuple[int], view: Shape) -> Call:
    """The call on `view` of its operand, with the attributes of these spatial axes (0: depth); of
    one axis alone as of an image one pixel wide.
    """
    chosen: dict[str, Any] = dict(call.attrs)
    for name, beyond in BEYOND.items():
        if name in chosen:
            values = _three(call, name)
            chosen[name] = [*(values[axis] for axis in axes), beyond][:2]
    if "pads" in chosen:
        pads = _six(call)
        before, after = ([pads[axis + end] for axis in axes] for end in (0, 3))
        chosen["pads"] = [*[*before, 0][:2], *[*after, 0][:2]]
    image = call.reshape(call.value(), view)
    return replace(call, attrs=chosen, operands=(image, *call.operands[1:]))


def _three(call: Call, name: str) -> tuple[int, ...]:
    values = call.ints(name) or ()
    if len(values) != 3:
        call.fail(f"{name}={list(values)}", "a volume has three axes: give three numbers")
    return values


def _six(call: Call) -> tuple[int, ...]:
    pads = call.ints("pads") or ()
    if len(pads) != 6 or min(pads) < 0:
        call.fail(f"pads={list(pads)}", "six pads, none negative, are supported of a volume")
    return pads


def _along_depth(call: Call) -> Call:
    """The call along the depth alone, each slice a row of pixels."""
    batch, channels, depth, height, width = call.shape()
    return _over(call, (0,), (batch, channels, depth, height * width))


def _slices(call: Call) -> Call:
    """The call on each slice by itself, the slices being channels."""
    batch, channels, depth, height, width = call.shape()
    return _over(call, (1, 2), (batch, channels * depth, height, width))


def _with_weights(call: Call, what: str, weight: Array, bias: Array) -> Call:
    """The call with other weights, under names of their own: arrays are remembered by name."""
    proto = onnx.NodeProto.FromString(call.proto.SerializeToString())
    named = f"{proto.input[1]}::{what}"
    inputs = [proto.input[0], named, f"{proto.input[2] if len(proto.input) > 2 else named}::bias"]
    del proto.input[:]
    proto.input.extend(inputs)
    return replace(call, proto=proto, operands=(call.operands[0], weight, bias))


def _spread(call: Call, *sizes: int) -> F32:
    """Weights over slices, still zero."""
    count = math.prod(max(1, size) for size in sizes)
    if count > LARGEST:
        call.fail(
            f"on a volume of shape {call.shape()}, its slices as channels, it has {count:.3g} "
            "weights",
            "give the model smaller volumes, for example patches of 32 slices",
        )
    call.make_room(*sizes, each=WEIGHT)
    return np.zeros(sizes, np.float32)


# --- layers ---------------------------------------------------------------------------------------


def _weight(call: Call) -> F32:
    weight = call.weight(1, "the weight")
    if weight.ndim != 5:
        call.fail(
            f"weight of shape {weight.shape} for a volume of shape {call.shape()}",
            "a convolution of volumes has a kernel of three axes",
        )
    kernel = call.ints("kernel_shape")
    if kernel and kernel != weight.shape[2:]:
        call.fail(f"kernel_shape {kernel} contradicts the weight of shape {weight.shape}")
    return weight


def _conv(function: Importer, call: Call) -> Sequence[str]:
    """`y[m, o] = sum over c, k of w[m, c, k] * x[c, s*o + d*k - front]`."""
    weight = _weight(call)
    filters, channels, taps, kh, kw = weight.shape
    bias = call.bias(2, filters)
    if _is_of_one_voxel(call, weight):
        return _voxelwise(function, call, weight, bias)
    deep, depth = _along_depth(call), call.shape()[2]
    stride, dilation = two(deep, "strides")[0], two(deep, "dilations")[0]
    (front, _, back, _), _ = window_pads(deep, (taps, 1), (stride, 1), (dilation, 1))
    slices = (depth + front + back - (taps - 1) * dilation - 1) // stride + 1
    if slices < 1:
        call.fail(f"kernel of {taps} slices, dilation {dilation}, on {depth} slices")
    spread = _spread(call, filters, slices, channels, depth, kh, kw)
    for slice_ in range(slices):
        for tap in range(taps):
            read = slice_ * stride + tap * dilation - front
            if 0 <= read < depth:
                spread[:, slice_, :, read] = weight[:, :, tap]
    spread = spread.reshape(filters * slices, channels * depth, kh, kw)
    return _of_slices(function, call, spread, np.repeat(bias, slices), slices)


def _conv_transpose(function: Importer, call: Call) -> Sequence[str]:
    """`y[m, s*i + d*k - front] += w[c, m, k] * x[c, i]`."""
    weight, groups = _weight(call), int(call.attrs.get("group", 1))
    channels, filters, taps, kh, kw = weight.shape
    bias = call.bias(2, filters * groups)
    deep, depth = _along_depth(call), call.shape()[2]
    stride, dilation = two(deep, "strides")[0], two(deep, "dilations")[0]
    (front, _, back, _), (extra, _) = transposed_pads(deep, (taps, 1))
    slices = (depth - 1) * stride + (taps - 1) * dilation + 1 + extra - front - back
    if slices < 1:
        call.fail(f"its pads {call.ints('pads')} leave nothing of the result")
    spread = _spread(call, channels, depth, filters, slices, kh, kw)
    for read in range(depth):
        for tap in range(taps):
            slice_ = read * stride + tap * dilation - front
            if 0 <= slice_ < slices:
                spread[:, read, :, slice_] = weight[:, :, tap]
    spread = spread.reshape(channels * depth, filters * slices, kh, kw)
    return _of_slices(function, call, spread, np.repeat(bias, slices), slices)


def _of_slices(
    function: Importer, call: Call, weight: Array, bias: Array, slices: int
) -> Sequence[str]:
    """The layer with weights over slices, and its result as a volume of so many slices."""
    (result,) = function(_with_weights(_slices(call), "slices", weight, bias))
    batch, planes, height, width = call.builder.shapes[result]
    return [call.reshape(result, (batch, planes // slices, slices, height, width))]


def _is_of_one_voxel(call: Call, weight: Array) -> bool:
    moving = set(call.ints("strides") or (1,)) != {1} or any(call.ints("pads") or ())
    return weight.shape[2:] == (1, 1, 1) and not moving


def _voxelwise(function: Importer, call: Call, weight: Array, bias: Array) -> Sequence[str]:
    batch, channels, depth, height, width = call.shape()
    view = (batch, channels, depth * height, width)
    flat = _over(call, (1, 2), view)
    (result,) = function(_with_weights(flat, "voxel", weight[..., 0], bias))
    return [call.reshape(result, (batch, len(weight), depth, height, width))]


# --- pools ----------------------------------------------------------------------------------------


def _pool(function: Importer, call: Call) -> Sequence[str]:
    """Over every slice, then along the depth: a maximum of maxima, a mean of means."""
    call.only_first_output()
    batch, channels, depth, _, _ = call.shape()
    (planes,) = function(_slices(call))
    height, width = call.builder.shapes[planes][2:]
    volume = call.reshape(planes, (batch, channels, depth, height, width))
    (result,) = function(_along_depth(replace(call, operands=(volume,))))
    slices = call.builder.shapes[result][2]
    return [call.reshape(result, (batch, channels, slices, height, width))]


def _global_pool(function: Importer, call: Call) -> Sequence[str]:
    """Over all voxels of a channel."""
    batch, channels, depth, height, width = call.shape()
    image = call.reshape(call.value(), (batch, channels, depth * height, width))
    (result,) = function(replace(call, operands=(image,)))
    return [call.reshape(result, (batch, channels, 1, 1, 1))]


_VOLUMES: dict[str, Callable[[Importer, Call], Sequence[str]]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
}
