"""Every benchmark explains itself, and only what is run by hand stands beside the others."""

from __future__ import annotations

import os

import pytest

from benchmarks.support.harness import ROOT
from tests.support.forks import run_module
from tests.support.imports import NEEDS_RAY, NEEDS_TORCH

ENTRY_POINTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_help_explains(name: str) -> None:
    for library, needed_by in (("torch", NEEDS_TORCH), ("ray", NEEDS_RAY)):
        if f"benchmarks.{name}" in needed_by:
            pytest.importorskip(library)
    done = run_module(f"benchmarks.{name}", ["--help"], os.environ, timeout=60)
    done.check_returncode()
    assert f"python -m benchmarks.{name}" in done.stdout
    assert "usage:" in done.stdout


def test_what_is_not_run_by_hand_is_support() -> None:
    for name in ENTRY_POINTS:
        text = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        assert f"    python -m benchmarks.{name}" in text
        assert 'if __name__ == "__main__":' in text
