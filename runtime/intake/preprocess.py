"""A picture to the model's input, as the Program's public `preprocessing` says, step by step.

Between the steps a picture is planes of levels, 0 black to 255 white: uint8 as long as nothing but
Pillow touched it, else float64. Grey is one plane until the end, where it is repeated.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from moiety.protocols.arrays import F32, F64, U8
from moiety.runtime.intake.geometry import Box, fit
from moiety.runtime.intake.picture import Picture, Warned
from moiety.runtime.intake.resampling import resample
from moiety.runtime.program.preprocessing import Preprocessing

WHITE = 255


def preprocess(picture: Picture, preprocessing: Preprocessing) -> tuple[F32, tuple[Warned, ...]]:
    """The tensor, float32 `(C,H,W)`, and what is to be said of it. BadInput, without the file's
    name, for a picture that does not fit.
    """
    planes = _stretched(_planes(picture.values, preprocessing), preprocessing)
    plan = fit(planes[0].shape, preprocessing)
    fill = preprocessing.fill * WHITE
    pixels = [
        _part(
            resample(
                _part(plane, plan.frame, fill),
                plan.resized,
                preprocessing.interpolation,
                preprocessing.antialias,
                fill,
            ),
            plan.crop,
        )
        for plane in planes
    ]
    return _normalised(np.stack(pixels), preprocessing), plan.warnings


def _planes(values: U8 | F64, preprocessing: Preprocessing) -> list[U8 | F64]:
    """Levels, one plane of grey or three of colour in the model's order; transposed if so
    trained.
    """
    if values.dtype != np.uint8:
        values = values.astype(np.float64) * WHITE
    if preprocessing.transposed:
        values = values.swapaxes(0, 1)
    if values.ndim == 2:
        return [values]
    grey = preprocessing.colour
    if grey == "as-input" and preprocessing.channels == 3:
        order = (2, 1, 0) if preprocessing.channel_order == "bgr" else (0, 1, 2)
        return [values[..., channel] for channel in order]
    if grey == "first":
        return [values[..., 0]]
    if grey == "mean":
        return [values.mean(axis=2)]
    return [np.asarray(Image.fromarray(np.ascontiguousarray(values)).convert("L"))]


def _stretched(planes: list[U8 | F64], preprocessing: Preprocessing) -> list[U8 | F64]:
    """The darkest level of all planes to black and the brightest to white, if so trained. A picture
    of one level becomes black.
    """
    if preprocessing.stretch == "none":
        return planes
    low, high = float(min(p.min() for p in planes)), float(max(p.max() for p in planes))
    factor = WHITE / (high - low) if high > low else 0.0
    return [(plane.astype(np.float64) - low) * factor for plane in planes]


def _part(plane: U8 | F64, box: Box, fill: float = 0.0) -> U8 | F64:
    """What is inside the box; what is outside the plane is `fill`."""
    height, width = box.size
    top, left = max(0, box.top), max(0, box.left)
    inside = plane[top : box.top + height, left : box.left + width]
    if inside.shape == box.size:
        return inside
    whole = np.full(box.size, np.rint(fill) if plane.dtype == np.uint8 else fill, plane.dtype)
    down, right = top - box.top, left - box.left
    whole[down : down + inside.shape[0], right : right + inside.shape[1]] = inside
    return whole


def _normalised(pixels: F64, preprocessing: Preprocessing) -> F32:
    """In float32, as the libraries do."""
    mean, std = (
        np.array(v, np.float32)[:, None, None] for v in (preprocessing.mean, preprocessing.std)
    )
    values = pixels.astype(np.float32) / np.float32(WHITE)
    values = values * np.float32(preprocessing.scale) + np.float32(preprocessing.offset)
    return ((values - mean) / std).astype(np.float32)
