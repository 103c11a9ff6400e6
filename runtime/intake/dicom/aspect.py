"""Pixels that are not square: the picture is stretched to such as are."""

from __future__ import annotations

import numpy as np
from PIL import Image

from moiety.protocols.arrays import F64, U8
from moiety.runtime.intake.dicom.header import Header, Refused
from moiety.runtime.intake.picture import Warned
from moiety.runtime.intake.room import check_radiograph

SPACINGS = ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""Vertical, then horizontal; the first that is given, and not zero, counts."""

SQUARE, LARGEST = 1.01, 4.0


def squared(values: U8 | F64, header: Header) -> tuple[U8 | F64, list[Warned]]:
    """The shorter side's pixels repeated, interpolated, as far as the ratio asks."""
    ratio = _ratio(header)
    if 1 / SQUARE <= ratio <= SQUARE:
        return values, []
    if not 1 / LARGEST <= ratio <= LARGEST:
        raise Refused(f"pixels {ratio:.3g} times as high as wide; {LARGEST:g} times are taken")
    rows, columns = values.shape
    size = (round(columns / min(ratio, 1)), round(rows * max(ratio, 1)))
    check_radiograph(size[1], size[0])
    depth = values if values.dtype == np.uint8 else values.astype(np.float32)
    stretched = np.asarray(Image.fromarray(depth).resize(size, Image.Resampling.BILINEAR))
    said = Warned(
        "non-square-pixels",
        f"pixels are {ratio:.3g} times as high as wide: {columns}x{rows} pixels were stretched to "
        f"{size[0]}x{size[1]}",
    )
    exact = stretched if values.dtype == np.uint8 else stretched.astype(np.float64)
    return exact, [said]


def _ratio(header: Header) -> float:
    """Height of a pixel over its width."""
    for keyword in SPACINGS:
        spacing = header.numbers(keyword)
        if len(spacing) == 2 and min(spacing) > 0:
            return spacing[0] / spacing[1]
    return 1.0
