"""Importers of Resize and Upsample: reindexings, or means of reindexings.

Nearest: output o of an axis is pixel `index[o]`, a public list. Linear by an integer factor f:
every output is the mean of a run of pixels of the f times larger nearest image, since a box of
length f slides over copies:

* `asymmetric` and `align_corners`: `((f - a) x[q] + a x[q+1]) / f` is the mean of
  `z[s*q + a], ..., z[s*q + a + f-1]`;
* `half_pixel`: the same window centred on the output; for even f the mean of the two
  nearest such windows.

Pixels beyond the image are those of its border (Concat of slices). So no product and no
secret is involved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moiety.compiler.onnx_import.axes import cut, repeated, taken
from moiety.compiler.onnx_import.call import Call, importer
from moiety.protocols.arrays import F32


@dataclass(frozen=True)
class _Resize:
    """A Resize or Upsample node: what it does to each axis."""

    call: Call
    results: list[int]
    scales: list[float]
    coordinates: str  # coordinate_transformation_mode
    rounding: str  # nearest_mode

    @property
    def changed(self) -> list[int]:
        """The axes that it does anything to."""
        return [
            axis
            for axis, size in enumerate(self.call.shape())
            if self.results[axis] != size or self.scales[axis] != 1
        ]


@importer("Resize", "Upsample")
def _resize(call: Call) -> Sequence[str]:
    """Nearest to any size, every rounding; linear up or down by integer factors with half_pixel,
    pytorch_half_pixel, asymmetric, or align_corners where (output - 1) / (input - 1) is an integer.
    """
    modern = call.proto.op_type == "Resize" and call.opset >= 11
    resize = _Resize(
        call,
        *_sizes(call),
        call.text("coordinate_transformation_mode", "half_pixel" if modern else "asymmetric"),
        call.text("nearest_mode", "round_prefer_floor" if modern else "floor"),
    )
    if 0 in resize.changed:
        call.fail("changes the batch axis", "resize the image axes alone")
    if call.flag("antialias") and any(resize.scales[axis] < 1 for axis in resize.changed):
        call.fail("antialias is not supported", "use an average pool to shrink the image")
    mode = call.text("mode", "nearest")
    if mode == "nearest":
        return [_nearest(resize)]
    if mode in ("linear", "bilinear"):
        return [_linear(resize)]
    call.fail(f"mode {mode!r} is not supported", "nearest, and linear by integer factors, are")


# ----------------------------------------------------------------------------------- sizes of axes


def _sizes(call: Call) -> tuple[list[int], list[float]]:
    """Output size and scale of every axis."""
    shape, given = call.shape(), call.attrs.get("axes")
    axes = [axis % len(shape) for axis in given] if given else list(range(len(shape)))
    position = 1 if call.proto.op_type == "Upsample" or call.opset < 11 else 2
    factors = call.attrs.get("scales")
    array = call.constant(position) if factors is None else np.asarray(factors)
    sizes = call.constant(3) if len(call.operands) > 3 else None
    results, scales = list(shape), [1.0] * len(shape)
    if array is not None and array.size:
        for axis, scale in zip(axes, array.reshape(-1).tolist(), strict=True):
            results[axis], scales[axis] = math.floor(shape[axis] * scale), float(scale)
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


# ----------------------------------------------------------------------------------------- nearest


def _nearest(resize: _Resize) -> str:
    call = resize.call
    value = call.value()
    for axis in resize.changed:
        size = call.shape()[axis]
        sources = _sources(resize.coordinates, size, resize.results[axis], resize.scales[axis])
        if sources is None or resize.rounding not in _ROUNDINGS:
            call.fail(
                f"coordinate_transformation_mode {resize.coordinates!r}, "
                f"nearest_mode {resize.rounding!r}",
                "not supported",
            )
        indices = np.clip(_ROUNDINGS[resize.rounding](sources), 0, size - 1).astype(np.int64)
        value = taken(call, value, axis, indices)
    return value


def _sources(mode: str, size: int, result: int, ratio: float) -> F32 | None:
    """Where in the image, in pixels, each output is taken; in float32, like onnxruntime, since
    ties are rounded.
    """
    o, scale = np.arange(result, dtype=np.float32), np.float32(ratio)
    half = np.float32(0.5)
    match mode:
        case "half_pixel":
            return (o + half) / scale - half
        case "pytorch_half_pixel":
            return (o + half) / scale - half if result > 1 else o * 0
        case "asymmetric":
            return o / scale
        case "align_corners":
            return o * np.float32(size - 1) / np.float32(result - 1) if result > 1 else o * 0
        case "half_pixel_symmetric":
            offset = np.float32(size / 2 * (1 - result / (ratio * size)))
            return offset + (o + half) / scale - half
    return None


_ROUNDINGS: dict[str, Callable[[F32], F32]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


# ------------------------------------------------------------------------------------------ linear


@dataclass(frozen=True)
class _Axis:
    """One axis: copies of its border, then nearest by a factor, then means of runs of `boxes`
    pixels, then a cut.
    """

    border: tuple[int, int] = (0, 0)
    factor: int = 1
    boxes: tuple[int, int] = (1, 1)
    start: int = 0
    step: int = 1


def _linear(resize: _Resize) -> str:
    call, shape = resize.call, resize.call.shape()
    if len(shape) != 4 or not set(resize.changed) <= {2, 3}:
        call.fail(
            f"linear over axes {resize.changed} of {shape}",
            "only height and width of (N, C, H, W) are supported",
        )
    plans: dict[int, _Axis] = {}
    for axis in resize.changed:
        size, result = shape[axis], resize.results[axis]
        plan = _linear_axis(resize.coordinates, size, result, resize.scales[axis])
        if plan is None:
            call.fail(
                f"linear, {resize.coordinates}, from {size} to {result} pixels is not supported",
                "integer factors with half_pixel (align_corners=False) or asymmetric coordinates "
                "are, and nearest",
            )
        plans[axis] = plan
    return _interpolated(call, plans, resize.results)


def _linear_axis(mode: str, size: int, result: int, scale: float) -> _Axis | None:
    """How an axis is interpolated linearly, None where it cannot be done."""
    if result == size and (scale == 1 or mode == "align_corners"):
        return _Axis()
    if size == 1:
        return _Axis(factor=result)
    if mode == "align_corners":
        factor, rest = divmod(result - 1, size - 1)
        return None if rest or factor < 1 else _Axis(factor=factor, boxes=(factor, 1))
    centred = mode in ("half_pixel", "half_pixel_symmetric") or (
        mode == "pytorch_half_pixel" and result > 1
    )
    if not centred and mode != "asymmetric":
        return None
    if result == size * scale and scale == int(scale):
        return _enlarged_axis(int(scale), centred)
    step = round(1 / scale)
    if result * step == size and math.isclose(step * scale, 1):
        return _shrunk_axis(step, centred)
    return None


def _enlarged_axis(factor: int, centred: bool) -> _Axis:
    if not centred:
        return _Axis((0, 1), factor, (factor, 1))
    if factor % 2:
        return _Axis((1, 1), factor, (factor, 1), factor - (factor - 1) // 2)
    return _Axis((1, 1), factor, (factor, 2), factor - factor // 2)


def _shrunk_axis(step: int, centred: bool) -> _Axis:
    if not centred:
        return _Axis(step=step)
    return _Axis(boxes=(1, 1 if step % 2 else 2), start=(step - 1) // 2, step=step)


def _interpolated(call: Call, plans: dict[int, _Axis], results: Sequence[int]) -> str:
    """Every axis as planned; means of both axes at once."""
    value = call.value()
    for axis, plan in plans.items():
        size = call.builder.shapes[value][axis]
        before, after = plan.border
        indices = np.clip(np.arange(-before, size + after), 0, size - 1)
        value = taken(call, value, axis, indices)
        value = repeated(call, value, axis, plan.factor)
    for box in range(2):
        kernel = tuple(plans[axis].boxes[box] if axis in plans else 1 for axis in (2, 3))
        if kernel != (1, 1):
            attrs = {"strides": (1, 1), "pads": (0, 0, 0, 0), "count_include_pad": False}
            value = call.emit("AvgPool", [value], kernel=kernel, **attrs)
    for axis, plan in plans.items():
        stop = plan.start + (results[axis] - 1) * plan.step + 1
        value = cut(call, value, axis, plan.start, stop, plan.step)
    return value
