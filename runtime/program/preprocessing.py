"""How the client makes the input tensor from a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from moiety.protocols.errors import BadArtifact


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`x[c] = (gray_or_rgb / 255 - mean[c]) / std[c]`, of a picture resized to `size` (H, W).

    bit_depth: of pictures deeper than 8 bits whose file cannot say; None: the file's.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Literal["exact", "short-side-crop"] = "short-side-crop"
    bit_depth: int | None = None

    def check(self, shape: tuple[int, ...]) -> None:
        """BadArtifact unless it makes an input of this shape."""
        if (self.channels, *self.size) != picture_shape(shape):
            raise BadArtifact(
                f"the preprocessing makes {(self.channels, *self.size)}, the input takes {shape}"
            )
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise BadArtifact(
                f"the preprocessing needs {self.channels} means and standard deviations"
            )
        if not all(map(math.isfinite, self.mean)) or not all(
            math.isfinite(s) and s > 0 for s in self.std
        ):
            raise BadArtifact(
                "the preprocessing has a mean or standard deviation that is not a number, "
                "or is not positive"
            )


def picture_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """(C, H, W) of a picture for an input of `shape`, which may be (H, W, C) as TensorFlow's
    exporters have it: where the last axis, and not the first, can be the colours (1 or 3).
    """
    last = len(shape) == 3 and shape[0] not in (1, 3) and shape[2] in (1, 3)
    return (shape[2], shape[0], shape[1]) if last else tuple(shape)
