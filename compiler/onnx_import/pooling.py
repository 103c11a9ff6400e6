"""Importers of pools and means."""

from __future__ import annotations

import math
from collections.abc import Sequence

from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.volumes import volumetric
from moiety.compiler.onnx_import.windows import NO_PADS, image_shape, planar, two, window_pads


def _kernel(call: Call, kind: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Kernel and strides; fails where the pool is dilated."""
    names = ("kernel_shape", "strides", "dilations")
    kernel, strides, dilations = (two(call, name) for name in names)
    if dilations != (1, 1):
        call.fail(f"dilations={dilations} is not supported", f"use {kind} without dilation")
    return kernel, strides


def _mean(call: Call, value: str, kernel: tuple[int, int]) -> str:
    """Of every window of an image `value`."""
    attrs = {"strides": (1, 1), "pads": NO_PADS, "count_include_pad": False}
    return call.emit("AvgPool", [value], kernel=kernel, **attrs)


@importer("MaxPool")
@volumetric
@planar
def _maxpool(call: Call) -> Sequence[str]:
    """1-D to 3-D; strides, pads, auto_pad, ceil_mode; one output, no dilations."""
    call.only_first_output()
    kernel, strides = _kernel(call, "a max-pool")
    (top, left, bottom, right), (below, beside) = window_pads(call, kernel, strides, (1, 1))
    pads = (top, left, bottom + below, right + beside)
    return [call.emit("MaxPool", [call.value()], kernel=kernel, strides=strides, pads=pads)]


@importer("AveragePool")
@volumetric
@planar
def _averagepool(call: Call) -> Sequence[str]:
    """1-D to 3-D; strides, pads, auto_pad, ceil_mode, count_include_pad; no dilations."""
    kernel, strides = _kernel(call, "an average pool")
    (top, left, bottom, right), (below, beside) = window_pads(call, kernel, strides, (1, 1))
    value, counted = call.value(), call.flag("count_include_pad")
    if counted and below + beside > 0:
        # What ceil_mode adds never counts, the written pads do: those become zeros of the image.
        value = call.emit("Pad", [value], pads=((0, 0), (0, 0), (top, bottom), (left, right)))
        (top, left, bottom, right), counted = NO_PADS, False
    pads = (top, left, bottom + below, right + beside)
    counted = counted and any(pads)
    attrs = {"strides": strides, "pads": pads, "count_include_pad": counted}
    return [call.emit("AvgPool", [value], kernel=kernel, **attrs)]


@importer("GlobalAveragePool")
@volumetric
@planar
def _globalaveragepool(call: Call) -> Sequence[str]:
    """1-D to 3-D."""
    return [_mean(call, call.value(), image_shape(call))]


@importer("GlobalMaxPool")
@volumetric
@planar
def _globalmaxpool(call: Call) -> Sequence[str]:
    """1-D to 3-D."""
    attrs = {"kernel": image_shape(call), "strides": (1, 1), "pads": NO_PADS}
    return [call.emit("MaxPool", [call.value()], **attrs)]


@importer("ReduceMean")
def _reducemean(call: Call) -> Sequence[str]:
    """Over any axes but the batch; keepdims."""
    shape = call.shape()
    given = call.ints("axes", 1)
    if given is None and call.flag("noop_with_empty_axes"):
        return [call.value()]
    axes = sorted({axis % len(shape) for axis in given}) if given else list(range(len(shape)))
    if 0 in axes:
        call.fail(f"over axes {axes} of {shape}", "the batch axis cannot be averaged over")
    value = _mean_over(call, axes)
    if call.flag("keepdims", True):
        return [value]
    return [call.reshape(value, [size for axis, size in enumerate(shape) if axis not in axes])]


def _mean_over(call: Call, axes: list[int]) -> str:
    """The operand's mean over axes, which stay with size 1."""
    value, shape = call.value(), call.shape()
    if len(shape) == 4 and set(axes) <= {2, 3}:
        return _mean(call, value, (shape[2] if 2 in axes else 1, shape[3] if 3 in axes else 1))
    if len(shape) == 4 and axes == [1, 2]:  # channels last
        value = _mean(call, call.transpose(value, (0, 3, 1, 2)), (shape[1], shape[2]))
        return call.transpose(value, (0, 2, 3, 1))
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    count, mixed = (math.prod(shape[axis] for axis in part) for part in (kept, axes))
    image = call.reshape(call.transpose(value, (*kept, *axes)), (1, count, mixed, 1))
    reduced = [1 if axis in axes else size for axis, size in enumerate(shape)]
    return call.reshape(_mean(call, image, (mixed, 1)), reduced)
