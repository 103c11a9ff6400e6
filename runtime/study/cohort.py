"""The cohort's list: which images, what is known of each, and where it is from.

    file,site,patient,Effusion,Edema
    images/1.png,north,p1,1,0
    images/2.png,south,p2,,-1

A file (relative to the list, or to `--images`) or a SOP Instance UID a line. A label is 1, 0, empty
where nobody knows, or -1 where the reader was uncertain, which the user must say how to take.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.beside import Row, Rows
from moiety.runtime.intake.contents import what_is_in_the_way
from moiety.runtime.intake.text import printable
from moiety.runtime.study.lists import FILES, UIDS, CsvList, Line

WHAT = "a cohort's list"
ID = "id"
Uncertain = Literal["unknown", "positive", "negative"]
UNCERTAIN: dict[Uncertain, float] = {"unknown": math.nan, "positive": 1.0, "negative": 0.0}
VALUES = {"": math.nan, "1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0}
DOUBTED = ("-1", "-1.0")


@dataclass(frozen=True)
class Columns:
    """How the user names what the list has: `labels`, the model's label -> the list's column, where
    it is not the same; site, patient: None for the usual names, where there are such columns.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    site: str | None = None
    patient: str | None = None
    uncertain: Uncertain | None = None


@dataclass(frozen=True)
class Listed:
    """One line of a cohort. entry: its file or UID as the list has it; name: its `id`, where the
    list has such a column. truth: a value per label of the cohort.
    """

    line: int
    entry: str
    file: Path
    name: str
    truth: tuple[float, ...]
    site: str
    patient: str


@dataclass(frozen=True)
class CohortList:
    """labels: those of the model that the list has a column for, in the model's order; missing: the
    others. key: the column by which images are named. sites, patients: whether it has such columns.
    rows: what its lines say for the model's further inputs.
    """

    path: Path
    labels: tuple[str, ...]
    missing: tuple[str, ...]
    key: str
    lines: tuple[Listed, ...]
    sites: bool
    patients: bool
    uncertain: int
    rows: Rows

    def place(self, listed: Listed) -> str:
        """For messages."""
        return f"{printable(self.path)}, line {listed.line}"

    def digest(self) -> str:
        """SHA-256 over what the list says of its images, hexadecimal."""
        state = hashlib.sha256(repr(self.labels).encode())
        for each in self.lines:
            state.update(repr((each.entry, each.truth, each.site, each.patient)).encode())
        return state.hexdigest()


Locate = Callable[[Sequence[tuple[str, str]]], list[Path]]
"""From (place, UID) each to the files that hold them."""


def read_cohort(
    path: Path, model_labels: Sequence[str], columns: Columns, images: Path | None, locate: Locate
) -> CohortList:
    """Raises `BadInput` that names the line and the column."""
    table = CsvList.read(path, WHAT, (*FILES, *UIDS))
    labels = _label_columns(table, model_labels, columns.labels)
    if not labels:
        raise BadInput(
            f"{printable(path)}, line 1: no column for any of the model's labels "
            f"({', '.join(map(printable, model_labels))}); say which with --label LABEL=COLUMN"
        )
    site, patient = _where(table, columns.site, "site"), _where(table, columns.patient, "patient")
    by_file = table.find(FILES)
    key = by_file or table.find(UIDS)
    assert key is not None  # the table was found by it
    doubts = _Doubts(columns.uncertain)
    truths = [
        tuple(_value(table, line, column, doubts) for column in labels.values())
        for line in table.lines
    ]
    doubts.check(table)
    entries = _entries(table, key)
    files = (
        [_file(table, line, entry, images) for line, entry in entries]
        if by_file
        else locate([(f"{printable(path)}, line {line.number}", entry) for line, entry in entries])
    )
    at_name = table.columns.index(ID) if ID in table.columns else None
    listed = tuple(
        Listed(
            line.number,
            entry,
            file,
            "" if at_name is None else line.cells[at_name],
            truth,
            "" if site is None else line.cells[site],
            "" if patient is None else line.cells[patient],
        )
        for (line, entry), file, truth in zip(entries, files, truths, strict=True)
    )
    return CohortList(
        path,
        tuple(labels),
        tuple(label for label in model_labels if label not in labels),
        key,
        listed,
        site is not None,
        patient is not None,
        doubts.count,
        _rows(table, listed, images),
    )


