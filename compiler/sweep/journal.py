"""The journal of a sweep: a line for each plan that is done, on the disk before the next begins."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from moiety.compiler.sweep.rows import PlanRow
from moiety.protocols.errors import BadInput
from moiety.runtime.program.decoding import UNREADABLE


@dataclass
class Journal:
    """JSON lines, appended and synced. A last line without its end is what a crash left, and is
    dropped. Rows of other images, models or options stay and are not asked for: `rows` is by key.
    """

    path: Path
    rows: dict[str, PlanRow] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Raises `BadInput` where it cannot be read or written, or is no journal."""
        found = cls(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            content = path.read_bytes()
            whole = content.rpartition(b"\n")[0]
            if len(content) > (size := len(whole) + 1 if whole else 0):
                os.truncate(path, size)
        except OSError as error:
            raise BadInput(f"cannot write {path}: {error.strerror or error}") from None
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = msgspec.json.decode(line, type=PlanRow)
            except UNREADABLE as error:
                raise BadInput(
                    f"{path}, line {number}, is no row of a sweep ({error}); give another folder"
                ) from None
            found.rows[row.key] = row
        return found

    def add(self, row: PlanRow) -> None:
        """Returns when it is on the disk. Raises `BadInput`."""
        try:
            with self.path.open("ab") as file:
                file.write(msgspec.json.encode(row) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BadInput(f"cannot write {self.path}: {error.strerror or error}") from None
        self.rows[row.key] = row
