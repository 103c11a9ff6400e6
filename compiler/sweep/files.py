"""A sweep and the folder that it is kept in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from moiety.compiler.compile_files import writing
from moiety.compiler.sweep.journal import Journal
from moiety.compiler.sweep.rows import PlanRow, write_labels, write_plans
from moiety.compiler.sweep.run import Sweep

JOURNAL, PLANS, LABELS = "journal.jsonl", "plans.csv", "labels.csv"


def journal_of(folder: Path) -> Journal:
    """Of the folder, which is made where it is missing. Raises `BadInput`."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return Journal.open(folder / JOURNAL)


def kept(sweep: Sweep, folder: Path, note: Callable[[PlanRow], None]) -> list[PlanRow]:
    """All rows; after each the folder has the tables of those so far, and `note` is told."""
    rows: list[PlanRow] = []
    for row in sweep.run():
        rows.append(row)
        with writing(folder):
            write_plans(rows, folder / PLANS)
            if sweep.corpus.labels:
                write_labels(rows, folder / LABELS)
            else:  # of other images, with labels
                (folder / LABELS).unlink(missing_ok=True)
        note(row)
    return rows
