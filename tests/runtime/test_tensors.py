"""NPY files of every kind of number, and what a Program's input range says to them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.checks import SATURATED, check_range, emptiness, saturation
from moiety.runtime.intake.contents import format_of
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program import Input, Preprocessing

SHAPE = (1, 8, 12)
INPUT = Input(name="image", inputs=(), shape=SHAPE, bits=20, scale=0.25, value_bits=6)
"""Takes -8 to 7.75."""
PLAIN = Preprocessing(size=(8, 12), channels=1, mean=(0.0,), std=(1.0,), resize="exact")


def saved(path: Path, array: Any) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


def reason(path: Path, reader: Reader) -> str:
    with pytest.raises(BadInput) as caught:
        load(path, reader)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "longdouble"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_floats_of_every_make(tmp_path: Path, dtype: str, order: Any) -> None:
    tensor = np.random.default_rng(5).normal(size=SHAPE).astype(dtype)
    path = saved(tmp_path / "t.npy", np.asarray(tensor, order=order))
    taken = load(path, Reader(SHAPE, None, INPUT))
    assert taken.tensor.dtype == np.float32
    assert taken.verdict == "accepted"
    np.testing.assert_array_equal(taken.tensor, tensor.astype(np.float32))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_sixteen_bits_are_a_deep_picture(tmp_path: Path, dtype: str, order: Any) -> None:
    pixels = np.random.default_rng(5).integers(0, 4096, (8, 12)).astype(dtype)
    pixels[0, 0] = 4095
    path = saved(tmp_path / "t.npy", np.asarray(pixels, order=order))
    Image.fromarray(pixels.astype("<u2")).save(tmp_path / "t.png")
    for reader in (Reader(SHAPE, PLAIN), Reader(SHAPE, PLAIN, bit_depth=12)):
        one, other = load(path, reader), load(tmp_path / "t.png", reader)
        np.testing.assert_array_equal(one.tensor, other.tensor)
        assert one.warnings == other.warnings
        assert one.identity.pixel_sha256 == other.identity.pixel_sha256
        assert [w.code for w in one.warnings] == ([] if reader.bit_depth else ["low-peak"])
    np.testing.assert_allclose(one.tensor[0], pixels / 4095, atol=1e-6)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i8", "u4", "u8", "?", "c8", "S3", "M8[s]", "f4,f4"])
def test_other_numbers_are_refused(tmp_path: Path, dtype: str) -> None:
    path = saved(tmp_path / "t.npy", np.zeros((8, 12), dtype))
    assert "save uint8 or uint16 for a picture" in reason(path, Reader(SHAPE, PLAIN))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.npy", np.array([{}], object))
    assert "Python objects, which are never read" in reason(path, Reader(SHAPE, PLAIN))


SHAPES = {
    (): "float tensor of shape ()",
    (0,): "float tensor of shape (0,)",
    (1, 0, 12): "float tensor of shape (1, 0, 12)",
    (1, 12, 8): "the model's input is (1, 8, 12)",
    (2, 1, 8, 12): "the model's input is (1, 8, 12)",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = saved(tmp_path / "t.npy", np.zeros(shape, np.float32))
    assert SHAPES[shape] in reason(path, Reader(SHAPE, PLAIN))


def test_a_number_that_float32_cannot_hold(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.npy", np.full(SHAPE, 1e300))
    assert "NaN or infinite" in reason(path, Reader(SHAPE, None))


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "data",
    [
        header("(1, 8, 12)") + bytes(4 * 95),
        header("(1, 8, 12)") + bytes(4 * 97),
        header("(100000, 100000, 100000)"),
        header("(-1, -96)") + bytes(4 * 96),
        header("(1, 8, 12")[:30],
        header("__import__('os')"),
        b"\x93NUMPY\x09\x00" + bytes(200),
    ],
)
def test_damaged_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.npy").write_bytes(data)
    assert "NPY" in (said := reason(tmp_path / "t.npy", Reader(SHAPE, None))) or "damaged" in said


CONTENTS = {
    "nothing.npy": (b"", "is empty (0 bytes)"),
    "text.png": (b"hello", "not a picture or tensor, whatever its name says; PNG, JPEG"),
    "moving.png": (b"GIF89a" + bytes(20), "is GIF, whatever its name says"),
    "page.jpg": (b"%PDF-1.7", "is PDF"),
    "many.npy": (b"PK\x03\x04" + bytes(20), "is NPZ"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_is_what_its_bytes_say(tmp_path: Path, name: str) -> None:
    data, message = CONTENTS[name]
    (tmp_path / name).write_bytes(data)
    assert message in reason(tmp_path / name, Reader(SHAPE, PLAIN))


def test_dicom_may_begin_as_tiff() -> None:
    """Its first 128 bytes are free; some files are both, and DICOM says more."""
    assert format_of(b"II*\0" + bytes(124) + b"DICM") == "DICOM"
    assert format_of(b"II*\0" + bytes(128)) == "TIFF"


def test_a_wrong_suffix_is_pointed_out(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (8, 12), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.tiff")
    taken = load(tmp_path / "a.tiff", Reader(SHAPE, PLAIN))
    assert taken.verdict == "accepted with warnings"
    assert [(w.code, w.text) for w in taken.warnings] == [
        ("wrong-suffix", "the name says TIFF, the file is PNG and read as that")
    ]


# --- the range of the Program ---------------------------------------------------------------------


@given(st.floats(-20, 20, width=32))
def test_what_the_client_would_clip_is_refused(value: float) -> None:
    tensor = np.zeros(SHAPE, np.float32)
    tensor[0, 3, 4] = value
    kept = np.abs(INPUT.quantise(tensor) * INPUT.scale - tensor).max() <= INPUT.scale / 2
    if kept:
        check_range(tensor, INPUT)
        return
    low, high = min(value, 0), max(value, 0)
    with pytest.raises(BadInput) as caught:
        check_range(tensor, INPUT)
    assert (
        f"values from {low:.4g} to {high:.4g}, outside the model's input range of -8 to 7.75"
        in (str(caught.value))
    )


def test_the_range_is_looked_at_where_there_is_a_program(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.npy", np.linspace(0, 255, 96, dtype=np.float32).reshape(SHAPE))
    assert "values from 0 to 255" in reason(path, Reader(SHAPE, None, INPUT))
    assert load(path, Reader(SHAPE, None)).verdict == "accepted"


def test_pictures_that_saturate(tmp_path: Path) -> None:
    narrow = Preprocessing(size=(8, 12), channels=1, mean=(0.5,), std=(0.05,), resize="exact")
    pixels = np.full((8, 12), 128, np.uint8)
    pixels[0, :3] = 255, 0, 1
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (warning,) = load(tmp_path / "a.png", Reader(SHAPE, narrow, INPUT)).warnings
    assert warning.code == "saturated"
    assert warning.text.startswith("3.1% of the input is outside the model's range of -8 to 7.75")


def test_few_pixels_may_saturate() -> None:
    tensor = np.zeros((1, 100, 100), np.float32)
    tensor.ravel()[: round(SATURATED * tensor.size)] = 100
    assert saturation(tensor, INPUT) == ()
    tensor.ravel()[-1] = 100
    assert [w.code for w in saturation(tensor, INPUT)] == ["saturated"]


@pytest.mark.parametrize(("shape", "constant"), [((3, 4, 5), (0,)), ((4, 5, 3), (2,)), ((10,), ())])
def test_constant_inputs(shape: tuple[int, ...], constant: tuple[int, ...]) -> None:
    """Of pictures every channel by itself: normalisation tells them apart."""
    tensor = np.ones(shape, np.float32)
    for axis in constant:
        tensor = tensor * np.arange(3).reshape([-1 if d == axis else 1 for d in range(3)])
    tensor = tensor.astype(np.float32)
    assert [w.code for w in emptiness(tensor, shape)] == ["constant"]
    tensor.ravel()[0] += 1
    assert emptiness(tensor, shape) == ()


def test_contents_and_pixels_identify(tmp_path: Path) -> None:
    """A tensor's pixels are the same in either byte order, and its file is not."""
    tensor = np.random.default_rng(5).normal(size=SHAPE).astype("<f4")
    one = load(saved(tmp_path / "a.npy", tensor), Reader(SHAPE, None)).identity
    other = load(saved(tmp_path / "b.npy", tensor.astype(">f4")), Reader(SHAPE, None)).identity
    assert one.pixel_sha256 == other.pixel_sha256
    assert one.file_sha256 != other.file_sha256
    again = io.BytesIO()
    np.save(again, tensor)
    assert (tmp_path / "a.npy").read_bytes() == again.getvalue()
