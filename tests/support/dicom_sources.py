"""DICOM headers to make reports of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

SECRET = "Geheim^Patient"


def a_source(folder: Path, name: str = "x.dcm", **values: Any) -> Path:
    """A radiograph's header, complete; `values` replace elements, None removes one."""
    source = Dataset()
    source.SpecificCharacterSet = "ISO_IR 192"
    source.SOPClassUID = ComputedRadiographyImageStorage
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(source, keyword, generate_uid(None))
    source.PatientName, source.PatientID, source.PatientSex = SECRET, "ID-7", "F"
    source.PatientBirthDate, source.PatientComments = "19500101", "not to be copied"
    source.StudyDate, source.StudyTime, source.StudyID = "20260101", "120000", "S1"
    source.AccessionNumber, source.ReferringPhysicianName = "A1", "Nobody^Else"
    source.Modality = "CR"
    for keyword, value in values.items():
        if value is None:
            delattr(source, keyword)
        else:
            setattr(source, keyword, value)
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    source.file_meta.MediaStorageSOPInstanceUID = generate_uid(None)
    source.save_as(folder / name, enforce_file_format=True)
    return folder / name
