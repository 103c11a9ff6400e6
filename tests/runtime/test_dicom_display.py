"""Windows and tables against the standard's examples, and against pydicom's own functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, apply_windowing

from moiety.protocols.arrays import F64
from moiety.runtime.intake.dicom.aspect import squared
from moiety.runtime.intake.dicom.display import (
    linear,
    linear_exact,
    modality_values,
    padding,
    read_lut,
    sigmoid,
)
from moiety.runtime.intake.dicom.header import Header
from moiety.runtime.intake.dicom.pixels import Form
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program import Preprocessing
from moiety.runtime.program.preprocessing import GreyValue
from tests.support.dicom import lut, radiograph, saved, taken

TWELVE = Form(64, 48, 1, "MONOCHROME2", 16, 12, False, False)
SIGNED = Form(64, 48, 1, "MONOCHROME2", 16, 12, True, False)


def test_a_linear_window_meets_whole_numbers() -> None:
    """Width 400, centre 40: the values that half a pixel's error moves."""
    values = np.array([-160, -159, -130, 40, 191, 239, 240], float)
    seen = np.rint(linear(values, 40, 400) * 255)
    np.testing.assert_array_equal(seen, [0, 1, 19, 128, 224, 255, 255])
    full = np.arange(4096.0)
    np.testing.assert_allclose(linear(full, 2048, 4096), full / 4095, atol=1e-15)
    np.testing.assert_array_equal(linear(np.array([99.0, 100, 101]), 100, 1), [0, 1, 1])


@pytest.mark.parametrize(
    ("function", "name"),
    [(linear, "LINEAR"), (linear_exact, "LINEAR_EXACT"), (sigmoid, "SIGMOID")],
)
@given(st.integers(-500, 5000), st.integers(2, 6000))
def test_windows_are_pydicoms(
    function: Callable[[F64, float, float], F64], name: str, centre: int, width: int
) -> None:
    header = Dataset()
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = centre, width, name
    header.PhotometricInterpretation, header.PixelRepresentation = "MONOCHROME2", 0
    header.BitsStored = 12
    stored = np.arange(0, 4096, 17, dtype=np.uint16)
    with np.errstate(over="ignore"):
        expected = apply_windowing(stored, header) / 4095
    np.testing.assert_allclose(function(stored.astype(float), centre, width), expected, atol=1e-12)


@pytest.mark.parametrize("first", [-100, 0, 1000])
def test_tables_are_pydicoms(first: int) -> None:
    item = lut(first, [int(n**0.5 * 1024) for n in range(3000)], 16)
    form = SIGNED if first < 0 else TWELVE
    header = Dataset()
    header.PixelRepresentation, header.ModalityLUTSequence = int(form.signed), [item]
    stored = np.arange(form.least, form.largest, dtype=np.int16 if form.signed else np.uint16)
    expected = apply_modality_lut(stored, header)
    found = modality_values(stored, Header(header), form)
    np.testing.assert_array_equal(found.pixels, expected)
    voi = Dataset()
    voi.VOILUTSequence = [item]
    table = read_lut(Header(item), signed=form.signed, big_endian=False)
    np.testing.assert_array_equal(table(stored.astype(float)), apply_voi_lut(stored, voi))


def test_tables_in_bytes_of_either_order_and_of_eight_bits() -> None:
    def made(data: bytes | list[int], bits: int) -> Header:
        item = Dataset()
        item.LUTDescriptor = [3, 0, bits]
        item.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
        return Header(item)

    for data, bits, big_endian in (
        (b"\1\0\2\0\3\0", 16, False),
        (b"\0\1\0\2\0\3", 16, True),
        (b"\1\2\3", 8, False),
        (b"\1\2\3\0", 8, False),
        (b"\2\1\0\3", 8, True),
        ([0x0201, 0x0003], 8, False),
        ([1, 2, 3], 8, False),
    ):
        found = read_lut(made(data, bits), signed=False, big_endian=big_endian)
        np.testing.assert_array_equal(found.table, [1, 2, 3])


def test_a_table_begins_below_zero_though_written_as_unsigned() -> None:
    found = read_lut(Header(lut(65436, [1, 2, 3], 12)), signed=True, big_endian=False)
    assert found.first == -100


def test_65536_entries_are_written_as_none() -> None:
    item = lut(0, list(range(65536)), 16)
    item.LUTDescriptor = [0, 0, 16]
    assert len(read_lut(Header(item), signed=False, big_endian=False).table) == 65536


def test_a_voi_table_is_asked_after_a_fractional_rescale(tmp_path: Path) -> None:
    rescale = {"RescaleSlope": "0.684", "RescaleIntercept": "0.3"}
    table = [lut(0, list(range(4096)), 12)]
    seen = taken(radiograph(None, VOILUTSequence=table, **rescale), tmp_path).values
    expected = np.rint(np.arange(64 * 48).reshape(64, 48) * 0.684 + 0.3) / 4095
    np.testing.assert_allclose(seen, expected, atol=1e-12)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_whatever_is_inverted(photometric: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"PhotometricInterpretation": photometric, "PixelPaddingValue": 5}
    shape = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}[photometric]
    seen = taken(radiograph(PresentationLUTShape=shape, **changes), tmp_path).values
    assert seen[0, 5] == 0
    assert seen[0, 4] > 0
    assert seen[0, 6] > 0


