"""The folder that `moiety compile` writes, as the two parties read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moiety.protocols.errors import BadArtifact
from moiety.runtime.program.artifacts import load_program, load_vendor
from tests.support.runnable import save, small


def test_round_trip(tmp_path: Path) -> None:
    program, weights = small()
    save(tmp_path / "compiled", program, weights)
    loaded, tensors = load_vendor(tmp_path / "compiled")
    assert loaded == program
    assert all(
        np.array_equal(tensors.tensors[name], array) for name, array in weights.tensors.items()
    )
    for place in ("compiled", "compiled/public", "compiled/public/program.json"):
        assert load_program(tmp_path / place) == program


def test_missing_artifacts(tmp_path: Path) -> None:
    with pytest.raises(BadArtifact, match="no such folder"):
        load_program(tmp_path / "nowhere")
    with pytest.raises(BadArtifact, match=r"no program\.json"):
        load_program(tmp_path)
    program, weights = small()
    save(tmp_path, program, weights)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(BadArtifact, match=r"no weights\.safetensors"):
        load_vendor(tmp_path)
