"""How the client makes the input tensor from a picture: the public description.

The steps are always these, in this order (docs/preprocessing.md has them with their formulas):

 1. grey values 0 to 1 (`grey_value`, `bit_depth`: for the readers of DICOM and of deep pictures)
 2. transposed, if so trained
 3. one channel or three (`colour`), in their order (`channel_order`)
 4. stretched to the picture's own black and white (`stretch`)
 5. framed, resized and cropped (`resize`, `resize_to`, `rounding`, `interpolation`, `antialias`,
    `fill`)
 6. `((value * scale + offset) - mean[c]) / std[c]`

`runtime/intake/preprocess.py` does them. Everything beside `size`, `channels`, `mean` and `std` has
a default, so that older descriptions keep their meaning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from moiety.protocols.errors import BadArtifact

Resize = Literal["exact", "short-side-crop", "squash", "pad-to-square", "centre-square"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "area", "box"]
Antialias = Literal["none", "widened", "gaussian"]
Rounding = Literal["moiety", "torchvision", "torchxrayvision"]
Colour = Literal["as-input", "luma", "mean", "first"]
GreyValue = Literal["voi", "full-range"]

METHODS: Final[frozenset[tuple[Interpolation, Antialias]]] = frozenset(
    {
        ("nearest", "none"),
        ("bilinear", "none"),
        ("bilinear", "widened"),
        ("bilinear", "gaussian"),
        ("bicubic", "none"),
        ("bicubic", "widened"),
        ("area", "none"),
        ("box", "widened"),
    }
)
"""The interpolations that there are, each with the ways against aliasing that it goes with."""

LARGEST_CROP: Final = 4
"""`resize_to` is at most so many times the longer side of `size`."""
LARGEST_NUMBER: Final = 1e6
BIT_DEPTHS: Final = range(8, 17)


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of a picture to an input of `channels` planes of `size` (H, W); see above and
    docs/preprocessing.md.

    mean, std: per channel of the model, in its order. resize_to: the short side before the crop
    ("short-side-crop"), or both sides; None: no larger than the crop needs. fill: what lies outside
    the picture, 0 black to 1 white. bit_depth: of pictures deeper than 8 bits whose file cannot
    say; None: the file's.
    """

    version: Literal[1] = 1
    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize = "short-side-crop"
    resize_to: int | None = None
    interpolation: Interpolation = "bilinear"
    antialias: Antialias = "widened"
    rounding: Rounding = "moiety"
    fill: float = 0.0
    transposed: bool = False
    colour: Colour = "as-input"
    channel_order: Literal["rgb", "bgr"] = "rgb"
    stretch: Literal["none", "min-max"] = "none"
    scale: float = 1.0
    offset: float = 0.0
    grey_value: GreyValue = "voi"
    bit_depth: int | None = None

    def check(self, shape: tuple[int, ...]) -> None:
        """BadArtifact unless it makes an input of this shape, by steps that there are."""
        if (self.channels, *self.size) != picture_shape(shape):
            raise BadArtifact(
                f"the preprocessing makes {(self.channels, *self.size)}, the input takes {shape}"
            )
        if self.channels not in (1, 3):
            raise BadArtifact(
                f"the preprocessing makes {self.channels} channels; pictures have 1 or 3"
            )
        self._check_numbers()
        self._check_steps()

    def _check_numbers(self) -> None:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise BadArtifact(
                f"the preprocessing has {len(self.mean)} means and {len(self.std)} standard "
                f"deviations for {self.channels} channels"
            )
        if not all(map(_usable, (*self.mean, self.offset))) or not all(
            _usable(s) and s >= 1 / LARGEST_NUMBER for s in self.std
        ):
            raise BadArtifact(
                "the preprocessing has a mean, offset or standard deviation that is not a number, "
                f"is beyond {LARGEST_NUMBER:g}, or is not positive"
            )
        if not _usable(self.scale) or abs(self.scale) < 1 / LARGEST_NUMBER:
            raise BadArtifact(
                f"the preprocessing's scale {self.scale} is not a number, is zero, or is beyond "
                f"{LARGEST_NUMBER:g}"
            )
        if not 0 <= self.fill <= 1:
            raise BadArtifact(
                f"the preprocessing's fill {self.fill} is not between 0 (black) and 1 (white)"
            )

    def _check_steps(self) -> None:
        if (self.interpolation, self.antialias) not in METHODS:
            fits = sorted(anti for name, anti in METHODS if name == self.interpolation)
            raise BadArtifact(
                f"the preprocessing's interpolation {self.interpolation} goes with antialias "
                f"{' or '.join(fits)}, not with {self.antialias}"
            )
        if self.resize_to is not None:
            side = max(self.size)
            if self.resize == "exact":
                raise BadArtifact("the preprocessing resizes nothing (exact), but has a resize_to")
            if not side <= self.resize_to <= LARGEST_CROP * side:
                raise BadArtifact(
                    f"the preprocessing resizes to {self.resize_to} before the crop; for an input "
                    f"of {self.size[0]}x{self.size[1]} it must be {side} to {LARGEST_CROP * side}"
                )
        if self.bit_depth is not None and self.bit_depth not in BIT_DEPTHS:
            raise BadArtifact(
                f"the preprocessing's bit depth {self.bit_depth} is not one of "
                f"{BIT_DEPTHS[0]} to {BIT_DEPTHS[-1]}"
            )

    def reach(self) -> float:
        """The largest magnitude that a value of the input can have."""
        ends = (self.offset, self.scale + self.offset)
        channels = zip(self.mean, self.std, strict=True)
        return max(max(abs(end - mean) for end in ends) / std for mean, std in channels)


def _usable(number: float) -> bool:
    return math.isfinite(number) and abs(number) <= LARGEST_NUMBER


def picture_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """(C, H, W) of a picture for an input of `shape`, which may be (H, W, C) as TensorFlow's
    exporters have it: where the last axis, and not the first, can be the colours (1 or 3).
    """
    last = len(shape) == 3 and shape[0] not in (1, 3) and shape[2] in (1, 3)
    return (shape[2], shape[0], shape[1]) if last else tuple(shape)


def takes_pictures(shape: Sequence[int]) -> bool:
    """An input of `shape` can be made from a picture: one of its three axes is 1 or 3 colours."""
    return len(shape) == 3 and picture_shape(shape)[0] in (1, 3)
