"""What part of a picture the model sees, and at which size: integers alone, no pixels.

A picture is framed (a part of it, or more than it), the frame is resized, and the centre of that
cropped. Libraries round the long side and the offsets in different ways; `ROUNDINGS` has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.picture import Warned
from moiety.runtime.program.preprocessing import Preprocessing, Rounding

Size = tuple[int, int]
"""(height, width)"""

LARGEST_UPSCALING = 4
LARGEST_RESIZED = 1 << 26
"""Pixels, of one channel, before the crop."""
MUCH_ENLARGED = 2
MUCH_CROPPED = 1 / 3


@dataclass(frozen=True)
class Rounded:
    """How a library rounds. scaled: a length times the ratio of two integers. half: where the
    shorter of two lengths begins in the middle of the longer.
    """

    scaled: Callable[[int, int, int], int]
    half: Callable[[int, int], int]


def _down(length: int, up: int, down: int) -> int:
    return length * up // down


ROUNDINGS: dict[Rounding, Rounded] = {
    "moiety": Rounded(
        scaled=lambda length, up, down: round(length * (up / down)),
        half=lambda longer, shorter: (longer - shorter) // 2,
    ),
    "torchvision": Rounded(
        scaled=_down, half=lambda longer, shorter: round((longer - shorter) / 2)
    ),
    "torchxrayvision": Rounded(
        scaled=_down, half=lambda longer, shorter: longer // 2 - shorter // 2
    ),
}
"""Python's `round`, to even, is the one of both libraries that use it."""


@dataclass(frozen=True)
class Box:
    """A part of a picture; `top` and `left` are negative where it begins outside."""

    top: int
    left: int
    size: Size


@dataclass(frozen=True)
class Fit:
    """The `frame` of the picture is resized to `resized`, of which the model sees `crop`.
    `warnings`: what the user should know of it.
    """

    frame: Box
    resized: Size
    crop: Box
    warnings: tuple[Warned, ...] = ()


def fit(found: Size, preprocessing: Preprocessing) -> Fit:
    """How a picture of `found` pixels becomes the model's `size`. BadInput, without the file's
    name, where it cannot, or not well.
    """
    size, rounded = preprocessing.size, ROUNDINGS[preprocessing.rounding]
    if preprocessing.resize == "exact":
        if found != size:
            raise BadInput(
                f"{_pixels(found)} pixels; this model takes exactly {_pixels(size)} and does not "
                "resize"
            )
        return Fit(Box(0, 0, found), size, Box(0, 0, size))
    frame = _frame(found, preprocessing, rounded)
    resized, growth = _resized(frame.size, preprocessing, rounded)
    if growth > LARGEST_UPSCALING:
        raise BadInput(
            f"only {_pixels(found)} pixels, too few for a model that looks at {_pixels(size)}"
        )
    if resized[0] * resized[1] > LARGEST_RESIZED:
        raise BadInput(
            f"{_pixels(found)} pixels, too long and thin for a model that looks at {_pixels(size)}"
        )
    crop = Box(rounded.half(resized[0], size[0]), rounded.half(resized[1], size[1]), size)
    return Fit(frame, resized, crop, tuple(_warnings(found, preprocessing, growth)))


def _frame(found: Size, preprocessing: Preprocessing, rounded: Rounded) -> Box:
    """What is resized: the whole picture, its centre square, or the square around it."""
    match preprocessing.resize:
        case "centre-square":
            side = min(found)
            return Box(rounded.half(found[0], side), rounded.half(found[1], side), (side, side))
        case "pad-to-square":
            side = max(found)
            return Box(-rounded.half(side, found[0]), -rounded.half(side, found[1]), (side, side))
        case _:
            return Box(0, 0, found)


def _resized(frame: Size, preprocessing: Preprocessing, rounded: Rounded) -> tuple[Size, float]:
    """The size before the crop, and by how much the frame grows, in the direction where it grows
    more.
    """
    height, width = preprocessing.size
    side = preprocessing.resize_to
    if preprocessing.resize != "short-side-crop":
        size = preprocessing.size if side is None else (side, side)
        return size, max(size[0] / frame[0], size[1] / frame[1])
    if side is not None:
        up, down = side, min(frame)
    elif height * frame[1] >= width * frame[0]:
        up, down = height, frame[0]
    else:
        up, down = width, frame[1]
    covering = (
        max(height, rounded.scaled(frame[0], up, down)),
        max(width, rounded.scaled(frame[1], up, down)),
    )
    return covering, up / down


def _warnings(found: Size, preprocessing: Preprocessing, growth: float) -> list[Warned]:
    said = []
    if growth > MUCH_ENLARGED:
        said.append(
            Warned(
                "enlarged",
                f"only {_pixels(found)} pixels, enlarged {growth:.1f} times for the model",
            )
        )
    unseen = _unseen(found, preprocessing)
    if unseen > MUCH_CROPPED:
        said.append(
            Warned(
                "cropped",
                f"of {_pixels(found)} pixels {unseen:.0%} are outside the centre, which is all "
                "that the model sees",
            )
        )
    return said


def _unseen(found: Size, preprocessing: Preprocessing) -> float:
    """The part of the picture that its shape costs it: what is cut off to have the input's."""
    match preprocessing.resize:
        case "centre-square":
            wanted = 1.0
        case "short-side-crop":
            wanted = preprocessing.size[0] / preprocessing.size[1]
        case _:
            return 0.0
    shape = found[0] / found[1]
    return 1 - min(shape / wanted, wanted / shape)


def _pixels(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
