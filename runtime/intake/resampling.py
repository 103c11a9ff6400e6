"""Resizing one plane of a picture by the methods of the libraries that models are trained with.

`widened` filters, as Pillow and torchvision have them, are Pillow's; uint8 stays uint8 there, with
Pillow's rounding. All others are linear along each axis, so that they are two matrices of weights,
in float64:

- bilinear and bicubic without antialias: PyTorch's `interpolate(align_corners=False)`, and
  OpenCV's INTER_LINEAR and INTER_CUBIC, where the four pixels around a point count, and edge pixels
  are repeated;
- area: PyTorch's `interpolate(mode="area")`, the mean of all pixels that a target pixel touches;
- box: OpenCV's INTER_AREA where it shrinks, the mean by the share of each pixel's area;
- gaussian: scikit-image's `resize(order=1, mode="constant")`: a Gaussian of deviation
  `(ratio - 1) / 2`, cut after 4 deviations, then bilinear; outside the picture is `fill`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from moiety.protocols.arrays import F64, I64, U8
from moiety.runtime.intake.geometry import Size
from moiety.runtime.intake.room import check_weights
from moiety.runtime.program.preprocessing import Antialias, Interpolation

PILLOW = {
    ("nearest", "none"): Image.Resampling.NEAREST,
    ("bilinear", "widened"): Image.Resampling.BILINEAR,
    ("bicubic", "widened"): Image.Resampling.BICUBIC,
}
CUBIC = -0.75
"""Of PyTorch and OpenCV without antialias; Pillow's is -0.5."""
CUT = 4.0
"""SciPy's `truncate`: deviations of a Gaussian that count."""


def resample(
    plane: U8 | F64,
    size: Size,
    interpolation: Interpolation,
    antialias: Antialias,
    fill: float = 0.0,
) -> F64:
    """A plane of levels 0 to 255, resized, float64 in 0 to 255. Raises as `axis_weights`."""
    if plane.shape == size:
        return plane.astype(np.float64)
    method = PILLOW.get((interpolation, antialias))
    if method is not None:
        done = np.asarray(_image(plane).resize((size[1], size[0]), method), np.float64)
    else:
        rows, columns = (
            axis_weights(source, target, interpolation, antialias)
            for source, target in zip(plane.shape, size, strict=True)
        )
        done = rows @ (plane.astype(np.float64) - fill) @ columns.T + fill
    return np.clip(done, 0.0, 255.0)


def _image(plane: U8 | F64) -> Image.Image:
    """Pillow's, with 8 bits or in float32."""
    deep = plane.dtype != np.uint8
    return Image.fromarray(np.ascontiguousarray(plane, np.float32 if deep else np.uint8))


def axis_weights(
    source: int, target: int, interpolation: Interpolation, antialias: Antialias
) -> F64:
    """What each of `source` pixels counts for in each of `target`: float64 `(target, source)`.
    Raises `BadInput`, without the file's name, where that is too much.
    """
    check_weights(source, target)
    if interpolation == "area":
        return _area(source, target)
    if interpolation == "box":
        return _box(source, target)
    centre = (np.arange(target) + 0.5) * (source / target) - 0.5
    left = np.floor(centre).astype(np.int64)
    part = centre - left
    if antialias == "gaussian":
        deviation = max(0.0, (source / target - 1) / 2)
        return _gaussian(source, left, deviation) * (1 - part)[:, None] + (
            _gaussian(source, left + 1, deviation) * part[:, None]
        )
    if interpolation == "bilinear":
        return _taps(source, left, {0: 1 - part, 1: part})
    return _taps(source, left, {tap: _cubic(np.abs(part - tap)) for tap in range(-1, 3)})


def _taps(source: int, left: I64, weights: dict[int, F64]) -> F64:
    """Weights of the pixels at `left + tap`; beyond the edge the edge's own pixel counts."""
    table = np.zeros((len(left), source))
    for tap, weight in weights.items():
        np.add.at(table, (np.arange(len(left)), np.clip(left + tap, 0, source - 1)), weight)
    return table


def _cubic(distance: F64) -> F64:
    """Keys' kernel."""
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _area(source: int, target: int) -> F64:
    index = np.arange(target)
    first, last = index * source // target, -(-(index + 1) * source // target)
    pixel = np.arange(source)
    inside = (pixel >= first[:, None]) & (pixel < last[:, None])
    return inside / (last - first)[:, None]


def _box(source: int, target: int) -> F64:
    edge = np.arange(target + 1) * (source / target)
    pixel = np.arange(source)
    first, last = edge[:-1, None], edge[1:, None]
    shares = np.minimum(last, pixel + 1) - np.maximum(first, pixel)
    return np.maximum(shares, 0.0) * (target / source)


def _gaussian(source: int, centre: I64, deviation: float) -> F64:
    """The blur that a pixel at each `centre` has; weights beyond the edge are left out, so that a
    row may sum to less than 1.
    """
    radius = int(CUT * deviation + 0.5)
    offset = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offset / deviation) ** 2) if radius else np.ones(1)
    kernel /= kernel.sum()
    distance = np.arange(source) - centre[:, None]
    within = np.abs(distance) <= radius
    return np.where(within, kernel[np.clip(distance + radius, 0, 2 * radius)], 0.0)
