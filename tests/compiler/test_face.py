"""The compiler's face: which names it exports, and that it costs nothing to look at it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import moiety.compiler

NAMES = {
    "CompileOptions",
    "Compiled",
    "PlanOptions",
    "Ranges",
    "compile_graph",
    "compile_model",
    "import_onnx",
    "optimise",
}


def test_exported_names() -> None:
    assert set(moiety.compiler.__all__) == NAMES
    for name in NAMES:
        assert getattr(moiety.compiler, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'compile_everything'"):
        _ = moiety.compiler.compile_everything


def test_importing_it_loads_nothing() -> None:
    probe = (
        "import sys, moiety.compiler; print([m for m in sys.modules if m.startswith('moiety.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "['moiety.compiler']"
