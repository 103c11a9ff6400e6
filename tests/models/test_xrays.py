"""Images to try a network with are always there: real ones of the data folder, else drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moiety.models import xrays
from moiety.runtime.intake.collect import collect
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.presets import preset


def test_without_data_they_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOIETY_DATA", str(tmp_path / "absent"))
    assert xrays.data_folder() is None
    shape = (3, 224, 224)
    picture = xrays.example_image(tmp_path)
    assert load(picture, Reader(shape, preset("imagenet", shape))).tensor.shape == shape
    drawn = collect(xrays.calibration_images(tmp_path)).files
    assert len(drawn) == xrays.CALIBRATION_IMAGES


def test_with_data_they_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOIETY_DATA", str(tmp_path))
    folder = tmp_path / "images"
    for split, count in (("train", 40), ("test", 2)):
        (folder / split).mkdir(parents=True)
        for index in range(count):
            np.save(folder / split / f"{index:02}.npy", np.zeros(1))
    assert xrays.data_folder() == tmp_path
    assert xrays.example_image(tmp_path) == folder / "test" / "00.npy"
    chosen = xrays.calibration_images(tmp_path)
    assert len({*chosen}) == xrays.CALIBRATION_IMAGES
    assert (chosen[0].name, chosen[-1].name) == ("00.npy", "39.npy")
    for file in chosen[1:]:
        file.unlink()
    assert chosen[0] in xrays.calibration_images(tmp_path)


def test_data_are_found_beside_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the package is installed: tests run from a checkout against the installed one."""
    data = tmp_path / "shared" / "data"
    (data / "images").mkdir(parents=True)
    (tmp_path / "checkout").mkdir()
    monkeypatch.delenv("MOIETY_DATA", raising=False)
    monkeypatch.chdir(tmp_path / "checkout")
    assert xrays.data_folder() == data
