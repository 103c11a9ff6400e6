"""Files as they are told apart and named: images that come twice, and names that logs may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.duplicates import Duplicates
from moiety.runtime.intake.naming import for_log, log_name
from moiety.runtime.intake.picture import Identity

PATIENT = "Secretname^Very"


def test_a_second_uid_is_told_by_pixels_and_by_file() -> None:
    seen = Duplicates()
    a, b = Path("a.dcm"), Path("b.dcm")
    assert seen.check(a, Identity(file_sha256="1", pixel_sha256="p")) is None
    assert seen.check(b, Identity(file_sha256="1", pixel_sha256="p")) is None  # no UIDs
    known = Identity(file_sha256="1", pixel_sha256="p", sop_instance_uid="1.2")
    assert seen.check(a, known) is None
    again = Identity(file_sha256="2", pixel_sha256="p", sop_instance_uid="1.2")
    assert str(seen.check(b, again)).startswith("b.dcm: the same SOPInstanceUID and pixels")
    with pytest.raises(BadInput, match=r"b\.dcm: has the SOPInstanceUID of a\.dcm"):
        seen.check(b, Identity(file_sha256="3", pixel_sha256="q", sop_instance_uid="1.2"))


def test_logs_name_files_by_hash_unless_told(tmp_path: Path) -> None:
    path = tmp_path / f"{PATIENT}.png"
    path.write_bytes(b"abc")
    assert log_name(path) == "sha256:ba7816bf8f01cfea"
    assert for_log(f"{path}: bad", path) == "sha256:ba7816bf8f01cfea: bad"
    assert for_log(f"{path}: bad", path, paths=True) == f"{path}: bad"
    assert log_name(tmp_path / "absent") == "a file that cannot be read"
