"""Two commits in turns: here one, and a copy of it that passes for another."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import moiety.protocols
from benchmarks import paired
from moiety.protocols.errors import BadInput
from tests.support.command import Compiled

ROOMS = ("protocols", "runtime", "compiler", "models")


@pytest.fixture
def copy(tmp_path: Path) -> str:
    """The command of a Python in which the copy is installed."""
    installed = Path(next(iter(moiety.protocols.__path__))).parent
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "*.onnx")
        shutil.copytree(installed / room, tmp_path / "copy" / "moiety" / room, ignore=ignored)
    return f"env PYTHONPATH={tmp_path / 'copy'} {sys.executable}"


def given(compiled: Compiled, other: str, folder: Path) -> list[str]:
    """Options for one image of the small model, compiled before."""
    for side in paired.SIDES:
        shutil.copytree(compiled.folder, folder / f"{side}-exact")
    picture = next(compiled.pictures.iterdir())
    arguments = ["--model", compiled.model, "--image", picture, "--keep", folder]
    arguments += ["--other", other, "--roundings", "exact", "--runs", 1, "--no-pin"]
    return list(map(str, arguments))


@pytest.mark.timeout(200)
def test_rows_and_table_of_both_sides(compiled: Compiled, copy: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    options = given(compiled, copy, tmp_path / "plans")
    rows = paired.main([*options, "--batch", "2", "--json", str(file)])
    assert [row["side"] for row in rows] == ["other", "this"]
    other, this = rows
    for row in rows:
        assert row["verified"]
        assert row["batch"] == 2
        assert row["max_diff_cleartext"] == 0
    for same in ("bytes_total", "rounds", "rounding", "link"):
        assert this[same] == other[same]
    *_, first, second, quotients = paired.table(rows)
    assert first.startswith("| exact | loopback | other, ")
    assert second.startswith("| exact | loopback | this, ")
    assert quotients.count("1.00x") >= 3  # bytes each way, flights


def test_a_commit_is_not_compared_with_itself(compiled: Compiled, tmp_path: Path) -> None:
    options = given(compiled, sys.executable, tmp_path / "plans")
    with pytest.raises(BadInput, match="both sides are the package in"):
        paired.main(options)


def test_a_side_that_fails_is_named(compiled: Compiled, tmp_path: Path) -> None:
    options = given(compiled, f"{sys.executable} -c 1/0", tmp_path / "plans")
    with pytest.raises(BadInput, match="the other side ended with exit code 1"):
        paired.main(options)
