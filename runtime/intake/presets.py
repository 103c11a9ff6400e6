"""Preprocessing by name, and from JSON: a preset, or an object with the fields of `Preprocessing`.

In JSON, `size` and `channels` may be left out, since the model's input says them; one number counts
for all channels in `mean` and `std`; and `"like": "torchvision"` takes from a preset what is not
given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.program.decoding import UNREADABLE
from moiety.runtime.program.preprocessing import Preprocessing, picture_shape, takes_pictures

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Fields = dict[str, Any]


def _imagenet(size: tuple[int, int], channels: int) -> Fields:
    """Short side to the input's, centre crop, ImageNet's mean and deviation."""
    return {"mean": _of_grey(IMAGENET_MEAN, channels), "std": _of_grey(IMAGENET_STD, channels)}


def _torchvision(size: tuple[int, int], channels: int) -> Fields:
    """torchvision's classifiers: Resize(256), CenterCrop(224), ToTensor, Normalize, on PIL images;
    of another input size the same ratio, rounded (299: Resize(342)).
    """
    fields: Fields = {"resize_to": round(max(size) * 256 / 224), "rounding": "torchvision"}
    return _imagenet(size, channels) | fields


def _torchxrayvision(size: tuple[int, int], channels: int) -> Fields:
    """torchxrayvision's load_image or read_xray_dcm, XRayCenterCrop, XRayResizer (scikit-image):
    values -1024 to 1024.
    """
    return {
        "mean": 0.0,
        "std": 1.0,
        "resize": "centre-square",
        "antialias": "gaussian",
        "rounding": "torchxrayvision",
        "fill": 0.5,
        "colour": "first",
        "scale": 2048.0,
        "offset": -1024.0,
        "grey_value": "full-range",
    }


def _monai(size: tuple[int, int], channels: int) -> Fields:
    """MONAI's LoadImage (which transposes), ScaleIntensity, Resize (mode "area")."""
    return {
        "mean": 0.0,
        "std": 1.0,
        "resize": "squash",
        "interpolation": "area",
        "antialias": "none",
        "transposed": True,
        "stretch": "min-max",
        "grey_value": "full-range",
    }


PRESETS: Mapping[str, Callable[[tuple[int, int], int], Fields]] = {
    "imagenet": _imagenet,
    "torchvision": _torchvision,
    "torchxrayvision": _torchxrayvision,
    "monai": _monai,
}


def _of_grey(numbers: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """ImageNet's numbers; of one channel the mean of the three."""
    return numbers if channels == 3 else (sum(numbers) / 3,)


def preset(name: str, shape: Sequence[int]) -> Preprocessing:
    """By name, for an input of `shape`, (C,H,W) or (H,W,C). BadInput for another name, or where the
    input is no picture.
    """
    return described({"like": name}, shape)


def from_json(text: str | bytes, shape: Sequence[int]) -> Preprocessing:
    """Of a file or a model's metadata, see above. BadInput, without their name."""
    try:
        fields = msgspec.json.decode(text, type=dict[str, Any])
    except UNREADABLE as error:
        raise BadInput(f"not a JSON object of preprocessing: {error}") from None
    return described(fields, shape)


def described(fields: Mapping[str, Any], shape: Sequence[int]) -> Preprocessing:
    """From fields, some of which may be missing, see above; checked against `shape`. BadInput."""
    if not takes_pictures(shape):
        raise BadInput(
            "preprocessing is for pictures of 1 or 3 channels; the model's input has the shape "
            f"{tuple(shape)}"
        )
    channels, height, width = picture_shape(shape)
    known = dict(fields)
    like = known.pop("like", None)
    if like is not None:
        known = _preset_fields(like, (height, width), channels) | known
    known = {"size": (height, width), "channels": channels} | known
    for name in ("mean", "std"):
        if name in known:
            known[name] = _per_channel(known[name], channels)
    try:
        made = msgspec.convert(known, Preprocessing)
        made.check(tuple(shape))
    except (msgspec.ValidationError, BadArtifact) as error:
        raise BadInput(f"unusable preprocessing: {error}") from None
    return made


def _preset_fields(like: object, size: tuple[int, int], channels: int) -> Fields:
    make = PRESETS.get(like) if isinstance(like, str) else None
    if make is None:
        raise BadInput(f"there is no preprocessing named {like!r}; there are {', '.join(PRESETS)}")
    return make(size, channels)


def _per_channel(numbers: object, channels: int) -> object:
    """One number counts for all channels; whatever else is left to the checks."""
    if isinstance(numbers, int | float):
        numbers = (numbers,)
    if isinstance(numbers, list | tuple) and len(numbers) == 1:
        return tuple(numbers) * channels
    return numbers
