"""What reading a picture takes of memory, from the size that its header states: checked before a
pixel is decoded, for a file of a kilobyte can state 2^32 pixels.

The figures are peaks of whole loads (decoding, display, resampling), measured on pictures of 2^24
pixels: 24 bytes a pixel at most for a PNG, 50 for a DICOM file; with something to spare.
"""

from __future__ import annotations

from moiety.runtime.program.bounds import check_memory

PICTURE = 32
"""Bytes a pixel: grey, deep grey or RGB with its planes as floats."""
RADIOGRAPH = 64
"""Bytes a pixel of DICOM, which is displayed in double precision."""


TABLE = 32
"""Bytes of a pixel's weight in another one: a table of them, and what it is made of."""


def check_picture(rows: int, columns: int) -> None:
    """Raises `BadInput`."""
    _check(rows, columns, PICTURE)


def check_radiograph(rows: int, columns: int) -> None:
    """The same of a DICOM file; `BadInput`, without the file's name."""
    _check(rows, columns, RADIOGRAPH)


def check_weights(source: int, target: int) -> None:
    """Raises `BadInput`, without the file's name, where what each of `source` pixels counts for in
    each of `target` is too much: a strip may be within all other limits.
    """
    check_memory(f"resizing {source} pixels in a row to {target}", source * target * TABLE)


def _check(rows: int, columns: int, each: int) -> None:
    check_memory(f"a picture of {columns} x {rows} pixels", rows * columns * each)
