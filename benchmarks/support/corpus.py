"""A labelled image folder: `labels.csv` beside the images, one line per image.

Columns: `file`, `split` (train, val, test), `group_id` (patient), `site` (where it was taken), and
one per label, 0, 1 or empty (unknown). A label of the model is the column of its name, with or
without the prefix `nih_`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moiety.compiler.sweep.corpus import Corpus
from moiety.models.xrays import HOW_TO_GIVE_DATA
from moiety.protocols.errors import BadInput


def images_of_sites(folder: Path, split: str, count: int) -> dict[Path, str]:
    """`count` images of a split with their sites, of every site if there are not more of them: in
    turns one of each, those of a site evenly spaced. BadInput if the folder does not fit.
    """
    by_site: dict[str, list[Path]] = {}
    for row in _rows(folder, split):
        by_site.setdefault(row.get("site") or "", []).append(folder / row["file"])
    turns = -(-count // len(by_site))
    chosen: list[tuple[int, str, Path]] = []
    for site, files in by_site.items():
        taken = min(turns, len(files))
        chosen += [(turn, site, files[turn * len(files) // taken]) for turn in range(taken)]
    return {file: site for _, site, file in sorted(chosen)[:count]}


def _rows(folder: Path, split: str) -> list[dict[str, str]]:
    """The table's lines of a split. BadInput if there are none."""
    table = folder / "labels.csv"
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.DictReader(file) if row.get("split") == split]
    except OSError as error:
        raise BadInput(
            f"cannot read {table}: {error.strerror or error}; {HOW_TO_GIVE_DATA}"
        ) from None
    if not rows:
        raise BadInput(f"{table} has no image of split {split!r}")
    return rows


def read_corpus(
    folder: Path, split: str, labels: Sequence[str], count: int | None = None
) -> Corpus:
    """The first `count` of evenly spaced images of a split (all when None). BadInput if folder or
    labels do not fit.
    """
    table, rows = folder / "labels.csv", _rows(folder, split)
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
