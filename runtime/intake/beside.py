"""What is given beside a file for the model's further inputs: words of a line of a CSV list, or of
the command line, each of which is numbers or the name of a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.contents import what_is_in_the_way
from moiety.runtime.intake.text import printable

Word = tuple[float, ...] | Path
"""Numbers, or a file that holds a tensor or a picture."""

Rows = Mapping[Path, "list[Row]"]
"""By the file that they stand beside."""


@dataclass(frozen=True)
class Row:
    """One line. place: where it stands, for messages. folder: what names of files are relative to.
    cells: by column; None where there are two of it. asked: every column must be an input's, for it
    was written for this model alone.
    """

    place: str
    folder: Path
    cells: Mapping[str, str | None]
    asked: bool = False

    @classmethod
    def of(
        cls, place: str, folder: Path, cells: Iterable[tuple[str, str]], asked: bool = False
    ) -> Row:
        """From (column, cell) each."""
        found: dict[str, str | None] = {}
        for column, cell in cells:
            found[column.strip()] = None if column.strip() in found else cell.strip()
        return cls(place, folder, found, asked)

    def word(self, name: str, count: int) -> Word | None:
        """For the input `name`, of `count` values: the cell of its column, or those of its elements
        `NAME[0]`, `NAME[1]`, ...; None where there are neither. Raises `BadInput`.
        """
        elements = [column for column in self.cells if column.startswith(f"{name}[")]
        if name in self.cells:
            if elements:
                self._refuse(f"columns {name!r} and {elements[0]!r}; one or the other")
            return self._parsed(name)
        if not elements:
            return None
        wanted = [f"{name}[{index}]" for index in range(count)]
        if set(elements) != set(wanted):
            self._refuse(f"columns {', '.join(elements)}; there must be {name}[0] to {wanted[-1]}")
        return tuple(self._number(column) for column in wanted)

    def check_columns(self, names: Iterable[str]) -> None:
        """BadInput for a column of none of these inputs, where all must be of one."""
        known = list(names)
        for column in self.cells if self.asked else ():
            if not any(column == name or column.startswith(f"{name}[") for name in known):
                only = f", only {', '.join(map(repr, known))}" if known else ""
                self._refuse(f"the model has no input {column!r} beside the image{only}")

    def _number(self, column: str) -> float:
        word = self._parsed(column)
        if isinstance(word, Path) or len(word) > 1:
            self._refuse(f"{column} is not one number")
        return word[0]

    def _parsed(self, column: str) -> Word:
        cell = self.cells[column]
        if cell is None:
            self._refuse(f"{column!r} is there twice")
        if not cell:
            self._refuse(f"no value for {column!r}")
        try:
            return tuple(float(part) for part in re.split(r"\s*,\s*|\s+", cell))
        except ValueError:
            file = self.folder / cell
        if obstacle := what_is_in_the_way(file):
            self._refuse(f"{column} is '{cell}', neither numbers nor a file ({obstacle})")
        return file

    def _refuse(self, reason: str) -> NoReturn:
        raise BadInput(printable(f"{self.place}: {reason}"))
