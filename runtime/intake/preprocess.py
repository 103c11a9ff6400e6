"""A picture to the model's input, as the Program's public `preprocessing` says."""

from __future__ import annotations

import numpy as np
from PIL import Image

from moiety.protocols.arrays import F32, F64
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.picture import Picture, Warned
from moiety.runtime.program import Preprocessing

LARGEST_UPSCALING = 4


def preprocess(picture: Picture, preprocessing: Preprocessing) -> tuple[F32, tuple[Warned, ...]]:
    """The tensor `(C,H,W)`, and what to warn of. Raises `BadInput`, without the file's name."""
    planes = _planes(picture, preprocessing.channels)
    return _normalise(_resized(planes, preprocessing), preprocessing), ()


def _planes(picture: Picture, channels: int) -> list[Image.Image]:
    """One Pillow image per channel, values 0 to 255. Grey is repeated for a colour model; deep grey
    keeps its precision.
    """
    if picture.values.dtype != np.uint8:
        deep = Image.fromarray((picture.values * 255).astype(np.float32))
        return [deep] * channels
    image = Image.fromarray(picture.values)
    if channels == 1 or image.mode == "L":
        return [image.convert("L")] * channels
    return list(image.split())


def _resized(planes: list[Image.Image], preprocessing: Preprocessing) -> F64:
    height, width = preprocessing.size
    found_width, found_height = planes[0].size
    if preprocessing.resize == "exact":
        if (found_height, found_width) != (height, width):
            raise BadInput(
                f"{found_width}x{found_height} pixels; this model takes exactly "
                f"{width}x{height} and does not resize"
            )
        return np.stack([np.asarray(plane, np.float64) for plane in planes])
    scale = max(height / found_height, width / found_width)
    if scale > LARGEST_UPSCALING:
        raise BadInput(
            f"only {found_width}x{found_height} pixels, too few for a model that looks at "
            f"{width}x{height}"
        )
    target = (max(width, round(found_width * scale)), max(height, round(found_height * scale)))
    left, top = (target[0] - width) // 2, (target[1] - height) // 2
    done: dict[int, F64] = {}
    for plane in planes:
        if id(plane) not in done:
            resized = (
                plane if plane.size == target else plane.resize(target, Image.Resampling.BILINEAR)
            )
            done[id(plane)] = np.asarray(
                resized.crop((left, top, left + width, top + height)), np.float64
            )
    return np.stack([done[id(plane)] for plane in planes])


def _normalise(pixels: F64, preprocessing: Preprocessing) -> F32:
    mean, std = (
        np.array(v, np.float32)[:, None, None] for v in (preprocessing.mean, preprocessing.std)
    )
    return ((pixels.astype(np.float32) / np.float32(255) - mean) / std).astype(np.float32)
