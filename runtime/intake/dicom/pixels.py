"""The pixel data of one grey image: that a header's description of it is whole and true, and the
values as they are stored.

What a decoder makes of data that contradict the header is rarely an error and mostly a wrong
picture, so sizes are compared before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from moiety.runtime.intake.complaints import heard
from moiety.runtime.intake.dicom import codestreams
from moiety.runtime.intake.dicom.header import Header, Refused, is_uid, named, unheard
from moiety.runtime.intake.dicom.words import shown
from moiety.runtime.intake.room import check_radiograph

LARGEST = 1 << 27
"""Pixels of an image; the largest detectors have an eighth of it."""

GREY = ("MONOCHROME1", "MONOCHROME2")
_JPEG = {*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes}
_HTJ2K = {"1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"}
_JPEG2000 = {*JPEG2000TransferSyntaxes, *_HTJ2K}

NEWER = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
"""Transfer syntaxes that pydicom has no name for."""


@dataclass(frozen=True)
class Form:
    """The Image Pixel module of one image, checked."""

    rows: int
    columns: int
    samples: int
    photometric: str
    allocated: int
    bits: int
    signed: bool
    big_endian: bool

    @property
    def least(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def largest(self) -> int:
        return self.least + (1 << self.bits) - 1

    @property
    def bytes(self) -> int:
        """Of pixel data that is not compressed."""
        return self.rows * self.columns * self.samples * self.allocated // 8

    def meant(self, value: int) -> int:
        """A stored value that was written without its sign, or with one that it has not. One that
        the unused bits alone can hold stays there: it is no pixel's.
        """
        if self.signed and self.largest < value < 1 << self.bits:
            return value - (1 << self.bits)
        container = 1 << self.allocated
        lowest = -container // 2 if self.signed else 0
        return (value - lowest) % container + lowest


def transfer_syntax(header: Header) -> UID:
    """The file's, where it can be decoded here. Raises `Refused`."""
    found = header.transfer_syntax
    if not found:
        raise Refused("its file meta information has no transfer syntax (0002,0010)")
    if not is_uid(found):
        raise Refused("its transfer syntax (0002,0010) is no UID")
    uid = UID(found)
    name = NEWER.get(uid, uid.name)
    try:
        available = get_decoder(uid).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise Refused(
            f"the transfer syntax {uid} ({name}) cannot be decoded here; export it uncompressed"
        )
    return uid


def read_form(header: Header) -> Form:
    """What the header says of its pixels. Raises `Refused` where it is incomplete, contradicts
    itself, or is of no single grey image.
    """
    _check_presence(header)
    frames = header.whole("NumberOfFrames")
    if frames is not None and not 0 <= frames <= 1:
        raise Refused(f"{frames} frames; a single image is wanted")
    photometric = header.word("PhotometricInterpretation")
    samples = header.needed("SamplesPerPixel")
    _check_colour(photometric, samples)
    rows, columns = header.needed("Rows"), header.needed("Columns")
    if rows < 1 or columns < 1 or rows * columns > LARGEST:
        raise Refused(f"Rows {rows}, Columns {columns}: between 1 and {LARGEST} pixels are taken")
    check_radiograph(rows, columns)
    allocated, bits = header.needed("BitsAllocated"), header.needed("BitsStored")
    if allocated not in (8, 16) or not 1 <= bits <= allocated:
        raise Refused(f"BitsAllocated {allocated}, BitsStored {bits}: 8 or 16 bits are taken")
    high = header.needed("HighBit")
    if high != bits - 1:
        raise Refused(f"HighBit {high} is not BitsStored - 1, {bits - 1}")
    sign = header.needed("PixelRepresentation")
    if sign not in (0, 1):
        raise Refused(f"{named('PixelRepresentation')} is {sign}, neither 0 nor 1")
    return Form(rows, columns, samples, photometric, allocated, bits, bool(sign), header.big_endian)


def _check_presence(header: Header) -> None:
    if header.has("PixelData"):
        return
    for keyword in ("FloatPixelData", "DoubleFloatPixelData"):
        if header.has(keyword):
            raise Refused(f"no integer PixelData: {keyword}, which no radiograph has")
    raise Refused("no PixelData: a header without an image, or cut off before it")


