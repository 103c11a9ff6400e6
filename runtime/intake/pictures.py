"""PNG, JPEG, TIFF and BMP files as Pictures: upright, grey or RGB, and never another picture than
the one that the user sees.

What would have to be guessed is refused: what lies under transparent pixels, which of several
pages, colour spaces whose conversion needs a profile, numbers whose black and white are unknown.
ICC profiles and gamma are not applied: a model is trained on stored values.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from moiety.protocols.arrays import U8, U16
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.complaints import heard
from moiety.runtime.intake.depth import CONTAINER_BITS, picture_of
from moiety.runtime.intake.picture import Picture, Warned
from moiety.runtime.intake.room import check_picture

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
GREY, DEEP, COLOURED = ("1", "L", "LA"), ("I;16", "I;16B"), ("P", "PA", "RGB", "RGBA")
UNREADABLE = {
    "CMYK": "CMYK colours, whose conversion needs a profile",
    "YCbCr": "YCbCr colours",
    "LAB": "L*a*b* colours",
    "I": "signed or 32-bit integers, whose black and white are unknown",
    "F": "floating-point pixels, whose black and white are unknown",
}
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, UNSIGNED = 0, 1


def read_picture(data: bytes, file_sha256: str, bit_depth: int | None) -> Picture:
    """The picture in a file's bytes. bit_depth: of grey deeper than 8 bits, where it is known.
    Raises `BadInput`, without the file's name.
    """
    with _decoding() as notes:
        _check_sums(data)
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_pages(picture)
        _check_kind(picture)
        check_picture(picture.height, picture.width)
        inverted, bits = _stored_inverted(picture), bit_depth or _bits_of_file(picture)
        notes += _orientation_note(picture)
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        _check_opaque(upright)
        pixels = _pixels(upright)
    if inverted:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return picture_of(pixels, file_sha256, bits, notes)


@contextmanager
def _decoding() -> Iterator[list[Warned]]:
    """What Pillow raises as `BadInput`, and what it and its decoders mutter as named warnings in
    the list.
    """
    notes: list[Warned] = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        complaints: list[str] = []
        try:
            with heard() as complaints:
                yield notes
        except BadInput:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise BadInput(
                f"more than {Image.MAX_IMAGE_PIXELS:,} pixels, too many for one picture"
            ) from error
        except UnidentifiedImageError as error:
            raise BadInput(
                "damaged picture, or one of a kind that is not read here (its beginning makes no "
                "sense); save it as PNG"
            ) from error
        except MemoryError as error:
            raise BadInput("too many pixels for this machine's memory") from error
        except Exception as error:  # decoders fail in many ways, and their exceptions share no base
            raise BadInput(f"damaged picture ({error})".replace(" ()", "")) from error
    spoken = [*(str(each.message) for each in said), *complaints]
    texts = dict.fromkeys(" ".join(text.split()) for text in spoken)
    notes += [Warned("odd-file", f"the decoder says: {text}") for text in texts]


def _check_sums(data: bytes) -> None:
    """PNG files carry check sums, which decoding alone does not look at."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        if picture.format == "PNG":
            picture.verify()


def _check_pages(picture: Image.Image) -> None:
    pages = getattr(picture, "n_frames", 1)
    if pages != 1:
        raise BadInput(f"holds {pages} pages or frames; save the one that is meant as a file")


def _check_kind(picture: Image.Image) -> None:
    """Can its pixels be taken as they are meant?"""
    mode = "I" if _is_signed(picture) else picture.mode
    if mode not in (*GREY, *DEEP, *COLOURED):
        what = UNREADABLE.get(mode, f"pixels of Pillow's kind {mode}")
        raise BadInput(f"{what}; save it as grey of 8 or 16 bits, or as 8-bit RGB")
    if mode not in DEEP and _sample_bits(picture) > 8:
        raise BadInput(
            "colours or transparency of 16 bits; save it as grey of 8 or 16 bits, or as 8-bit RGB"
        )


def _is_signed(picture: Image.Image) -> bool:
    """Signed 8-bit samples, which Pillow takes as they are for grey."""
    return (
        isinstance(picture, TiffImagePlugin.TiffImageFile)
        and picture.mode in GREY
        and picture.tag_v2.get(SAMPLE_FORMAT, (UNSIGNED,))[0] != UNSIGNED
    )


def _sample_bits(picture: Image.Image) -> int:
    """Bits of a sample as the file stores it: for more than one, Pillow cuts them to 8 in
    silence.
    """
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return max(picture.tag_v2.get(BITS_PER_SAMPLE, (1,)))
    stored = str(picture.tile[0].args) if isinstance(picture, ImageFile.ImageFile) else ""
    return 16 if ";16" in stored else 8


def _bits_of_file(picture: Image.Image) -> int | None:
    """The depth of deep grey, where the file itself states less than 16 bits."""
    bits = _sample_bits(picture)
    return bits if 8 < bits < CONTAINER_BITS else None


def _stored_inverted(picture: Image.Image) -> bool:
    """Is 0 white, and does Pillow leave it so? (Of 8 bits and fewer it does not.)"""
    return (
        isinstance(picture, TiffImagePlugin.TiffImageFile)
        and picture.mode in DEEP
        and picture.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
    )


def _orientation_note(picture: Image.Image) -> list[Warned]:
    found = picture.getexif().get(ExifTags.Base.Orientation, 1)
    if found in range(1, 9):
        return []
    return [
        Warned("orientation", f"EXIF orientation {found!r} means nothing; taken as it is stored")
    ]


def _check_opaque(picture: Image.Image) -> None:
    """What lies under transparent pixels is chance, and over which ground they stand is unknown."""
    if not picture.has_transparency_data:
        return
    if picture.mode in DEEP:
        opaque = not (np.asarray(picture) == picture.info["transparency"]).any()
    else:
        opaque = np.asarray(picture.convert("RGBA"))[..., 3].min() == 255
    if not opaque:
        raise BadInput(
            "has transparent pixels, which look different on every ground; save it without an "
            "alpha channel"
        )


def _pixels(picture: Image.Image) -> U8 | U16:
    """Grey `(H,W)` or RGB `(H,W,3)`; opaque alpha is dropped."""
    if picture.mode in DEEP:
        return np.asarray(picture, np.uint16)
    return np.asarray(picture.convert("L" if picture.mode in GREY else "RGB"))
