"""Cleartext scores that the hospital was given, joined to its cohort image by image.

    file,Effusion,Edema
    images/1.png,0.31,-2.4

Lines are found by a column that both lists have (`id`, or what names the images), else by the
file's name without folder and ending. Scores must be on the scale that the Program reveals (logits,
usually): what compares scores with scores means nothing otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.text import printable
from moiety.runtime.study.cohort import ID, CohortList, Listed
from moiety.runtime.study.lists import FILES, UIDS, CsvList, Line
from moiety.runtime.study.table import TOO_LARGE, Kind

WHAT = "a list of reference scores"
SCORES: Mapping[str, Kind | None] = {
    "logit": "logits",
    "score": None,
    "probability": "probabilities",
}
"""What may stand before a label in the name of its column, and what it says the scores are."""


@dataclass(frozen=True)
class Reference:
    """scores: by the cohort's line, one for each of its labels. unused: lines of other images."""

    path: Path
    scores: Mapping[int, tuple[float, ...]]
    unused: int


def read_reference(
    path: Path, cohort: CohortList, columns: Mapping[str, str], kind: Kind = "logits"
) -> Reference:
    """columns: label -> the column of its scores, where it is not called so. kind: what the Program
    reveals. Raises `BadInput` that names line and column, also where an image of the cohort has no
    scores.
    """
    table = CsvList.read(path, WHAT, (ID, *FILES, *UIDS))
    at = [_column(table, label, columns, kind) for label in cohort.labels]
    key, name_of = _join(table, cohort)
    lines = _by_key(table, key)
    scores: dict[int, tuple[float, ...]] = {}
    for listed in cohort.lines:
        line = lines.pop(name_of(listed), None)
        if line is None:
            raise BadInput(
                f"{cohort.place(listed)}: {printable(path)} has no scores of "
                f"'{printable(name_of(listed))}' (column {key}); take the image out of the cohort, "
                "or add its scores"
            )
        scores[listed.line] = tuple(_score(table, line, column, kind) for column in at)
    if kind not in ("decisions", "choices") and set().union(*scores.values()) <= {0.0, 1.0}:
        raise BadInput(
            f"{printable(path)}: all that it has of this cohort is 0 or 1: labels, it seems, and "
            "no scores of a model"
        )
    return Reference(path, scores, len(lines))


def _column(table: CsvList, label: str, columns: Mapping[str, str], kind: Kind) -> int:
    if label in columns:
        option = f"--reference-label {label}={columns[label]}"
        return table.column(columns[label], option)
    called = {f"{word}_{label}": says for word, says in SCORES.items()}
    found = table.find([label, *called])
    if found is None:
        raise BadInput(
            f"{printable(table.path)}, line {table.header}: no column for the label "
            f"{printable(label)}; there is {', '.join(map(printable, table.columns))}. Say which "
            f"with --reference-label '{printable(label)}=COLUMN'"
        )
    says = next((called[name] for name in called if table.find([name]) == found), None)
    if {says, kind} == {"logits", "probabilities"}:
        raise BadInput(
            f"{printable(table.path)}, line {table.header}: column {printable(found)} has {says}, "
            f"and the Program reveals {kind}; give {kind}, because their differences are compared"
        )
    return table.columns.index(found)


def _join(table: CsvList, cohort: CohortList) -> tuple[str, Callable[[Listed], str]]:
    """The column of the scores' list that names images, and what of a cohort's line it holds."""
    key = table.find([cohort.key])
    if key is not None:
        return key, _entry
    if ID in table.columns and all(listed.name for listed in cohort.lines):
        return ID, _name
    for column in (ID, *FILES):
        if column in table.columns:
            return column, _stem
    raise BadInput(
        f"{printable(table.path)}, line {table.header}: no column says which image of the cohort a "
        f"line is about: '{cohort.key}', or {ID} in both lists"
    )


def _entry(listed: Listed) -> str:
    return listed.entry


def _name(listed: Listed) -> str:
    return listed.name


def _stem(listed: Listed) -> str:
    return Path(listed.entry).stem


def _by_key(table: CsvList, key: str) -> dict[str, Line]:
    at = table.columns.index(key)
    lines: dict[str, Line] = {}
    for line in table.lines:
        name = line.cells[at]
        if name in lines:
            table.refuse(
                line, f"column {key}: '{name}' has scores in line {lines[name].number}, too"
            )
        lines[name] = line
    return lines


def _score(table: CsvList, line: Line, column: int, kind: Kind) -> float:
    cell = line.cells[column]
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    wanted = None if abs(value) < TOO_LARGE else "score"
    if kind == "decisions" and value not in (0, 1):
        wanted = "decision, 1 or 0, which is what the Program reveals"
    if kind == "probabilities" and not 0 <= value <= 1:
        wanted = "probability, from 0 to 1, which is what the Program reveals"
    if wanted:
        table.refuse(line, f"column {table.columns[column]}: '{cell[:40]}' is no {wanted}")
    return value
