"""DICOM files to try the intake with: a collection with known answers, and drawn radiographs."""

from __future__ import annotations

import csv
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.dicom import read_dicom
from moiety.runtime.intake.picture import Picture
from moiety.runtime.program.preprocessing import GreyValue

ROOT = Path(__file__).resolve().parents[2]
WHOLE = Path(os.environ.get("MOIETY_DATA") or ROOT.parent / "shared" / "data") / "dicom"
SMALL = ROOT / "tests" / "data" / "dicom"
COLLECTION = WHOLE if (WHOLE / "manifest.csv").is_file() else SMALL
"""All 62 files, else those that are in the tree."""

DX = "1.2.840.10008.5.1.4.1.1.1.1"
PATIENT = "Secretname^Very"


def manifest() -> list[dict[str, str]]:
    with (COLLECTION / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def radiograph(pixels: np.ndarray | None = None, **changes: Any) -> FileDataset:
    """A chest radiograph of 12 bits, 64 x 48 unless `pixels` says otherwise; `changes` to its
    elements, None to leave one out.
    """
    if pixels is None:
        pixels = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)
    elements: dict[str, Any] = {
        "SOPClassUID": DX,
        "SOPInstanceUID": "1.2.3.4.5",
        "Modality": "DX",
        "PresentationIntentType": "FOR PRESENTATION",
        "PatientName": PATIENT,
        "PatientID": PATIENT,
        "PatientComments": PATIENT,
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": 12 if pixels.dtype.itemsize == 2 else 8,
        "HighBit": 11 if pixels.dtype.itemsize == 2 else 7,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PresentationLUTShape": "IDENTITY",
        "PixelData": pixels.tobytes(),
    }
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = elements["SOPClassUID"]
    meta.MediaStorageSOPInstanceUID = elements["SOPInstanceUID"]
    dataset = FileDataset("made", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword, value in {**elements, **changes}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW"
    return dataset


def lut(first: int, table: list[int], bits: int, entries: int | None = None) -> Dataset:
    """An item of a Modality or VOI LUT Sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [entries or len(table), first, bits])
    item.add_new("LUTData", "US", table)
    return item


def code(value: str, meaning: str, scheme: str = "SCT") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def saved(dataset: FileDataset, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom says what is wrong with files made wrong
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def taken(dataset: FileDataset, folder: Path, grey_value: GreyValue = "voi") -> Picture:
    return read_dicom(saved(dataset, folder / "image.dcm"), grey_value)


def verdict(path: Path) -> tuple[str, str]:
    """The kind of a file's verdict; its reason, or the codes of its warnings."""
    try:
        picture = read_dicom(path)
    except BadInput as error:
        name, _, reason = str(error).partition(": ")
        return ("refused" if name == str(path) else "no file named"), reason
    codes = " ".join(warning.code for warning in picture.warnings if not warning.note)
    return ("accepted with warnings" if codes else "accepted"), codes