def _label_columns(
    table: CsvList, labels: Sequence[str], named: Mapping[str, str]
) -> dict[str, int]:
    """Label -> where its column is, for those that have one. Raises `BadInput`."""
    for label in named:
        if label not in labels:
            raise BadInput(
                f"--label {printable(label)}=...: the model has no such label; it has "
                f"{', '.join(map(printable, labels))}"
            )
    found = {}
    for label in labels:
        if label in named:
            found[label] = table.column(named[label], f"--label {label}={named[label]}")
        elif column := table.find([label]):
            found[label] = table.columns.index(column)
    for label, at in found.items():
        if (times := labels.count(label)) > 1:
            raise BadInput(
                f"{printable(table.path)}, line 1: the model calls {times} of its values "
                f"'{printable(label)}', so which of them the column "
                f"'{printable(table.columns[at])}' is about cannot be told; ask the vendor for a "
                "model that has a name for each (moiety compile --labels)"
            )
    return found


def _where(table: CsvList, named: str | None, usual: str) -> int | None:
    """The column of sites or patients, where there is one."""
    if named is not None:
        return table.column(named, f"--{usual}-column")
    found = table.find([usual, f"{usual}_id"])
    return None if found is None else table.columns.index(found)


@dataclass
class _Doubts:
    """The -1 of a list: how they are taken, how many there are, and where the first is."""

    taken: Uncertain | None
    count: int = 0
    first: tuple[Line, str] | None = None

    def check(self, table: CsvList) -> None:
        if self.taken is None and self.first is not None:
            line, column = self.first
            table.refuse(
                line,
                f"column {column}: -1, uncertain, which the list has in {self.count} places; say "
                f"how that is taken: --uncertain {'|'.join(UNCERTAIN)}",
            )


def _value(table: CsvList, line: Line, column: int, doubts: _Doubts) -> float:
    cell, name = line.cells[column], table.columns[column]
    if cell in DOUBTED:
        doubts.count += 1
        doubts.first = doubts.first or (line, name)
        return UNCERTAIN[doubts.taken or "unknown"]
    if cell not in VALUES:
        table.refuse(
            line,
            f"column {name}: '{cell[:40]}' is no label; 1, 0, empty where it is unknown, or -1 "
            "where it is uncertain",
        )
    return VALUES[cell]


def _entries(table: CsvList, key: str) -> list[tuple[Line, str]]:
    """What names the image of each line; no two the same."""
    at = table.columns.index(key)
    first: dict[str, Line] = {}
    for line in table.lines:
        entry = line.cells[at]
        if not entry:
            table.refuse(line, f"column {key}: no image is named")
        if entry in first:
            table.refuse(
                line,
                f"column {key}: '{entry}' is in line {first[entry].number}, too; leave it in one",
            )
        first[entry] = line
    return [(line, line.cells[at]) for line in table.lines]


def _file(table: CsvList, line: Line, entry: str, images: Path | None) -> Path:
    file = (images or table.path.parent) / entry
    if obstacle := what_is_in_the_way(file):
        table.refuse(
            line,
            f"'{entry}' is not an image file ({obstacle}; names are relative to "
            f"{'--images' if images else 'the folder of the list'})",
        )
    return file


def _rows(table: CsvList, listed: Sequence[Listed], images: Path | None) -> Rows:
    """The lines' cells, for further inputs; files among them lie where the images do."""
    return {
        each.file: [
            Row.of(
                f"{printable(table.path)}, line {line.number}",
                images or table.path.parent,
                zip(table.columns, line.cells, strict=True),
            )
        ]
        for each, line in zip(listed, table.lines, strict=True)
    }
