"""Importers of Resize and Upsample: reindexings, or a fixed linear map per axis.

Nearest: output o of an axis is pixel `index[o]`, a public list. Linear and cubic: each output is a
weighted mean of pixels, and the weights follow from sizes and attributes alone, so that they are no
secret of the vendor's and each party applies them to its share (`LinearMap`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moiety.compiler.ir.axis_map import AxisMap
from moiety.compiler.ir.graph import Array
from moiety.compiler.onnx_import.axes import mapped, taken
from moiety.compiler.onnx_import.call import Call, importer
from moiety.compiler.onnx_import.interpolation import Axis, Kernel, cubic, linear
from moiety.protocols.arrays import F32


@dataclass(frozen=True)
class _Resize:
    """A Resize or Upsample node: what it does to each axis that it changes."""

    call: Call
    axes: dict[int, Axis]

    def sources(self, axis: Axis, real: type[np.floating[Any]]) -> Array:
        """Where each output is taken; fails for unknown coordinates."""
        found = axis.sources(real)
        if found is None:
            self.call.fail(f"coordinate_transformation_mode {axis.coordinates!r} is unknown")
        return found


@importer("Resize", "Upsample")
def _resize(call: Call) -> Sequence[str]:
    """Nearest, linear and cubic, to any size, with every attribute: coordinates, rounding,
    antialias, exclude_outside, keep_aspect_ratio_policy, extrapolation_value with a constant roi.
    """
    modern = call.proto.op_type == "Resize" and call.opset >= 11
    coordinates = call.text(
        "coordinate_transformation_mode", "half_pixel" if modern else "asymmetric"
    )
    resize = _Resize(call, _changed_axes(call, coordinates))
    if 0 in resize.axes:
        call.fail("changes the batch axis", "resize the image axes alone")
    mode = call.text("mode", "nearest")
    if mode == "nearest":
        return [_nearest(resize, call.text("nearest_mode", "round_prefer_floor"), modern)]
    return [_interpolated(resize, _kernel(call, mode))]


# ----------------------------------------------------------------------------------- sizes of axes


def _axes(call: Call) -> list[int]:
    """Those that scales, sizes and roi speak of."""
    rank, given = len(call.shape()), call.attrs.get("axes")
    return [axis % rank for axis in given] if given else list(range(rank))


def _crops(call: Call, coordinates: str) -> list[tuple[float, float]]:
    """The part of every axis that is resized: all, but of tf_crop_and_resize."""
    whole = [(0.0, 1.0)] * len(call.shape())
    if coordinates != "tf_crop_and_resize":
        return whole
    axes, roi = _axes(call), call.constant(1)
    if roi is None or roi.size != 2 * len(axes):
        call.fail(f"its roi does not have a start and an end for each of {len(axes)} axes")
    ends = roi.astype(np.float64).reshape(2, -1).T.tolist()
    for axis, (first, last) in zip(axes, ends, strict=True):
        whole[axis] = (first, last)
    return whole


def _sizes(call: Call, crops: Sequence[tuple[float, float]]) -> tuple[list[int], list[float]]:
    """Output size and scale of every axis."""
    shape, axes = call.shape(), _axes(call)
    position = 1 if call.proto.op_type == "Upsample" or call.opset < 11 else 2
    factors = call.attrs.get("scales")
    array = call.constant(position) if factors is None else np.asarray(factors)
    sizes = call.constant(3) if len(call.operands) > 3 else None
    results, scales = list(shape), [1.0] * len(shape)
    if array is not None and array.size:
        for axis, scale in zip(axes, array.reshape(-1).tolist(), strict=True):
            first, last = crops[axis]
            results[axis] = math.floor(shape[axis] * (last - first) * scale)
            scales[axis] = float(scale)
    elif sizes is not None and sizes.size:
        wanted = [int(size) for size in sizes.reshape(-1)]
        for axis, size, ratio in zip(axes, *_with_policy(call, axes, wanted), strict=True):
            results[axis], scales[axis] = size, ratio
        if call.builder.batch > 1 and 0 in axes and results[0] == call.builder.batch:
            results[0], scales[0] = 1, 1.0  # the file was exported for a fixed larger batch
    else:
        call.fail("neither scales nor sizes are given")
    if min(results) < 1:
        call.fail(f"makes {tuple(results)} of {shape}")
    call.weigh(results)
    return results, scales


def _with_policy(call: Call, axes: list[int], wanted: list[int]) -> tuple[list[int], list[float]]:
    """Sizes and scales of `axes` as keep_aspect_ratio_policy says."""
    shape = call.shape()
    ratios = [size / shape[axis] for axis, size in zip(axes, wanted, strict=True)]
    policy = call.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return wanted, ratios
    common = min(ratios) if policy == "not_larger" else max(ratios)
    return [math.floor(shape[axis] * common + 0.5) for axis in axes], [common] * len(axes)


def _changed_axes(call: Call, coordinates: str) -> dict[int, Axis]:
    """The axes to which the node does anything."""
    shape, crops = call.shape(), _crops(call, coordinates)
    results, scales = _sizes(call, crops)
    return {
        axis: Axis(size, results[axis], scales[axis], coordinates, crops[axis])
        for axis, size in enumerate(shape)
        if results[axis] != size or scales[axis] != 1 or crops[axis] != (0.0, 1.0)
    }


def _extrapolated(resize: _Resize, value: str) -> str:
    """`value`, zero beyond the image, with extrapolation_value there."""
    call, filling = resize.call, float(resize.call.attrs.get("extrapolation_value", 0.0))
    shape = call.builder.shapes[value]
    outside = np.zeros((1,) * len(shape), bool)
    for number, axis in resize.axes.items():
        beyond = axis.beyond(resize.sources(axis, np.float64))
        outside = outside | beyond.reshape(
            [-1 if each == number else 1 for each in range(len(shape))]
        )
    if filling == 0 or not outside.any():
        return value
    return call.emit("AddConst", [value], value=np.where(outside, filling, 0).astype(np.float32))


# ----------------------------------------------------------------------------------------- nearest


def _nearest(resize: _Resize, nearest_mode: str, modern: bool) -> str:
    """Before opset 11 there is no nearest_mode, and ONNX leaves it open: onnxruntime rounds down
    along an axis that grows, and up along one that shrinks.
    """
    call = resize.call
    value = call.value()
    if nearest_mode not in _ROUNDINGS:
        call.fail(f"nearest_mode {nearest_mode!r} is unknown")
    for number, axis in resize.axes.items():
        rounding = nearest_mode if modern else "ceil" if axis.scale < 1 else "floor"
        # In float32, like onnxruntime, since ties are rounded.
        sources = np.asarray(resize.sources(axis, np.float32), np.float32)
        indices = np.clip(_ROUNDINGS[rounding](sources), 0, axis.size - 1).astype(np.int64)
        beyond = axis.beyond(sources)
        if beyond.any():
            call.make_room(axis.result, axis.size)
            matrix = (indices[:, None] == np.arange(axis.size)) & ~beyond[:, None]
            value = mapped(call, value, number, AxisMap.of(matrix))
        else:
            value = taken(call, value, number, indices)
    return _extrapolated(resize, value)


_ROUNDINGS: dict[str, Callable[[F32], F32]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


# --------------------------------------------------------------------------------- linear and cubic


def _kernel(call: Call, mode: str) -> Kernel:
    antialias = bool(call.attrs.get("antialias", 0))
    outside = bool(call.attrs.get("exclude_outside", 0))
    if mode in ("linear", "bilinear"):
        return linear(antialias, outside)
    if mode == "cubic":
        return cubic(float(call.attrs.get("cubic_coeff_a", -0.75)), antialias, outside)
    call.fail(f"mode {mode!r} is unknown", "nearest, linear and cubic are supported")


def _interpolated(resize: _Resize, kernel: Kernel) -> str:
    """The axes that shrink first: the others have less to do."""
    call = resize.call
    value = call.value()
    for number, axis in sorted(resize.axes.items(), key=lambda item: item[1].scale):
        sources = np.asarray(resize.sources(axis, np.float64), np.float64)
        call.make_room(axis.result, 2 * kernel.reached(axis) + 2)
        call.make_room(max(axis.result, axis.size), axis.size)
        matrix = kernel.matrix(axis, sources)
        if not np.array_equal(matrix, np.eye(axis.size)):
            value = mapped(call, value, number, AxisMap.of(matrix))
    return _extrapolated(resize, value)
