"""Chest x-rays to try a network with: real ones of a data folder where there is one, else drawn."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from moiety.models.synthetic import synthetic_radiograph
from moiety.runtime.intake.collect import collect

CALIBRATION_IMAGES = 32
HOW_TO_GIVE_DATA = (
    "set MOIETY_DATA to a folder with images/ and labels.csv, or lay it at ../shared/data"
)


def data_folder() -> Path | None:
    """The folder that MOIETY_DATA names, else `../shared/data` seen from the working directory, as
    it lies beside a checkout wherever the package is installed; None where it holds no `images`.
    """
    folder = Path(os.environ.get("MOIETY_DATA") or Path.cwd().parent / "shared" / "data")
    return folder if (folder / "images").is_dir() else None


def example_image(work: Path) -> Path:
    """The first real x-ray of the test split, else one drawn into the folder `work`."""
    if (data := data_folder()) is not None:
        return collect([data / "images" / "test"]).files[0]
    return _drawn(work / "synthetic-radiograph.png", seed=0)


def calibration_images(work: Path) -> list[Path]:
    """Images like the ones to come: evenly spaced over the real training split, else drawn into the
    folder `work`.
    """
    if (data := data_folder()) is not None:
        found = collect([data / "images" / "train"]).files
        chosen = np.linspace(0, len(found) - 1, min(CALIBRATION_IMAGES, len(found)))
        return [found[index] for index in chosen.round().astype(int)]
    return [_drawn(work / f"drawn-{n}.png", seed=n) for n in range(1, CALIBRATION_IMAGES + 1)]


def _drawn(file: Path, seed: int) -> Path:
    Image.fromarray(synthetic_radiograph(seed)).save(file)
    return file
