"""The bytes of a file, and what they are by their first ones, whatever the file's name says."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from moiety.protocols.errors import BadInput

LARGEST_FILE = 1 << 30
HEAD = 132
"""Bytes that tell what a file is; DICOM's mark is the last four of them."""

SUFFIXES = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".npy": "NPY",
    ".dcm": "DICOM",
}
READABLE = ("PNG", "JPEG", "TIFF", "BMP", "NPY", "DICOM")
MARKS = (
    # First: what is before it may be a TIFF header, for viewers of both.
    (128, b"DICM", "DICOM"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"BM", "BMP"),
    (0, b"\x93NUMPY", "NPY"),
    # Known by name only, so that a refusal can say it.
    (0, b"GIF8", "GIF"),
    (0, b"PK\x03\x04", "NPZ or other ZIP archive"),
    (0, b"%PDF", "PDF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftyp", "HEIC, AVIF or other MP4"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\x89HDF", "HDF5"),
)

SPECIAL = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def what_is_in_the_way(path: Path) -> str | None:
    """Why `path` is no regular file that could be opened; None if it is one. Opens nothing: opening
    a FIFO can wait for ever, and opening a device can do anything.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ENOENT:
            return "a broken link" if path.is_symlink() else "does not exist"
        return os.strerror(error.errno or 0).lower()
    except ValueError:
        return "does not exist"  # a name that no file can have, with a zero byte in it
    return None if stat.S_ISREG(mode) else SPECIAL.get(stat.S_IFMT(mode), "not a regular file")


def read_contents(path: Path) -> bytes:
    """All of a regular file. Raises `BadInput`, without the file's name."""
    if obstacle := what_is_in_the_way(path):
        raise BadInput(f"{obstacle}, not an image file")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadInput(f"larger than {LARGEST_FILE >> 20} MiB, too large for one image")
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror or error})") from error
    if not data:
        raise BadInput("is empty (0 bytes)")
    return data


def format_of(head: bytes) -> str | None:
    """The format of a file by its first `HEAD` bytes: one of `READABLE`, or the name of one that is
    not read here, or None.
    """
    for offset, mark, name in MARKS:
        if head.startswith(mark, offset):
            return name
    return None
