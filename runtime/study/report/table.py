"""A table of the report: defined once, shown in the page and written as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from moiety.runtime.results.table import guarded
from moiety.runtime.study.report.words import DASH, Shown, Value, text


@dataclass(frozen=True)
class Column:
    """`name`: in the CSV file, where an interval has two columns. `heading`: for people. `show`:
    how its values are said.
    """

    name: str
    heading: str
    show: Shown = text
    interval: bool = False

    @property
    def numeric(self) -> bool:
        return self.show is not text

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{self.name}_low", f"{self.name}_high") if self.interval else (self.name,)


@dataclass(frozen=True)
class Row:
    """A value for each column. `why`: why there is none where it is None."""

    values: tuple[Value, ...]
    why: str | None = None

    @property
    def reason(self) -> str | None:
        """Nothing to say where no value is missing."""
        return self.why if None in self.values else None


@dataclass(frozen=True)
class Cell:
    """What the page shows; `note`: number of the footnote that says why it is a dash, at the
    first of a row.
    """

    shown: str
    numeric: bool
    note: int | None = None


@dataclass(frozen=True)
class Table:
    """`key`: name of its CSV file, and its place in the page. `headers`: so many columns name what
    a row is about; where these are two, rows that agree in the first are shown as a group under its
    name. `in_page`: no if it is a CSV file alone.
    """

    kind: ClassVar = "table"
    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]
    headers: int = 1
    in_page: bool = True

    @property
    def notes(self) -> list[str]:
        """Its footnotes, in the order of their numbers."""
        return list(dict.fromkeys(row.reason for row in self.rows if row.reason))

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns in the page: without the one that names groups."""
        return self.columns[self.headers - 1 :]

    def groups(self) -> list[tuple[str, list[list[Cell]]]]:
        """Name and rows of each; one without a name where rows are not grouped."""
        if self.headers == 1:
            return [("", [self._cells(row) for row in self.rows])]
        alike = groupby(self.rows, key=lambda row: row.values[0])
        return [(str(name), [self._cells(row) for row in rows]) for name, rows in alike]

    def _cells(self, row: Row) -> list[Cell]:
        note = self.notes.index(row.reason) + 1 if row.reason else None
        cells = []
        for column, value in zip(self.shown, row.values[self.headers - 1 :], strict=True):
            absent = value is None and column.show(value) == DASH
            cells.append(Cell(column.show(value), column.numeric, note if absent else None))
            note = None if absent else note
        return cells

    def as_csv(self) -> bytes:
        """With a line of headers, numbers as they are, an empty cell for what there is not."""
        reasons = ("reason",) if self.notes else ()
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([*(name for column in self.columns for name in column.names), *reasons])
        for row in self.rows:
            writer.writerow([*self._flat(row), *((row.reason,) if reasons else ())])
        return buffer.getvalue().encode()

    def _flat(self, row: Row) -> Iterator[Value]:
        for column, value in zip(self.columns, row.values, strict=True):
            if column.interval:
                yield from value if isinstance(value, tuple) else (None, None)
            else:
                assert not isinstance(value, tuple)
                yield guarded(value) if isinstance(value, str) else value
