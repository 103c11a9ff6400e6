"""Headers and pixel data of every kind that real exports have, one change at a time."""

from __future__ import annotations

import importlib
import io
import os
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.complaints import heard
from moiety.runtime.intake.dicom import is_dicom, read_dicom
from moiety.runtime.program.bounds import VARIABLE
from tests.support.dicom import COLLECTION, PATIENT, code, lut, radiograph, saved, taken, verdict

BODY = "BodyPartExamined"
VIEW = "ViewPosition"
EIGHT = np.arange(64 * 48, dtype=np.uint32).reshape(64, 48).astype(np.uint8)
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"

ACCEPTED: list[dict[str, Any]] = [
    *({BODY: word} for word in ("Chest", " THORAX ", "TORAX", "PORT CHEST", "CHEST_PA", "Lungs")),
    *({VIEW: word} for word in ("AP", "pa", "AP SUPINE", "PA ERECT", "Antero-Posterior", "P A")),
    {BODY: "TÓRAX".encode().decode("latin-1"), "SpecificCharacterSet": "ISO_IR 192"},
    {BODY: "胸部".encode().decode("latin-1"), "SpecificCharacterSet": "ISO_IR 192"},
    {BODY: None, "AnatomicRegionSequence": [code("51185008", "Chest")]},
    {VIEW: None, "ViewCodeSequence": [code("399348003", "antero-posterior")]},
    {VIEW: "", "ViewCodeSequence": [code("R-10214", "postero-anterior", "SNM3")]},
    {"Modality": "CR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1"},
    {"Modality": "CR", "SOPClassUID": SECONDARY},
    {"Modality": "DX", "SOPClassUID": f"{SECONDARY}.2"},
    {"PhotometricInterpretation": "monochrome2"},
    {"SpecificCharacterSet": "NONSENSE"},
    {"NumberOfFrames": "1"},
    {"NumberOfFrames": "0"},
    {"WindowCenter": [2000, 100], "WindowWidth": [4000, 200]},
    {"WindowCenter": "", "WindowWidth": ""},
    {"RescaleSlope": "-1", "RescaleIntercept": "4095"},
    {"PatientOrientation": None},
    {"PresentationLUTShape": None},
    {"LossyImageCompression": "01"},
    {"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.14, 0.14]},
]

WARNED: list[tuple[dict[str, Any], str]] = [
    ({BODY: None}, "body-part-absent"),
    ({BODY: "UNKNOWN"}, "body-part-absent"),
    ({VIEW: None}, "view-absent"),
    ({VIEW: "GENERIC", "PatientOrientation": None}, "view-absent"),
    ({VIEW: None, "SeriesDescription": "Chest PA/lat"}, "view-absent"),
    ({"Modality": None}, "modality-absent"),
    ({"BurnedInAnnotation": "YES"}, "burned-in-text"),
    ({"PresentationLUTShape": "INVERSE"}, "presentation-lut-contradicts"),
    ({"PhotometricInterpretation": "MONOCHROME1"}, "presentation-lut-contradicts"),
    ({"WindowCenter": 2000, "WindowWidth": 0}, "window-ignored"),
    ({"WindowCenter": 2000, "WindowWidth": -5, "VOILUTFunction": "SIGMOID"}, "window-ignored"),
    ({"WindowCenter": 2000}, "window-ignored"),
    (
        {"WindowCenter": 2000, "WindowWidth": 4000, "VOILUTFunction": "CUBIC"},
        "voi-function-unknown",
    ),
    ({"VOILUTSequence": [lut(0, list(range(1024)), 16)]}, "voi-lut-dark"),
    ({"PixelAspectRatio": [2, 1]}, "non-square-pixels"),
    ({"ImagerPixelSpacing": [0.1, 0.2]}, "non-square-pixels"),
    ({"PatientOrientation": ["R", "F"]}, "patient-orientation"),
    ({"PatientOrientation": ["L", "H"]}, "patient-orientation"),
    ({"SOPInstanceUID": None}, "sop-instance-uid"),
    ({"SOPInstanceUID": f"1.2.{PATIENT}"}, "sop-instance-uid"),
]

REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({VIEW: word}, "a lateral view") for word in ("LL", "rl", "LAT", "Lateral", "L-LAT", "L L")),
    *(({VIEW: word}, "neither PA nor AP") for word in ("LLD", "RAO", "PA OBLIQUE", "AXIAL")),
    ({VIEW: "SOMETHING"}, "neither PA nor AP"),
    ({VIEW: None, "ViewCodeSequence": [code("399173006", "left lateral")]}, "a lateral view"),
    ({"ViewCodeSequence": [code("399067008", "lateral")]}, "a lateral view (ViewCodeSequence)"),
    ({"ViewCodeSequence": [code("1", "seitlich", "99X")]}, "a lateral view (ViewCodeSequence)"),
    ({"ViewCodeSequence": [code("399006002", "LPO")]}, "ViewCodeSequence: neither"),
    *(
        ({VIEW: None, "ViewCodeSequence": [code("7", meaning, "99X")]}, "ViewCodeSequence: neither")
        for meaning in ("left oblique", "PA oblique", "AP lordotic")
    ),
    ({"PatientOrientation": ["P", "F"]}, "a lateral view (PatientOrientation)"),
    ({"PatientOrientation": ["A", "F"]}, "a lateral view (PatientOrientation)"),
    ({VIEW: None, "SeriesDescription": "Thorax lat."}, "a lateral view (SeriesDescription"),
    *(({BODY: w}, f"body part {w}") for w in ("ABDOMEN", "CSPINE", "HAND", "CHEST ABDOMEN")),
    ({BODY: ["CHEST", "ABDOMEN"]}, "body part CHEST ABDOMEN"),
    ({VIEW: ["PA", "LL"]}, "a lateral view (ViewPosition PA LL)"),
    ({"WindowCenter": "1e400", "WindowWidth": "1"}, "WindowCenter (0028,1050) is not a finite"),
    ({BODY: "THORACIC SPINE"}, "body part THORACIC SPINE"),
    (
        {"AnatomicRegionSequence": [code("51185008", "Thorax"), code("T-D8700", "Hand", "SRT")]},
        "another body part",
    ),
    ({BODY: "CHEST", "AnatomicRegionSequence": [code("12738006", "Brain")]}, "another body part"),
    *(
        ({BODY: None, "AnatomicRegionSequence": [code("7", meaning, scheme)]}, "another body part")
        for meaning, scheme in (("Knee", "99X"), ("Chest wall", "99X"), ("Chest wall", "SCT"))
    ),
    ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, "FOR PROCESSING"),
    *(({"Modality": word}, f"modality {word}") for word in ("CT", "MR", "MG", "OT", "US", "PX")),
    ({"Modality": None, "SOPClassUID": SECONDARY}, "does not say its modality"),
    ({"Modality": "CR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "SOP class"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "a structured report"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}, "a presentation state"),
    ({"NumberOfFrames": "2"}, "2 frames"),
    ({"NumberOfFrames": "-1"}, "-1 frames"),
    ({"PhotometricInterpretation": None}, "PhotometricInterpretation (0028,0004) is absent"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette colour"),
    ({"PhotometricInterpretation": ["MONOCHROME2", "MONOCHROME1"]}, "neither MONOCHROME1 nor"),
    ({"PhotometricInterpretation": "RGB"}, "RGB with 1 samples"),
    ({"SamplesPerPixel": 3}, "MONOCHROME2 with 3 samples"),
    *(
        ({keyword: None}, f"{keyword} (0028,")
        for keyword in ("SamplesPerPixel", "Rows", "BitsAllocated", "HighBit")
    ),
    ({"PixelRepresentation": 2}, "PixelRepresentation (0028,0103) is 2"),
    ({"HighBit": 15}, "HighBit 15 is not BitsStored - 1, 11"),
    ({"BitsStored": 17, "HighBit": 16}, "BitsStored 17"),
    ({"BitsAllocated": 32}, "BitsAllocated 32"),
    ({"Rows": 0}, "Rows 0"),
    ({"Rows": 65535, "Columns": 65535}, "Rows 65535, Columns 65535"),
    ({"Rows": 65}, "truncated: PixelData has 6144 bytes, Rows x Columns (65 x 48) needs 6240"),
    ({"Rows": 60}, "PixelData has 6144 bytes, Rows x Columns (60 x 48) only 5760"),
    ({"Columns": 47}, "PixelData has 6144 bytes"),
    ({"PixelData": b""}, "PixelData is empty"),
    ({"PixelData": None}, "no PixelData"),
    ({"PixelData": None, "FloatPixelData": b"\0" * 12288}, "no integer PixelData: FloatPixelData"),
    ({"PixelData": b"\1\0" * 3072}, "a constant image: all pixels are 1"),
    ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095}, "a constant image"),
    ({"WindowCenter": 90000, "WindowWidth": 10}, "a constant image"),
    ({"RescaleSlope": 0, "RescaleIntercept": 1}, "RescaleSlope (0028,1053) is 0"),
    ({"VOILUTSequence": [lut(0, [1, 2, 3], 12, entries=4096)]}, "says 4096 entries"),
    ({"VOILUTSequence": [lut(0, [0, 4095], 8)]}, "says 8 bits, the table's values end at 4095"),
    ({"ModalityLUTSequence": [lut(0, [0, 1], 77)]}, "says 77 bits"),
    ({"PixelAspectRatio": [9, 1]}, "9 times as high as wide"),
]


