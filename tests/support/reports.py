"""What dciodvfy, of dicom3tools, says of a DICOM report."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

LACKING = ("needed to build DICOMDIR", "Retired Person Name form")
"""It says so of reports whose sources lack an identifier, or have a name in one piece."""


def said_by_dciodvfy(path: Path) -> list[str]:
    """Its lines, none for a good report; skips the test where it is not installed."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed: reports are not validated here")
    done = subprocess.run(
        ["dciodvfy", path], capture_output=True, env=os.environ | {"LC_ALL": "C"}, check=False
    )
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    assert "Comprehensive3DSR" in lines
    return [line for line in lines if line != "Comprehensive3DSR"]
