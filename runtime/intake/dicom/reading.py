"""A DICOM file to a picture. What cannot be read as one grey image is refused first, then what it
says it is of; so the reason given is the one that no other header would mend.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from moiety.protocols.arrays import F64, U8
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.dicom import checks
from moiety.runtime.intake.dicom.aspect import squared
from moiety.runtime.intake.dicom.display import grey
from moiety.runtime.intake.dicom.header import Header, Refused, unheard
from moiety.runtime.intake.dicom.pixels import decode, read_form, transfer_syntax
from moiety.runtime.intake.picture import Identity, Picture, Warned, pixel_hash
from moiety.runtime.program.bounds import check_memory, memory_limit
from moiety.runtime.program.preprocessing import GreyValue

LARGEST_FILE = 1 << 30
"""Bytes of a file."""
INFLATED = 3
"""Copies of a data set that came deflated."""
PART = 1 << 20

META_BEGINS = 128 + 4 + 12
"""Preamble, magic, and the element that gives the length of the file meta information."""


def read_dicom(path: Path, grey_value: GreyValue = "voi") -> Picture:
    """The radiograph in a file, as it is meant to be seen, or in the range of its stored bits.
    Raises `BadInput`.
    """
    try:
        data = _bytes(path)
        return _picture(data, Header(_dataset(path, data)), grey_value)
    except (Refused, BadInput) as refusal:
        raise BadInput(f"{path}: {refusal}") from None


def not_an_image(path: Path) -> str | None:
    """What a DICOM file is that is no image; None for an image and for what cannot be read."""
    try:
        with unheard():
            return checks.not_an_image(read_file_meta_info(path).MediaStorageSOPClassUID)
    except Exception:
        return None


def instance_uid(path: Path) -> str | None:
    """The SOP Instance UID of a file, its pixels unread; None where it has none, or is no DICOM."""
    try:
        with unheard():
            found = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
            return checks.sop_instance(Header(found))
    except Exception:
        return None


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise Refused(f"larger than {LARGEST_FILE >> 20} MiB, which no radiograph is")
        data = path.read_bytes()
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror})") from None
    if not data:
        raise Refused("an empty file")
    return data


def _dataset(path: Path, data: bytes) -> pydicom.FileDataset:
    try:
        with unheard():
            _check_inflated(path, data)
            return pydicom.dcmread(io.BytesIO(data))
    except InvalidDicomError:
        raise Refused("not a DICOM file: no preamble that ends in the letters DICM") from None
    except (Refused, BadInput):
        raise
    except Exception:  # pydicom raises what it happens upon, and quotes values
        raise Refused("damaged: its DICOM elements cannot be read") from None


def _check_inflated(path: Path, data: bytes) -> None:
    """A few bytes of a deflated data set can inflate to all memory."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        start = META_BEGINS + meta.FileMetaInformationGroupLength
        check_memory("its data set, inflated,", INFLATED * _inflated(data[start:]))


def _inflated(data: bytes) -> int:
    """Bytes that they inflate to, of which few are there at a time; no more are counted than are
    allowed.
    """
    inflater, size, most = zlib.decompressobj(-zlib.MAX_WBITS), 0, memory_limit()
    while size <= most and data and not inflater.eof:
        size += len(inflater.decompress(data, PART))
        data = inflater.unconsumed_tail
    return size


def _picture(data: bytes, header: Header, grey_value: GreyValue) -> Picture:
    sop_class = header.uid("SOPClassUID") or header.media_storage_class
    what = checks.not_an_image(sop_class)
    if what is not None:
        raise Refused(f"{what}, not an image: it has no PixelData")
    syntax = transfer_syntax(header)
    form = read_form(header)
    stored = decode(header, form, syntax)
    said = list(checks.check_meaning(header, sop_class))
    seen, more = grey(stored, header, form, grey_value)
    values, stretched = squared(_exact(seen, stored), header)
    said += [*more, *stretched, *_colour(form.samples)]
    uid = checks.sop_instance(header)
    if uid is None:
        said.append(
            Warned("sop-instance-uid", "it has no SOPInstanceUID that is a UID: duplicates stay")
        )
    identity = Identity(
        file_sha256=hashlib.sha256(data).hexdigest(),
        pixel_sha256=pixel_hash(stored),
        sop_instance_uid=uid,
        shown_sha256=pixel_hash(values),
    )
    return Picture(values, identity, tuple(said))


def _exact(seen: F64, stored: npt.NDArray[Any]) -> U8 | F64:
    """The stored bytes where they are what is seen: 8-bit pictures stay 8-bit pictures."""
    same = stored.dtype == np.uint8 and np.array_equal(np.rint(seen * 255), stored)
    return stored if same and np.abs(seen * 255 - stored).max() < 1e-9 else seen


def _colour(samples: int) -> Iterator[Warned]:
    if samples > 1:
        yield Warned("grey-as-colour", "a colour image whose channels are equal: taken as grey")
