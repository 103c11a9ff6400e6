"""CSV lists as hospitals export them: with or without a byte order mark, with commas, semicolons or
tabs. Every complaint names the line and, where it is about one, the column.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.text import printable

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
FILES = ("file", "image", "path")
UIDS = ("sopinstanceuid", "sop_instance_uid", "uid")
LARGEST_LIST = 1 << 28


@dataclass(frozen=True)
class Line:
    """One row of a list. number: its line in the file, from 1; cells: by the header's columns."""

    number: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class CsvList:
    """A list; header: the line of its `columns`. Cells are stripped of blanks around them."""

    path: Path
    header: int
    columns: tuple[str, ...]
    lines: tuple[Line, ...]

    @classmethod
    def read(cls, path: Path, what: str, keys: Sequence[str]) -> CsvList:
        """`what`: the kind of list, for messages; `keys`: columns one of which it must have, by
        which its delimiter is told. Raises `BadInput`.
        """
        text = _text(path, what)
        before, first = next(
            (place, line) for place, line in enumerate(text.split("\n")) if line.strip()
        )
        found = [
            delimiter
            for delimiter in DELIMITERS
            if set(keys) & {cell.strip(' "\r').lower() for cell in first.split(delimiter)}
        ]
        table = cls._parsed(path, text, found[0]) if found else None
        if table is None or table.find(keys) is None:  # quotes may make other cells of the line
            _refuse(
                path,
                1 + before,
                f"the header of {what} must have a column {' or '.join(keys)}, separated by "
                f"{', '.join(DELIMITERS.values())}; it is {first.strip()[:200]!r}",
            )
        return table

    @classmethod
    def _parsed(cls, path: Path, text: str, delimiter: str) -> CsvList:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows: list[Line] = []
        begun = 1
        try:
            for row in reader:
                if any(cell.strip() for cell in row):
                    rows.append(Line(begun, tuple(cell.strip() for cell in row)))
                begun = reader.line_num + 1
        except csv.Error as error:
            _refuse(path, begun, f"no CSV: {error}")
        header, *lines = rows
        _check_header(path, header)
        for line in lines:
            if len(line.cells) != len(header.cells):
                _refuse(
                    path,
                    line.number,
                    f"{len(line.cells)} cells under {len(header.cells)} columns (separated by "
                    f"{DELIMITERS[delimiter]})",
                )
        if not lines:
            _refuse(path, header.number, "a header and no line below it")
        return cls(path, header.number, header.cells, tuple(lines))

    def find(self, names: Iterable[str]) -> str | None:
        """The column that is called by one of these names, however it is written ("COVID 19" for
        `covid_19`); the first name that there is a column for. Raises `BadInput` where two columns
        would do.
        """
        for name in names:
            alike = [column for column in self.columns if column == name] or [
                column for column in self.columns if _plain(column) == _plain(name)
            ]
            if len(alike) > 1:
                _refuse(
                    self.path,
                    self.header,
                    f"the columns {' and '.join(alike)} both may be '{name}'",
                )
            if alike:
                return alike[0]
        return None

    def column(self, name: str, option: str) -> int:
        """Where the column is that an option names. Raises `BadInput`."""
        found = self.find([name])
        if found is None:
            _refuse(
                self.path,
                self.header,
                f"no column '{name}', which {option} names; there is {', '.join(self.columns)}",
            )
        return self.columns.index(found)

    def refuse(self, line: Line, reason: str) -> NoReturn:
        """BadInput about a line."""
        _refuse(self.path, line.number, reason)


def _text(path: Path, what: str) -> str:
    try:
        if path.stat().st_size > LARGEST_LIST:
            raise BadInput(f"{printable(path)}: larger than {LARGEST_LIST >> 20} MiB: not {what}")
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{printable(path)}: cannot read {what}: {error.strerror}") from error
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _refuse(path, line, "not UTF-8; save the list as 'CSV UTF-8'")
    if not text.strip():
        raise BadInput(f"{printable(path)}: {what} is empty")
    return text


def _check_header(path: Path, header: Line) -> None:
    for place, cell in enumerate(header.cells):
        if cell and cell in header.cells[:place]:
            _refuse(path, header.number, f"two columns are called '{cell}'")


def _plain(name: str) -> str:
    """What is left of a name when it does not matter how it is written."""
    return "".join(c for c in name.casefold() if c not in " _-")


def _refuse(path: Path, line: int, reason: str) -> NoReturn:
    raise BadInput(printable(f"{path}, line {line}: {reason}"))
