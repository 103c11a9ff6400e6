"""A labelled image folder: `labels.csv` beside the images, one line per image.

Columns: `file`, `split` (train, val, test), `group_id` (patient), and one per label, 0, 1 or empty
(unknown). A label of the model is the column of its name, with or without the prefix `nih_`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.harness import data_folder
from moiety.models.synthetic import synthetic_radiograph
from moiety.protocols.errors import BadInput
from moiety.runtime.intake import pictures as images


@dataclass(frozen=True, eq=False)
class Corpus:
    """Images of one split. `truth` float64 `(images, labels)`: 0, 1, or nan where unknown."""

    files: list[Path]
    groups: npt.NDArray[np.str_]
    truth: npt.NDArray[np.float64]
    labels: tuple[str, ...]


def read_corpus(
    folder: Path, split: str, labels: Sequence[str], count: int | None = None
) -> Corpus:
    """The first `count` of evenly spaced images of a split (all when None). BadInput
    if folder or labels do not fit.
    """
    table = folder / "labels.csv"
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.DictReader(file) if row.get("split") == split]
    except OSError as error:
        raise BadInput(
            f"cannot read {table}: {error.strerror or error}; set MOIETY_DATA or give --data"
        ) from None
    if not rows:
        raise BadInput(f"{table} has no image of split {split!r}")
    columns = [
        next((name for name in (label, f"nih_{label}") if name in rows[0]), None)
        for label in labels
    ]
    if missing := [label for label, column in zip(labels, columns, strict=True) if column is None]:
        raise BadInput(f"{table} has no column for {', '.join(missing)}")
    if count is not None and count < len(rows):
        rows = [rows[index] for index in np.linspace(0, len(rows) - 1, count).round().astype(int)]
    truth = [
        [float(row[column]) if row[column] else np.nan for column in columns if column]
        for row in rows
    ]
    return Corpus(
        [folder / row["file"] for row in rows],
        np.array([row.get("group_id") or row["file"] for row in rows]),
        np.array(truth, np.float64),
        tuple(labels),
    )


CALIBRATION_IMAGES = 32


def calibration_images(work: Path) -> list[Path]:
    """Images like the ones to come: evenly spaced over the data folder's training
    split, else drawn into `work`.
    """
    data = data_folder()
    if data is not None:
        found = images.collect([data / "images" / "train"])
        return [
            found[index]
            for index in np.linspace(0, len(found) - 1, CALIBRATION_IMAGES).round().astype(int)
        ]
    return [_drawn(work, seed) for seed in range(1, CALIBRATION_IMAGES + 1)]


def example_image(work: Path) -> Path:
    """A real x-ray of the test split of the data folder, else a drawn one in `work`."""
    data = data_folder()
    return images.collect([data / "images" / "test"])[0] if data is not None else _drawn(work, 0)


def _drawn(work: Path, seed: int) -> Path:
    file = work / f"drawn-{seed}.png"
    Image.fromarray(synthetic_radiograph(seed)).save(file)
    return file
