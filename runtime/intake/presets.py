"""What the models of the field were trained on: how a picture became their input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.protocols.errors import BadInput
from moiety.runtime.program import Preprocessing, picture_shape

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def default_preprocessing(
    shape: Sequence[int], mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Preprocessing | None:
    """What most ONNX classifiers expect for an input of `shape`, (C,H,W) or (H,W,C): ImageNet's
    normalisation; for one channel the mean of the three.

    None when the input is not a picture (not 1 or 3 channels): such a model takes NPY tensors only.
    Raises `BadInput` when `mean` or `std` do not fit.
    """
    shape = picture_shape(shape)
    if len(shape) != 3 or shape[0] not in (1, 3):
        if mean or std:
            raise BadInput(
                "--mean and --std are for pictures of 1 or 3 channels; the model's input has the "
                f"shape {tuple(shape)}"
            )
        return None
    channels = shape[0]
    return Preprocessing(
        size=(shape[1], shape[2]),
        channels=channels,
        mean=_per_channel(mean, IMAGENET_MEAN, channels, "--mean"),
        std=_per_channel(std, IMAGENET_STD, channels, "--std"),
    )


def _per_channel(
    given: Sequence[float] | None, imagenet: tuple[float, ...], channels: int, option: str
) -> tuple[float, ...]:
    """One number per channel: those given (one number counts for all), else ImageNet's."""
    values = tuple(given) if given else imagenet if channels == 3 else (sum(imagenet) / 3,)
    if len(values) == 1:
        values *= channels
    if len(values) != channels:
        raise BadInput(
            f"{option} has {len(values)} numbers, the model's input has {channels} channels"
        )
    if not np.all(np.isfinite(values)) or (option == "--std" and min(values) <= 0):
        raise BadInput(
            f"{option} {', '.join(map(str, values))}: numbers must be finite, and standard "
            "deviations above zero"
        )
    return values
