"""Pictures as their users see them: orientation, depth, transparency, pages, and files that are not
what they say.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from moiety.protocols.arrays import U8, U16
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.picture import Picture, pixel_hash
from moiety.runtime.intake.pictures import read_picture

UPRIGHT: dict[int, Callable[[Any], Any]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
"""EXIF orientation -> the stored pixels as they are to be seen (Exif 2.3, 4.6.4)."""


def read(data: bytes, bit_depth: int | None = None) -> Picture:
    """With nothing of Pillow's said to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_picture(data, sha256(data).hexdigest(), bit_depth)


def refused(data: bytes, message: str, bit_depth: int | None = None) -> None:
    with pytest.raises(BadInput, match=message):
        read(data, bit_depth)


def encoded(picture: Any, form: str, **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(size: tuple[int, int], bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG made by hand, for what Pillow reads and never writes; rows: each after its filter."""

    def chunk(name: bytes, data: bytes) -> bytes:
        sums = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + sums

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def packed(values: Any, bits: int) -> bytes:
    """The low bits of each value, one after the other."""
    each = np.unpackbits(np.asarray(values, ">u2").view(np.uint8)).reshape(-1, 16)
    return np.packbits(each[:, 16 - bits :].ravel()).tobytes()


def pixels(shape: tuple[int, ...], seed: int = 0) -> U8:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def deep(shape: tuple[int, int] = (5, 7), end: int = 65536, seed: int = 0) -> U16:
    """With the largest value in it."""
    made = np.random.default_rng(seed).integers(0, end, shape, np.uint16)
    made[0, 0] = end - 1
    return made


def codes(picture: Picture) -> list[str]:
    return [warning.code for warning in picture.warnings]


# --- what is right --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "BMP"])
@pytest.mark.parametrize("shape", [(9, 6), (9, 6, 3)])
def test_eight_bits_stay_as_they_are(form: str, shape: tuple[int, ...]) -> None:
    stored = pixels(shape)
    data = encoded(stored, form)
    picture = read(data)
    if form == "JPEG":
        stored = np.asarray(Image.open(io.BytesIO(data)))
    assert picture.values.dtype == np.uint8
    np.testing.assert_array_equal(picture.values, stored)
    assert picture.warnings == ()
    assert picture.identity.file_sha256 == sha256(data).hexdigest()
    assert picture.identity.pixel_sha256 == pixel_hash(stored)


@given(
    st.sampled_from(sorted(UPRIGHT)),
    st.sampled_from(["PNG", "TIFF", "JPEG"]),
    st.sampled_from(["grey", "colour", "deep"]),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_every_orientation_is_applied(
    orientation: int, form: str, kind: str, height: int, width: int
) -> None:
    size = (height, width)
    stored = {"grey": pixels(size), "colour": pixels((*size, 3)), "deep": deep(size)}
    if kind == "deep" and form == "JPEG":
        kind = "grey"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    upright = read(encoded(stored[kind], form))
    turned = read(encoded(stored[kind], form, exif=exif))
    np.testing.assert_array_equal(turned.values, UPRIGHT[orientation](upright.values))
    same = turned.identity.pixel_sha256 == upright.identity.pixel_sha256
    assert same == np.array_equal(turned.values, upright.values)


def test_an_orientation_that_means_nothing_warns() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 9
    stored = pixels((4, 6))
    picture = read(encoded(stored, "PNG", exif=exif))
    assert codes(picture) == ["orientation"]
    np.testing.assert_array_equal(picture.values, stored)


@given(st.integers(9, 16), st.sampled_from(["PNG", "TIFF"]), st.integers(0, 2**32))
def test_a_stated_depth_is_the_range(bits: int, form: str, seed: int) -> None:
    stored = deep(end=1 << bits, seed=seed)
    picture = read(encoded(stored, form), bits)
    assert picture.values.dtype == np.float64
    np.testing.assert_array_equal(picture.values, stored / ((1 << bits) - 1))
    assert picture.warnings == ()
    assert picture.identity.pixel_sha256 == pixel_hash(stored)


@given(st.integers(9, 15))
def test_what_exceeds_the_stated_depth_is_refused(bits: int) -> None:
    stored = deep(end=(1 << bits) + 1)
    refused(encoded(stored, "PNG"), rf"brightest pixel is {1 << bits}, and {bits} bits end", bits)


@given(st.integers(9, 16))
def test_a_range_that_is_not_used_is_pointed_out(bits: int) -> None:
    picture = read(encoded(deep(end=1 << bits), "PNG"))
    assert codes(picture) == (["low-peak"] if bits < 16 else [])
    if bits < 16:
        (warning,) = picture.warnings
        assert f"is {(1 << bits) - 1} of 65535: {bits} bits?" in warning.text
        assert f"--bit-depth {bits}" in warning.text
    assert picture.values.max() == ((1 << bits) - 1) / 65535


def test_a_stated_range_that_is_not_used_is_pointed_out_too() -> None:
    assert codes(read(encoded(deep(end=1 << 11), "PNG"), 12)) == []
    (warning,) = read(encoded(deep(end=1 << 10), "PNG"), 12).warnings
    assert (warning.code, warning.text) == ("low-peak", "the brightest pixel is 1023 of 4095")
    assert codes(read(encoded(pixels((4, 4)) // 16, "PNG"))) == ["low-peak"]


def test_the_depth_does_not_touch_eight_bits() -> None:
    stored = pixels((4, 4))
    np.testing.assert_array_equal(read(encoded(stored, "PNG"), 12).values, stored)


@pytest.mark.parametrize(("mode", "shape"), [("1", (8, 9)), ("P", (8, 9, 3)), ("LA", (8, 9))])
def test_other_kinds_of_pixels(mode: str, shape: tuple[int, ...]) -> None:
    image = Image.fromarray(pixels((8, 9, 3))).convert(mode)
    picture = read(encoded(image, "PNG"))
    assert picture.values.shape == shape
    want = image.convert("L" if len(shape) == 2 else "RGB")
    np.testing.assert_array_equal(picture.values, np.asarray(want))


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_fill_the_range(bits: int) -> None:
    values = np.arange(1 << bits)
    picture = read(png((1 << bits, 1), bits, 0, b"\0" + packed(values, bits)))
    np.testing.assert_array_equal(picture.values[0], values * 255 // ((1 << bits) - 1))


@pytest.mark.parametrize("stored", [pixels((4, 5)), deep((4, 5))], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_tiff_where_white_is_zero(stored: Any, compression: str | None) -> None:
    """Pillow inverts 8 bits when reading and writing, and 16 bits neither time."""
    data = encoded(stored, "TIFF", tiffinfo={262: 0}, compression=compression)
    shown = stored if stored.dtype == np.uint8 else (65535 - stored) / 65535
    np.testing.assert_array_equal(read(data).values, shown)


def test_tiff_says_its_depth() -> None:
    """12 bits, packed by hand: Pillow reads such files and writes none."""
    stored = np.array([[0, 1, 2048, 4095]], np.uint16)
    body = packed(stored, 12)
    tags = [(256, 3, 4), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 3, 1), (279, 4, len(body))]
    data = b"II*\0" + struct.pack("<I", 8 + len(body)) + body
    data += struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        data += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    picture = read(data + bytes(4))
    np.testing.assert_array_equal(picture.values, stored / 4095)
    assert picture.warnings == ()


def test_opaque_alpha_is_dropped() -> None:
    stored = pixels((6, 5, 3))
    opaque = np.dstack([stored, np.full((6, 5), 255, np.uint8)])
    for form in ("PNG", "TIFF"):
        np.testing.assert_array_equal(read(encoded(opaque, form)).values, stored)


def test_a_transparent_colour_that_no_pixel_has_is_none() -> None:
    for stored, key in ((pixels((6, 5)) | 1, 0), (deep() | 1, 0)):
        picture = read(encoded(stored, "PNG", transparency=key))
        assert picture.values.shape == stored.shape


# --- what is refused ------------------------------------------------------------------------------


def _with_alpha(alpha: int) -> Image.Image:
    image = Image.fromarray(pixels((6, 5, 3))).convert("RGBA")
    image.putpixel((0, 0), (1, 2, 3, alpha))
    return image


def _keyed(stored: Any, key: Any) -> bytes:
    return encoded(stored, "PNG", transparency=key)


def _palette() -> tuple[Image.Image, int]:
    """With the entry of one of its pixels."""
    image = Image.fromarray(pixels((4, 4, 3))).convert("P")
    return image, int(np.asarray(image)[0, 0])


TRANSPARENT = {
    "one pixel, almost opaque": lambda: encoded(_with_alpha(254), "PNG"),
    "TIFF": lambda: encoded(_with_alpha(0), "TIFF"),
    "grey and alpha": lambda: encoded(_with_alpha(100).convert("LA"), "PNG"),
    "a grey": lambda: _keyed(np.full((4, 4), 7, np.uint8), 7),
    "a colour": lambda: _keyed(np.full((4, 4, 3), 7, np.uint8), (7, 7, 7)),
    "a grey of 16 bits": lambda: _keyed(np.full((4, 4), 700, np.uint16), 700),
    "an entry of the palette": lambda: _keyed(*_palette()),
}


@pytest.mark.parametrize("what", TRANSPARENT)
def test_transparency(what: str) -> None:
    refused(TRANSPARENT[what](), "transparent pixels")


@pytest.mark.parametrize("form", ["PNG", "TIFF", "MPO"])
def test_several_pages(form: str) -> None:
    frames = [Image.fromarray(pixels((8, 8, 3), seed)) for seed in range(3)]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    refused(data, "holds 3 pages or frames")


KINDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "CMYK JPEG": (lambda: encoded(Image.new("CMYK", (4, 4)), "JPEG"), "CMYK"),
    "CMYK TIFF": (lambda: encoded(Image.new("CMYK", (4, 4)), "TIFF"), "CMYK"),
    "LAB": (lambda: encoded(Image.new("LAB", (4, 4)), "TIFF"), r"L\*a\*b\*"),
    "float": (lambda: encoded(np.ones((4, 4), np.float32), "TIFF"), "floating-point"),
    "32 bits": (lambda: encoded(np.ones((4, 4), np.int32), "TIFF"), "signed or 32-bit"),
    "signed 16 bits": (lambda: _signed_tiff(), "signed or 32-bit"),
    "signed 8 bits": (
        lambda: encoded(pixels((4, 4)), "TIFF", tiffinfo={339: 2}),
        "signed or 32-bit",
    ),
    "big-endian BigTIFF": (lambda: b"MM\0+\0\x08\0\0" + bytes(64), "kind that is not read here"),
    "16-bit colours": (
        lambda: png((4, 4), 16, 2, bytes(4 * 25)),
        "colours or transparency of 16 bits",
    ),
    "16-bit grey and alpha": (
        lambda: png((4, 4), 16, 4, bytes(4 * 17)),
        "colours or transparency of 16 bits",
    ),
    "16-bit colours and alpha": (
        lambda: png((4, 4), 16, 6, bytes(4 * 33)),
        "colours or transparency of 16 bits",
    ),
}


def _signed_tiff() -> bytes:
    data = encoded(Image.fromarray(deep()), "TIFF", tiffinfo={339: 2})
    assert Image.open(io.BytesIO(data)).mode == "I"
    return data


@pytest.mark.parametrize("what", KINDS)
def test_pixels_that_would_have_to_be_guessed(what: str) -> None:
    make, message = KINDS[what]
    refused(make(), message)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated(form: str, part: float) -> None:
    data = encoded(pixels((64, 64, 3)), form)
    refused(data[: int(len(data) * part)], "damaged picture")


def test_a_flipped_bit_in_a_png() -> None:
    data = bytearray(encoded(pixels((64, 64)), "PNG", compress_level=0))
    data[len(data) // 2] ^= 1
    refused(bytes(data), "damaged picture")


def test_too_many_pixels() -> None:
    """Pillow warns of the one and refuses the other."""
    for side in (10_000, 20_000):
        refused(png((side, side), 8, 0, b"\0" * 10), "too many for one picture")


def test_what_the_decoder_mutters_is_a_named_warning() -> None:
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 3) + bytes(4)
    picture = read(encoded(pixels((8, 8)), "JPEG", exif=exif))
    assert codes(picture) == ["odd-file"]
    assert "EXIF" in picture.warnings[0].text


def test_what_libtiff_writes_to_the_terminal_is_not_seen(
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = encoded(pixels((24, 32)), "TIFF", compression="tiff_lzw")
    for cut in (2, 8, 40, 400):
        with contextlib.suppress(BadInput):
            read(data[:-cut])
    assert capfd.readouterr() == ("", "")


@settings(max_examples=200)
@given(st.data())
def test_mutilated_files_are_read_or_refused(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["PNG", "JPEG", "TIFF", "BMP"]))
    whole = bytearray(encoded(pixels((16, 16)), form))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = read(bytes(whole[: data.draw(st.integers(1, len(whole)))]))
    except BadInput:
        return
    assert picture.values.dtype in (np.uint8, np.float64)
