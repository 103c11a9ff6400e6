"""Importers of Resize and its like, and of copies along an axis: all of them
reindexings, or sums of reindexings.

Nearest: output o of an axis is pixel `index[o]`, a public list. Linear by an integer factor
f: every output is the mean of a run of pixels of the f times larger nearest image, since a
box of length f slides over copies:

* `asymmetric` and `align_corners`: `((f - a) x[q] + a x[q+1]) / f` is the mean of
  `z[s*q + a], ..., z[s*q + a + f-1]`;
* `half_pixel`: the same window centred on the output; for even f the mean
  of the two nearest such windows.

Pixels beyond the image are those of its border (Concat of slices). So no
product and no secret is involved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moiety.compiler.onnx_import.builder import Call, importer
from moiety.compiler.onnx_import.pieces import copied, cut, enlarged, repeated, taken


@importer("Gather")
def _gather(call: Call) -> Sequence[str]:
    """Constant indices, any axis but the batch."""
    shape, indices = call.shape(), call.constant(1)
    axis = int(call.attrs.get("axis", 0)) % len(shape)
    if indices is None or indices.size == 0:
        call.fail("the indices must be a constant that is not empty")
    if axis == 0:
        call.fail("takes images out of the batch", "gather along another axis")
    chosen = np.asarray(indices, np.int64).reshape(-1)
    if chosen.min() < -shape[axis] or chosen.max() >= shape[axis]:
        call.fail(f"indices {chosen.min()} to {chosen.max()} are outside axis {axis} of {shape}")
    value = taken(call, call.value(), axis, chosen % shape[axis])
    return [call.reshape(value, [*shape[:axis], *indices.shape, *shape[axis + 1 :]])]


@importer("Tile")
def _tile(call: Call) -> Sequence[str]:
    """Any axis but the batch."""
    value, repeats = call.value(), call.ints("repeats", 1)
    if repeats is None or len(repeats) != len(call.shape()) or min(repeats) < 1 or repeats[0] != 1:
        call.fail(f"repeats {repeats} of {call.shape()}", "every axis but the batch can be copied")
    for axis, count in enumerate(repeats):
        value = copied(call, value, axis, count)
    return [value]


@importer("Expand")
def _expand(call: Call) -> Sequence[str]:
    """Same rank; the batch stays."""
    shape, wanted = call.shape(), call.ints("shape", 1)
    if wanted is None:
        call.fail("the new shape is missing")
    rank = max(len(shape), len(wanted))
    if rank > len(shape):
        call.fail(
            f"puts {rank - len(shape)} axes before the batch of {shape}", "keep the batch first"
        )
    target = np.broadcast_shapes(shape, tuple(wanted))
    return [enlarged(call, call.value(), target)]


# ------------------------------------------------------------------------------------------- Resize


@dataclass(frozen=True)
class _Axis:
    """One axis: copies of its border, then nearest by a factor, then means of runs
    of `boxes` pixels, then a cut.
    """

    border: tuple[int, int] = (0, 0)
    factor: int = 1
    boxes: tuple[int, int] = (1, 1)
    start: int = 0
    step: int = 1


def _sources(mode: str, size: int, result: int, ratio: float) -> npt.NDArray[np.float32] | None:
    """Where in the image, in pixels, each output is taken; in float32, like
    onnxruntime, since ties are rounded.
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


