"""Pixels of 8 bits or more to a Picture, and whether they fill the range that they are read by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.protocols.arrays import F64, U8, U16
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.picture import Identity, Picture, Warned, pixel_hash

CONTAINER_BITS = 16
"""Of what holds deep pixels where no one states how many of its bits they use."""


def picture_of(
    pixels: U8 | U16, file_sha256: str, bit_depth: int | None, notes: Sequence[Warned] = ()
) -> Picture:
    """The Picture of decoded pixels, 0 black. bit_depth: of uint16, where it is known. Raises
    `BadInput`.
    """
    identity = Identity(file_sha256=file_sha256, pixel_sha256=pixel_hash(pixels))
    if pixels.dtype == np.uint8:
        values = np.ascontiguousarray(pixels, np.uint8)
        return Picture(values, identity, (*notes, *low_peak(pixels, 8, stated=True)))
    bits = bit_depth or CONTAINER_BITS
    warnings = low_peak(pixels, bits, stated=bit_depth is not None)
    return Picture(unit_range(pixels, bits), identity, (*notes, *warnings))


def unit_range(pixels: U8 | U16, bits: int) -> F64:
    """Pixels of `bits` bits to 0..1. Raises `BadInput` for a pixel that has more."""
    largest, peak = (1 << bits) - 1, int(pixels.max())
    if peak > largest:
        raise BadInput(
            f"the brightest pixel is {peak}, and {bits} bits end at {largest}: state the bit depth "
            "that the picture has"
        )
    return pixels / np.float64(largest)


def low_peak(pixels: U8 | U16, bits: int, stated: bool) -> tuple[Warned, ...]:
    """A warning if the brightest pixel is far below what `bits` bits can hold: then the range is
    another one, and the model would see a picture that is almost black.

    Where the depth is only that of the container, a picture that leaves the top bit unused is
    suspected; where it is known, one that leaves two.
    """
    largest, peak = (1 << bits) - 1, int(pixels.max())
    if bits - peak.bit_length() < (2 if stated else 1):
        return ()
    text = f"the brightest pixel is {peak} of {largest}"
    if not stated:
        guess = max(8, peak.bit_length())
        text += f": {guess} bits? then state it with --bit-depth {guess}"
    return (Warned("low-peak", text),)
