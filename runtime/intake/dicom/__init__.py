"""DICOM files: a radiograph as it is meant to be seen, and all that speaks against showing it."""

from moiety.runtime.intake.dicom.door import instance_uid, is_dicom, not_an_image, read_dicom

__all__ = ["instance_uid", "is_dicom", "not_an_image", "read_dicom"]
