"""What `python -m tests.faults.study_kills` compares: it sees what should not be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moiety.runtime.study.journal import NAME
from tests.faults.study_kills import faults

PAGE = '<p>{}</p><section id="resources"><p>{}</p></section><p>the end</p>'


def a_study(folder: Path, keys: str = "abc", result: str = "0.7", took: str = "1 s") -> None:
    """Of an image for each letter."""
    (folder / "tables").mkdir(parents=True)
    words = [{"format": "head"}, *({"key": key} for key in keys)]
    lines = [f"digest {json.dumps(word)}\n" for word in words]
    (folder / NAME).write_text("".join(lines) + 'digest {"key')
    numbers = {"analysis": {"auroc": result, "resources": took}, "facts": {}}
    (folder / "report.json").write_text(json.dumps(numbers))
    (folder / "report.html").write_text(PAGE.format(result, took))
    (folder / "tables" / "auroc.csv").write_text(result)
    (folder / "tables" / "resources.csv").write_text(took)


@pytest.mark.parametrize(
    ("killed", "bad"),
    [
        ({"took": "9 s"}, []),
        (
            {"keys": "abb"},
            ["image b is in the journal 2 times", "2 images of 3 are in the journal"],
        ),
        ({"keys": "ab"}, ["2 images of 3 are in the journal"]),
        (
            {"result": "0.8"},
            ["report.html differs", "report.json differs", "tables/auroc.csv differs"],
        ),
    ],
)
def test_only_resources_may_differ(killed: dict[str, str], bad: list[str], tmp_path: Path) -> None:
    a_study(tmp_path / "killed", **killed)
    a_study(tmp_path / "whole")
    assert faults(tmp_path, 3) == bad


def test_a_report_that_is_not_there_is_missed(tmp_path: Path) -> None:
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
    assert faults(tmp_path, 0) == ["there is no report"]
