"""What the rest of the intake asks of DICOM. pydicom is an extra: it is loaded with the first file
that needs it.
"""

from __future__ import annotations

from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.intake import extras
from moiety.runtime.intake.picture import Picture
from moiety.runtime.program.preprocessing import GreyValue

SUFFIXES = frozenset({".dcm", ".dicom"})
READING = "moiety.runtime.intake.dicom.reading"
_PREAMBLE, _MAGIC = 128, b"DICM"


def is_dicom(path: Path) -> bool:
    """Whether a regular file is DICOM by its content, or says so by its suffix."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except OSError:
        return False


def read_dicom(path: Path, grey_value: GreyValue = "voi") -> Picture:
    """The radiograph in a DICOM file. Raises `BadInput` with the one reason not to take it."""
    picture: Picture = extras.load(READING, f"{path}: DICOM").read_dicom(path, grey_value)
    return picture


def not_an_image(path: Path) -> str | None:
    """What a DICOM file is that belongs among images without being one ("a structured report"), so
    that a walk through a folder skips it; None for everything else.
    """
    try:
        kind: str | None = extras.load(READING, f"{path}: DICOM").not_an_image(path)
    except BadInput:
        return None  # `read_dicom` will say what is wrong
    return kind


def instance_uid(path: Path) -> str | None:
    """The SOP Instance UID of a DICOM file; None for every other. Raises `BadInput` where pydicom
    is not installed.
    """
    if not is_dicom(path):
        return None
    uid: str | None = extras.load(READING, f"{path}: DICOM").instance_uid(path)
    return uid