def _check_colour(photometric: str, samples: int) -> None:
    if not photometric:
        raise Refused(f"{named('PhotometricInterpretation')} is absent")
    if photometric == "PALETTE COLOR":
        raise Refused("palette colour; a grey image is wanted")
    grey = photometric in GREY
    colour = photometric.split()[0] in ("RGB", "YBR")
    if not grey and not colour:
        raise Refused(
            f"PhotometricInterpretation {shown(photometric)} is neither MONOCHROME1 nor MONOCHROME2"
        )
    if samples != (1 if grey else 3):
        raise Refused(f"{shown(photometric)} with {samples} samples per pixel")


def decode(header: Header, form: Form, syntax: UID) -> npt.NDArray[Any]:
    """The pixels as they are stored, integers `(rows, columns)`; colour with three equal channels
    is grey. Raises `Refused`.
    """
    data = header.data("PixelData")
    if not isinstance(data, bytes) or not data:
        raise Refused("PixelData is empty")
    if syntax.is_encapsulated:
        _check_encapsulated(data, form, syntax)
    else:
        _check_native(data, form)
    if form.photometric in GREY:
        header.dataset.PhotometricInterpretation = form.photometric  # in the decoders' spelling
    try:
        with unheard(), heard() as complaints:
            pixels: npt.NDArray[Any] = pixel_array(header.dataset)
    except Exception:  # decoders raise all kinds, and quote what they could not read
        raise Refused(
            f"its pixels cannot be decoded ({syntax.name}): damaged, or of a kind that the "
            "installed decoders do not know; export it uncompressed"
        ) from None
    if complaints:
        raise Refused(f"its {syntax.name} data are damaged: the decoder filled up what is missing")
    return _one_channel(pixels, form)


def _check_native(data: bytes, form: Form) -> None:
    surplus = len(data) - form.bytes
    if surplus < 0:
        raise Refused(
            f"truncated: PixelData has {len(data)} bytes, Rows x Columns ({form.rows} x "
            f"{form.columns}) needs {form.bytes}"
        )
    row = form.bytes // form.rows
    if surplus > 1 and (surplus >= row or any(data[form.bytes :])):
        raise Refused(
            f"PixelData has {len(data)} bytes, Rows x Columns ({form.rows} x {form.columns}) only "
            f"{form.bytes}: which of them is wrong?"
        )


def _check_encapsulated(data: bytes, form: Form, syntax: UID) -> None:
    """One frame, whole, and of the header's size."""
    try:
        with unheard():
            offsets = parse_basic_offsets(data)
            fragments = [bytes(each) for each in generate_fragments(data)]
    except Exception:
        raise Refused("truncated: its compressed PixelData is not whole") from None
    fragments = fragments[1:]  # the first item is the table of offsets
    if syntax in _JPEG:
        kind: codestreams.Kind | None = codestreams.JPEG
    else:
        kind = codestreams.JPEG2000 if syntax in _JPEG2000 else None
    begins = sum(kind.begins(each) for each in fragments) if kind else 1
    if len(offsets) > 1 or begins > 1:
        raise Refused(f"{max(len(offsets), begins)} frames in its PixelData; one image is wanted")
    stream = b"".join(fragments)
    if not stream:
        raise Refused("PixelData is empty")
    if kind is not None:
        _check_codestream(stream, form, kind)


def _check_codestream(stream: bytes, form: Form, kind: codestreams.Kind) -> None:
    if not kind.is_whole(stream):
        raise Refused(f"truncated: its {kind.name} data have no end")
    size = kind.size(stream)
    wanted = codestreams.Size(form.rows, form.columns, form.samples)
    if size is None:
        raise Refused(f"its {kind.name} data are damaged")
    if size != wanted:
        raise Refused(
            f"its {kind.name} data are of {size}, Rows and Columns of {wanted}: which is wrong?"
        )


def _one_channel(pixels: npt.NDArray[Any], form: Form) -> npt.NDArray[Any]:
    grey = (form.rows, form.columns)
    if pixels.shape == (*grey, 3):
        if not (pixels == pixels[..., :1]).all():
            raise Refused("a colour image; a grey one is wanted")
        pixels = np.ascontiguousarray(pixels[..., 0])
    if pixels.shape != grey or pixels.dtype.kind not in "iu":
        raise Refused("its decoded pixels have not the header's shape")
    if pixels.min() == pixels.max():
        raise Refused(f"a constant image: all pixels are {pixels.min()}")
    if pixels.min() < form.least or pixels.max() > form.largest:
        raise Refused(
            f"pixels from {pixels.min()} to {pixels.max()}, BitsStored {form.bits} allows "
            f"{form.least} to {form.largest}"
        )
    return pixels
