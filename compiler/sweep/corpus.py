"""Images to judge plans on, and what is known of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.beside import Row, Rows
from moiety.runtime.intake.text import printable

PATIENT = "patient"
"""The column of a list whose images are not independent where it is the same."""

TRUTHS = {"": np.nan, "-1": np.nan, "0": 0.0, "0.0": 0.0, "1": 1.0, "1.0": 1.0}
"""What a label's cell may say. -1, uncertain, counts as unknown here."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """`files`, and of each the `truth`, float64 `(images, labels)`: 0, 1, or NaN where unknown;
    `groups`, `(images,)`: images of one patient share a name. Without `labels`, truth has no
    columns.
    """

    files: list[Path]
    groups: npt.NDArray[np.str_]
    truth: F64
    labels: tuple[str, ...] = ()

    def digest(self) -> str:
        """SHA-256 of all pictures and of what is known of them."""
        found = hashlib.sha256(repr((self.labels, list(self.groups))).encode())
        found.update(self.truth.tobytes())
        found.update(digest_of(self.files).encode())
        return found.hexdigest()


def digest_of(files: Sequence[Path]) -> str:
    """SHA-256 of the contents of files, in order. Raises `BadInput`."""
    found = hashlib.sha256()
    for file in files:
        try:
            found.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise BadInput(f"cannot read {printable(file)}: {error.strerror or error}") from None
    return found.hexdigest()


def corpus_of(files: Sequence[Path], rows: Rows, labels: Sequence[str]) -> Corpus:
    """Images with what CSV lists say of them: a column for each of the `labels` that there is one
    of, and `patient`. Raises `BadInput` for a label that is neither 1, 0, empty nor -1.
    """
    lines = [next(iter(rows.get(file, [])), None) for file in files]
    columns = {column for line in lines if line for column in line.cells}
    known = tuple(label for label in labels if label in columns)
    truth = [[_truth(line, label) for label in known] for line in lines]
    groups = [(line and line.cells.get(PATIENT)) or f"image {i}" for i, line in enumerate(lines)]
    shape = (len(files), len(known))
    return Corpus(
        list(files), np.array(groups, str), np.array(truth, np.float64).reshape(shape), known
    )


def _truth(line: Row | None, label: str) -> float:
    cell = (line.cells.get(label) or "") if line else ""
    if cell not in TRUTHS:
        assert line is not None
        raise BadInput(
            f"{printable(line.place)}: {printable(label)} is {printable(cell)!r}; a label is 1, 0, "
            "or empty where it is unknown"
        )
    return TRUTHS[cell]