@pytest.mark.parametrize(
    ("value", "limit", "form", "expected"),
    [
        (0, 30, TWELVE, range(31)),
        (30, 0, TWELVE, range(31)),
        (4095, None, TWELVE, [4095]),
        (-2000, None, SIGNED, [-2000]),
        (63536, None, SIGNED, [-2000]),
        (2096, None, SIGNED, [-2000]),
        (65535, None, TWELVE, []),
        (65535, 4095, TWELVE, [4095]),
    ],
)
def test_padding_ranges(value: int, limit: int | None, form: Form, expected: list[int]) -> None:
    header = Dataset()
    header.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
    if limit is not None:
        header.PixelPaddingRangeLimit = limit
    stored = np.arange(form.least, form.largest + 1)
    np.testing.assert_array_equal(stored[padding(stored, Header(header), form)], list(expected))


def test_full_range_is_that_of_the_stored_bits(tmp_path: Path) -> None:
    pixels = np.arange(-100, 100, dtype=np.int16).reshape(10, 20)
    seen = taken(radiograph(pixels, RescaleSlope=2, RescaleIntercept=-1024), tmp_path).values
    np.testing.assert_allclose(seen, (pixels + 2048.0) / 4095, atol=1e-12)


STORED = np.arange(64.0 * 48).reshape(64, 48)
DISPLAYS: list[dict[str, Any]] = [
    {"WindowCenter": 500, "WindowWidth": 100, "VOILUTFunction": "SIGMOID"},
    {"WindowCenter": [500, 600], "WindowWidth": [0.5, 1]},
    {"RescaleSlope": 2, "RescaleIntercept": -1024},
    {"RescaleSlope": 0, "RescaleIntercept": 0},
    {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 100},
    {"ModalityLUTSequence": [lut(0, [9] * 4096, 12)]},
    {"VOILUTSequence": [lut(0, list(range(4096))[::-1], 12)]},
]


@pytest.mark.parametrize("display", DISPLAYS)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_the_stored_range_has_no_table_window_or_padding(
    display: dict[str, Any], photometric: str, tmp_path: Path
) -> None:
    dataset = radiograph(
        None, PhotometricInterpretation=photometric, PresentationLUTShape=None, **display
    )
    picture = taken(dataset, tmp_path, "full-range")
    expected = STORED / 4095
    inverted = photometric == "MONOCHROME1"
    np.testing.assert_allclose(picture.values, 1 - expected if inverted else expected, atol=1e-12)
    assert picture.warnings == ()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_the_stored_range_of_signed_pixels_begins_at_their_least(
    photometric: str, tmp_path: Path
) -> None:
    pixels = np.array([[-2048, -100], [0, 2047]], np.int16)
    dataset = radiograph(pixels, PhotometricInterpretation=photometric, PresentationLUTShape=None)
    seen = taken(dataset, tmp_path, "full-range").values
    expected = (pixels + 2048.0) / 4095
    inverted = photometric == "MONOCHROME1"
    np.testing.assert_allclose(seen, 1 - expected if inverted else expected, atol=1e-12)


def test_the_loader_takes_the_grey_value_of_the_program(tmp_path: Path) -> None:
    """The window, of 100 values, saturates most pixels; the range of 12 bits saturates none."""
    file = saved(radiograph(None, WindowCenter=500, WindowWidth=100), tmp_path / "a.dcm")

    def loaded(grey_value: GreyValue) -> Any:
        how = Preprocessing(
            size=(64, 48), channels=1, mean=(0.0,), std=(1.0,), grey_value=grey_value
        )
        return load(file, Reader((1, 64, 48), how)).tensor[0]

    np.testing.assert_allclose(loaded("full-range"), STORED / 4095, atol=1e-6)
    np.testing.assert_allclose(loaded("voi"), linear(STORED, 500, 100), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_pixels_are_made_square(dtype: type) -> None:
    top = 1 if dtype is np.float64 else 255
    values: Any = np.linspace(0, top, 24).reshape(4, 6).astype(dtype)
    header = Dataset()
    header.PixelAspectRatio = [2, 1]
    tall, said = squared(values, Header(header))
    assert tall.shape == (8, 6)
    assert tall.dtype == dtype
    assert said[0].code == "non-square-pixels"
    np.testing.assert_allclose(tall.mean(), values.mean(), rtol=0.02)
    header.PixelAspectRatio = [1, 2]
    assert squared(values, Header(header))[0].shape == (4, 12)
    header.PixelAspectRatio = [1000, 1001]
    assert squared(values, Header(header))[0] is values
