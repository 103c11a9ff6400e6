"""Where compressed images say their size, and where they end: enough to find a header that lies
about them and data that were cut.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

_START, _SIZE = b"\xff\xd8", range(0xC0, 0xD0)
_NOT_SIZE = (0xC4, 0xC8, 0xCC)  # tables among the markers of the frame
_JPEG_LS = 0xF7
_END = b"\xff\xd9"
_JP2 = b"\x00\x00\x00\x0cjP  "
_J2K_START = b"\xff\x4f\xff\x51"


class Size(NamedTuple):
    rows: int
    columns: int
    samples: int

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns} pixels of {self.samples} samples"


@dataclass(frozen=True)
class Kind:
    """A family of codestreams: how one begins, and the size that it states (None: damaged)."""

    name: str
    starts: tuple[bytes, ...]
    size: Callable[[bytes], Size | None]

    def begins(self, data: bytes) -> bool:
        return data.startswith(self.starts)

    def is_whole(self, stream: bytes) -> bool:
        """It has its end marker, behind which is filling alone."""
        return stream.rstrip(b"\xff\x00").endswith(_END)


def jpeg_size(stream: bytes) -> Size | None:
    """Of JPEG and JPEG-LS, by their frame header."""
    at = 2
    while at + 9 < len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == _JPEG_LS or (marker in _SIZE and marker not in _NOT_SIZE):
            rows, columns, samples = struct.unpack_from(">HHB", stream, at + 5)
            return Size(rows, columns, samples)
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None


def j2k_size(stream: bytes) -> Size | None:
    """Of JPEG 2000 and HTJ2K, by their SIZ segment; inside of a JP2 file too."""
    at = stream.find(_J2K_START) if stream.startswith(_JP2) else 0
    if at < 0 or not stream.startswith(_J2K_START, at) or len(stream) < at + 44:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", stream, at + 8)
    return Size(bottom - top, right - left, int.from_bytes(stream[at + 40 : at + 42], "big"))


JPEG = Kind("JPEG", (_START + b"\xff",), jpeg_size)
JPEG2000 = Kind("JPEG 2000", (_J2K_START, _JP2), j2k_size)
