"""What a sweep says of images that its plans have seen already."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from moiety.compiler.commands.sweep import judged_images
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.intake.loader import Reader, load
from tests.support.runnable import save_images

SHAPE = (2, 8, 8)


@pytest.mark.parametrize("again", [0, 1, 3])
def test_images_of_the_calibration_are_named(
    again: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what is in them, for a copy has another name."""
    reader = Reader(SHAPE, None)
    calibration = save_images(tmp_path / "calibration", 4)
    held_out = tmp_path / "held-out"
    held_out.mkdir()
    for number in range(3):
        np.save(held_out / f"{number}.npy", np.full(SHAPE, number, np.float32) + np.eye(8)[None])
    for number in range(again):
        shutil.copy(calibration[number], held_out / f"{number}.npy")
    seen = frozenset(load(file, reader).identity.pixel_sha256 for file in calibration)
    subject: Any = SimpleNamespace(reader=reader, labels=(), calibrated=seen)
    judged_images(Given([held_out]), subject)
    said = capsys.readouterr().err
    assert ("calibration" in said) == (again > 0)
    if again:
        assert f"warning: {again} of 3 images of --images are calibration images" in said
        assert f"{held_out / '0.npy'}" in said
        assert "other images" in said
