"""The hospital's files: pictures, tensors, DICOM."""

from __future__ import annotations

import io
import random
import warnings
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, TiffImagePlugin
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.collect import collect
from moiety.runtime.intake.dicom import instance_uid, read_dicom
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program import Preprocessing
from tests.fuzz.mutation import INTEGERS, of_bytes
from tests.fuzz.target import Target, laid
from tests.support.dicom import SMALL, lut, radiograph

HOW = Preprocessing(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,), resize="squash")
READER = Reader((1, 8, 8), HOW)

# --- pictures and tensors -------------------------------------------------------------------------


def run_picture(data: bytes) -> None:
    """By a name that says nothing, so that the contents alone tell what it is."""
    path = laid("image.png", data)
    collect([path])
    load(path, READER)


@cache
def png() -> bytes:
    """A small grey picture."""
    return drawn("PNG", np.arange(256, dtype=np.uint8).reshape(16, 16))


def drawn(format: str, pixels: npt.NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def picture_seeds() -> Iterator[bytes]:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    deep = grey.astype(np.uint16) * 16
    colour = np.stack([grey, grey.T, grey[::-1]], axis=-1)
    yield png()
    yield from (drawn("PNG", x) for x in (deep, colour))
    yield from (drawn("JPEG", x) for x in (grey, colour))
    yield drawn("JPEG", grey, progressive=True)
    yield from (drawn("BMP", x) for x in (grey, colour))
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield drawn("TIFF", grey, compression=compression)
    yield drawn("TIFF", deep, tiffinfo=_white_is_zero())
    paletted = Image.fromarray(colour).quantize(16)
    yield drawn("PNG", np.asarray(paletted))
    for array in (grey, deep, colour, np.zeros((1, 8, 8), np.float32), np.zeros((8, 8), ">f2")):
        file = io.BytesIO()
        np.save(file, array)
        yield file.getvalue()


def _white_is_zero() -> TiffImagePlugin.ImageFileDirectory_v2:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    return tags


def of_picture(data: bytes, rng: random.Random) -> bytes:
    """PNG: a chunk changed, and its check sum made right again; else bytes."""
    mark = b"\x89PNG\r\n\x1a\n"
    if not data.startswith(mark):
        return of_bytes(data, rng)
    chunks, at = [], len(mark)
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    which = rng.randrange(len(chunks))
    kind, body = chunks[which]
    match rng.randrange(4):
        case 0:
            chunks.insert(rng.randrange(len(chunks)), chunks[which])
        case 1 if kind == b"IHDR" or which:
            word = rng.choice(INTEGERS[:24]) & 0xFFFFFFFF
            place = rng.randrange(max(1, len(body) - 3))
            chunks[which] = kind, body[:place] + word.to_bytes(4, "big") + body[place + 4 :]
        case 2 if kind == b"IDAT":
            pixels = zlib.decompressobj().decompress(body, 1 << 16)
            chunks[which] = kind, zlib.compress(of_bytes(pixels, rng) * rng.choice((1, 1, 9)))
        case _:
            chunks[which] = kind, of_bytes(body, rng)
    return mark + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        for kind, body in chunks
    )


PICTURE = Target("picture", run_picture, picture_seeds, of_picture, longest=1 << 12)

# --- DICOM ----------------------------------------------------------------------------------------


def run_dicom(data: bytes) -> None:
    path = laid("image.dcm", data)
    instance_uid(path)
    try:
        collect([path])
    except BadInput:
        return
    try:
        read_dicom(path, "full-range")
    except BadInput:
        read_dicom(path, "voi")
    load(path, READER)


def dicom_seeds() -> Iterator[bytes]:
    for path in sorted(SMALL.glob("*.dcm")):
        if path.stat().st_size <= DICOM_LONGEST:
            yield path.read_bytes()
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 32
    yield _written(radiograph(pixels))
    yield _written(radiograph(pixels.astype(np.uint8), PhotometricInterpretation="MONOCHROME1"))
    yield _written(radiograph(pixels, WindowCenter=[512, 40], WindowWidth=[1024, 400]))
    yield _written(radiograph(pixels, VOILUTSequence=[lut(0, list(range(256)), 8)]))
    slope = {"RescaleSlope": 2, "RescaleIntercept": -1024, "PixelRepresentation": 0}
    yield _written(radiograph(pixels, ModalityLUTSequence=[lut(0, list(range(64)), 16)]))
    yield _written(radiograph(pixels, PixelAspectRatio=["2", "1"], **slope))
    deflated = radiograph(pixels)
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    yield _written(deflated)
    packed = radiograph(pixels)
    packed.compress(RLELossless)
    yield _written(packed)


DICOM_LONGEST = 1 << 14


def _written(dataset: FileDataset) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


WORDS = ("", "1", "-1", "0", "1e400", "nan", "MONOCHROME1", "RGB", "x" * 70, "1.2.3", "\\", "٣")


def of_dicom(data: bytes, rng: random.Random) -> bytes:
    """An element changed, taken out, doubled in a sequence, or put in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            for _ in range(rng.choice((1, 1, 2, 4))):
                _change(dataset, rng)
            file = io.BytesIO()
            pydicom.dcmwrite(file, dataset)
        except Exception:  # the library may not write what was made here, either
            return of_bytes(data, rng)
    return file.getvalue()


def _change(dataset: Dataset, rng: random.Random) -> None:
    holder = rng.choice((dataset, dataset, getattr(dataset, "file_meta", dataset)))
    element = rng.choice(list(holder))
    if element.VR == "SQ" and len(element.value) and rng.random() < 0.7:
        _change(element.value[0], rng)
        return
    if rng.randrange(5) == 0:
        del holder[element.tag]
        return
    value = element.value
    match value:
        case int():
            element.value = rng.choice((*INTEGERS[:16], value + 1, value - 1, [value, value]))
        case bytes():
            element.value = of_bytes(value, rng)
        case _ if element.VR in ("US", "SS", "UL"):
            element.value = [rng.choice(INTEGERS[:16]) for _ in range(rng.randrange(5))]
        case _ if element.VR != "SQ":
            element.value = rng.choice((*WORDS, str(value)[::-1], [str(value)] * 3))
        case _:
            element.value = list(element.value) * 2


DICOM = Target("dicom", run_dicom, dicom_seeds, of_dicom, longest=DICOM_LONGEST)