@pytest.mark.parametrize("changes", ACCEPTED, ids=str)
def test_accepted(changes: dict[str, Any], tmp_path: Path) -> None:
    assert verdict(saved(radiograph(**changes), tmp_path / "a.dcm")) == ("accepted", "")


@pytest.mark.parametrize(("changes", "code"), WARNED, ids=str)
def test_warned(changes: dict[str, Any], code: str, tmp_path: Path) -> None:
    path = saved(radiograph(**changes), tmp_path / "a.dcm")
    assert verdict(path) == ("accepted with warnings", code)


def test_notes_are_kept_and_change_no_verdict(tmp_path: Path) -> None:
    dataset = radiograph(
        LossyImageCompression="01", WindowCenter=[2000, 100], WindowWidth=[4000, 200]
    )
    dataset.add_new(0x60000010, "US", 64)
    picture = taken(dataset, tmp_path)
    assert {warning.code for warning in picture.warnings if warning.note} == {
        "lossy-compression",
        "overlay-ignored",
        "several-windows",
    }
    assert verdict(tmp_path / "image.dcm") == ("accepted", "")


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=str)
def test_refused(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    kind, said = verdict(saved(radiograph(**changes), tmp_path / "a.dcm"))
    assert kind == "refused"
    assert reason in said
    assert PATIENT not in said


NUMBERS = ("Rows", "BitsStored", "WindowCenter", "NumberOfFrames", "RescaleSlope", "PixelSpacing")


@pytest.mark.parametrize("keyword", NUMBERS)
def test_a_name_where_a_number_belongs_is_not_repeated(keyword: str, tmp_path: Path) -> None:
    dataset = radiograph(WindowWidth=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.add_new(keyword, "LO", PATIENT)
    kind, said = verdict(saved(dataset, tmp_path / "a.dcm"))
    assert kind == "refused"
    assert keyword in said
    assert PATIENT not in said


@pytest.mark.parametrize("keyword", ["Modality", BODY, VIEW, "PhotometricInterpretation"])
def test_a_name_where_a_code_belongs_is_not_repeated(keyword: str, tmp_path: Path) -> None:
    dataset = radiograph(**{keyword: None})
    dataset.add_new(keyword, "LO", PATIENT)
    kind, said = verdict(saved(dataset, tmp_path / "a.dcm"))
    assert kind == "refused"
    assert "secretname" not in said.lower()


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda uid: uid.name,
)
def test_transfer_syntaxes_are_one_picture(syntax: pydicom.uid.UID, tmp_path: Path) -> None:
    plain = taken(radiograph(), tmp_path)
    path = encoded(syntax, tmp_path)
    other = read_dicom(path)
    np.testing.assert_array_equal(plain.values, other.values)
    assert plain.identity.pixel_sha256 == other.identity.pixel_sha256
    assert plain.identity.file_sha256 != other.identity.file_sha256


def encoded(syntax: pydicom.uid.UID, folder: Path, **changes: Any) -> Path:
    dataset, path = radiograph(**changes), folder / f"{syntax}.dcm"
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
        return saved(dataset, path)
    dataset.file_meta.TransferSyntaxUID = syntax
    if not syntax.is_little_endian:
        dataset["PixelData"].value = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    return saved(dataset, path)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_compressed_data_of_another_size_are_refused(
    syntax: pydicom.uid.UID, tmp_path: Path
) -> None:
    """As many pixels as the header says, in rows of another length."""
    dataset = pydicom.dcmread(encoded(syntax, tmp_path))
    dataset.Rows, dataset.Columns = 48, 64
    kind, said = verdict(saved(dataset, tmp_path / "a.dcm"))
    assert kind == "refused"
    assert "64 x 48 pixels of 1 samples, Rows and Columns of 48 x 64" in said


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name
)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_compressed_data_are_refused(
    syntax: pydicom.uid.UID, part: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With and without an end marker behind what is left."""
    dataset = pydicom.dcmread(encoded(syntax, tmp_path))
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    cut = frame[: int(len(frame) * part) // 2 * 2]
    for end in (b"", b"\xff\xd9"):
        dataset.PixelData = pydicom.encaps.encapsulate([cut + end])
        assert verdict(saved(dataset, tmp_path / "a.dcm"))[0] == "refused"
    assert capfd.readouterr() == ("", "")


def test_what_a_jpeg_decoder_fills_up_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The stream has its size and its end, and its middle is cut out."""
    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, EIGHT.shape, np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    dataset = radiograph(EIGHT)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    for name, gone in (("whole", 0), ("cut", 400)):
        middle = len(file.getvalue()) // 2
        stream = file.getvalue()[:middle] + file.getvalue()[middle + gone :]
        dataset.PixelData = pydicom.encaps.encapsulate([stream])
        dataset["PixelData"].is_undefined_length = True
        saved(dataset, tmp_path / f"{name}.dcm")
    assert verdict(tmp_path / "whole.dcm") == ("accepted", "")
    kind, said = verdict(tmp_path / "cut.dcm")
    assert kind == "refused"
    assert "the decoder filled up what is missing" in said
    assert capfd.readouterr() == ("", "")


def test_what_others_write_meanwhile_is_not_taken_for_a_complaint(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with heard() as complaints:
        os.write(2, b"image 3 of 20\nCorrupt JPEG data: premature end of data segment\n")
        os.write(2, b"Warning: unknown JFIF revision number 1.03\n")
    assert complaints == ["Corrupt JPEG data: premature end of data segment"]
    assert capfd.readouterr() == ("", "image 3 of 20\n")


def test_two_frames_under_a_header_of_one_are_refused(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(encoded(JPEG2000Lossless, tmp_path))
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    for has_bot in (True, False):
        dataset.PixelData = pydicom.encaps.encapsulate([frame, frame], has_bot=has_bot)
        assert "2 frames" in verdict(saved(dataset, tmp_path / "a.dcm"))[1]


def test_colour_with_equal_channels_is_grey_and_said_to_be(tmp_path: Path) -> None:
    grey = np.repeat(EIGHT[..., None], 3, axis=2)
    colour = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    picture = taken(radiograph(grey, **colour), tmp_path)
    np.testing.assert_array_equal(picture.values, EIGHT)
    assert [warning.code for warning in picture.warnings] == ["grey-as-colour"]
    grey[3, 4, 1] += 1
    assert "a colour image" in verdict(saved(radiograph(grey, **colour), tmp_path / "b.dcm"))[1]


def test_eight_bits_that_are_shown_as_they_are_stay_bytes(tmp_path: Path) -> None:
    assert taken(radiograph(EIGHT), tmp_path).values.dtype == np.uint8
    window = {"WindowCenter": 128, "WindowWidth": 256}
    assert taken(radiograph(EIGHT, **window), tmp_path).values.dtype == np.uint8
    seen = taken(radiograph(EIGHT, WindowCenter=100, WindowWidth=256), tmp_path).values
    assert seen.dtype == np.float64


def test_dicom_is_told_by_content_or_suffix(tmp_path: Path) -> None:
    path = saved(radiograph(), tmp_path / "IM000001")
    assert is_dicom(path)
    assert not is_dicom(tmp_path)
    for name, data in (("empty.dcm", b""), ("text.DCM", b"text")):
        (tmp_path / name).write_bytes(data)
        assert is_dicom(tmp_path / name)
        assert verdict(tmp_path / name)[0] == "refused"


def test_what_inflates_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encoded(DeflatedExplicitVRLittleEndian, tmp_path)
    monkeypatch.setenv(VARIABLE, "3M")
    assert verdict(path)[0] == "accepted"
    bomb = radiograph(np.zeros((1000, 1000), np.uint16))
    bomb.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    refused = verdict(saved(bomb, tmp_path / "bomb.dcm"))[1]
    assert "inflated, would take about" in refused
    assert "the limit is 3 MiB" in refused


def test_an_absent_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name="pydicom.config")

    monkeypatch.setattr(importlib, "import_module", absent)
    path = saved(radiograph(), tmp_path / "a.dcm")
    with pytest.raises(BadInput) as caught:
        read_dicom(path)
    assert str(caught.value) == (
        f"{path}: DICOM needs pydicom, which is not installed; pip install 'moiety[dicom]'"
    )


def mutated(data: bytes, kind: int, chance: random.Random) -> bytes:
    """Cut, or bytes replaced in the header, or anywhere."""
    if kind == 0:
        return data[: chance.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 12)):
        place = chance.randrange(min(len(data), 1500) if kind == 1 else len(data))
        changed[place] = chance.randrange(256)
    return bytes(changed)


SMALL = sorted(path for path in COLLECTION.glob("*.dcm") if path.stat().st_size < 60_000)


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_damaged_files_are_read_or_refused(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    """Nothing else: no other exception, nothing on the terminal, no warning that quotes a value."""
    chance = random.Random(path.name)
    whole = path.read_bytes()
    for number in range(12):
        (tmp_path / "damaged.dcm").write_bytes(mutated(whole, number % 3, chance))
        assert verdict(tmp_path / "damaged.dcm")[0] != "no file named"
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)