_ROUNDINGS: dict[str, Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _linear_axis(mode: str, size: int, result: int, scale: float) -> _Axis | None:
    """How an axis is interpolated linearly, None where it cannot be done."""
    if result == size and (scale == 1 or mode == "align_corners"):
        return _Axis()
    if size == 1:
        return _Axis(factor=result)
    if mode == "align_corners":
        factor, rest = divmod(result - 1, size - 1)
        return None if rest or factor < 1 else _Axis(factor=factor, boxes=(factor, 1))
    if result == size * scale and scale == int(scale):
        factor = int(scale)
        if mode == "asymmetric":
            return _Axis((0, 1), factor, (factor, 1))
        if mode in ("half_pixel", "half_pixel_symmetric") or (
            mode == "pytorch_half_pixel" and result > 1
        ):
            boxes = (factor, 1 if factor % 2 else 2)
            return _Axis(
                (1, 1),
                factor,
                boxes,
                factor - (factor - 1) // 2 if factor % 2 else factor - factor // 2,
            )
    step = round(1 / scale)
    if result * step == size and math.isclose(step * scale, 1):
        if mode == "asymmetric":
            return _Axis(step=step)
        if mode in ("half_pixel", "half_pixel_symmetric") or (
            mode == "pytorch_half_pixel" and result > 1
        ):
            return _Axis(boxes=(1, 1 if step % 2 else 2), start=(step - 1) // 2, step=step)
    return None


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
        value = cut(
            call,
            value,
            axis,
            plan.start,
            plan.start + (results[axis] - 1) * plan.step + 1,
            plan.step,
        )
    return value


@importer("Resize", "Upsample")
def _resize(call: Call) -> Sequence[str]:
    """Nearest to any size, every rounding; linear up or down by integer factors with half_pixel,
    pytorch_half_pixel, asymmetric, or align_corners where (output - 1) / (input - 1) is an integer.
    """
    shape, modern = call.shape(), call.proto.op_type == "Resize" and call.opset >= 11
    mode = call.attrs.get("mode", b"nearest").decode()
    default = "half_pixel" if modern else "asymmetric"
    where = call.attrs.get("coordinate_transformation_mode", default.encode()).decode()
    rounding = call.attrs.get(
        "nearest_mode", b"round_prefer_floor" if modern else b"floor"
    ).decode()
    results, scales = _sizes(call)
    wanted = [
        axis for axis in range(len(shape)) if results[axis] != shape[axis] or scales[axis] != 1
    ]
    if 0 in wanted:
        call.fail("changes the batch axis", "resize the image axes alone")
    if call.attrs.get("antialias", 0) and any(scales[axis] < 1 for axis in wanted):
        call.fail("antialias is not supported", "use an average pool to shrink the image")
    if mode == "nearest":
        value = call.value()
        for axis in wanted:
            sources = _sources(where, shape[axis], results[axis], scales[axis])
            if sources is None or rounding not in _ROUNDINGS:
                call.fail(
                    f"coordinate_transformation_mode {where!r}, nearest_mode {rounding!r}",
                    "not supported",
                )
            indices = np.clip(_ROUNDINGS[rounding](sources), 0, shape[axis] - 1).astype(np.int64)
            value = taken(call, value, axis, indices)
        return [value]
    if mode not in ("linear", "bilinear"):
        call.fail(f"mode {mode!r} is not supported", "nearest, and linear by integer factors, are")
    if len(shape) != 4 or not set(wanted) <= {2, 3}:
        call.fail(
            f"linear over axes {wanted} of {shape}",
            "only height and width of (N, C, H, W) are supported",
        )
    plans: dict[int, _Axis] = {}
    for axis in wanted:
        plan = _linear_axis(where, shape[axis], results[axis], scales[axis])
        if plan is None:
            call.fail(
                f"linear, {where}, from {shape[axis]} to {results[axis]} pixels is not supported",
                "integer factors with half_pixel (align_corners=False) or asymmetric coordinates are, and nearest",
            )
        plans[axis] = plan
    return [_interpolated(call, plans, results)]


def _sizes(call: Call) -> tuple[list[int], list[float]]:
    """Output size and scale of every axis."""
    shape = call.shape()
    given = call.attrs.get("axes")
    axes = [axis % len(shape) for axis in given] if given else list(range(len(shape)))
    position = 1 if call.proto.op_type == "Upsample" or call.opset < 11 else 2
    factors = call.attrs.get("scales")
    array = call.constant(position) if factors is None else np.asarray(factors)
    results, scales = list(shape), [1.0] * len(shape)
    sizes = call.constant(3) if len(call.operands) > 3 else None
    if array is not None and array.size:
        for axis, scale in zip(axes, array.reshape(-1).tolist(), strict=True):
            results[axis], scales[axis] = math.floor(shape[axis] * scale), float(scale)
    elif sizes is not None and sizes.size:
        wanted = [int(size) for size in sizes.reshape(-1)]
        ratios = [size / shape[axis] for axis, size in zip(axes, wanted, strict=True)]
        policy = call.attrs.get("keep_aspect_ratio_policy", b"stretch").decode()
        if policy != "stretch":
            common = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = [common] * len(axes)
            wanted = [math.floor(shape[axis] * common + 0.5) for axis in axes]
        for axis, size, ratio in zip(axes, wanted, ratios, strict=True):
            results[axis], scales[axis] = size, ratio
        if call.builder.batch > 1 and 0 in axes and results[0] == call.builder.batch:
            results[0], scales[0] = 1, 1.0  # the file was exported for a fixed larger batch
    else:
        call.fail("neither scales nor sizes are given")
    if min(results) < 1:
        call.fail(f"makes {tuple(results)} of {shape}")
    return results, scales
