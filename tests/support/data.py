"""Tests that need the files of the data folder, and are skipped where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from moiety.models.xrays import HOW_TO_GIVE_DATA, data_folder

DATA = data_folder() or Path("no-data")


def needs(folder: str) -> pytest.MarkDecorator:
    """Skips a test, or a file as its `pytestmark`, where the data have no such folder."""
    return pytest.mark.skipif(
        not (DATA / folder).is_dir(), reason=f"no {folder} data: {HOW_TO_GIVE_DATA}"
    )
