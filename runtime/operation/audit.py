"""The audit log: JSON lines, each with the SHA-256 of the line before it.

    {"number":3,"time":"2026-11-25T08:00:00.000Z","previous":"9f1c...","event":"begun",...}

`previous` of the first line is 64 zeros. A line is appended under a lock that all processes take
which write to the file, and is on the disk before the work that it tells of goes on. So one line
that is changed, added or removed breaks the chain at its place. Two things no chain can show: that
lines are missing at the end, and that somebody who may write the file has made the whole of it
anew. Against both, keep the head (the hash of the last line) elsewhere, and have it looked for.

A crash may leave half a line at the end. The next record takes it away and says so.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from moiety.protocols.errors import BadInput
from moiety.runtime.operation.files import locked, sync_folder, unusable, write_all
from moiety.runtime.program.decoding import UNREADABLE

GENESIS = "0" * 64
PURPOSE = "an audit log"
_BLOCK = 64 << 10
_LONGEST = 1 << 20
_FIRST = b'{"number":1,'


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """What every line has."""

    number: int
    time: str
    previous: str
    event: str


_link = msgspec.json.Decoder(Link)


@dataclass(frozen=True)
class Head:
    """Where a chain ends: the number of its lines, and the hash of the last one."""

    lines: int = 0
    sha256: str = GENESIS


def utc_text(time: datetime) -> str:
    """A time of UTC as RFC 3339 writes it, to the millisecond."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class AuditLog:
    """A file that grows by `append`."""

    path: Path

    def append(self, record: dict[str, Any]) -> Head:
        """Adds a line of `record`, which names its `event`; returns when it is on the disk. Raises
        `BadInput` when it cannot be written, or when what is there is no audit log.
        """
        with locked(self.path, PURPOSE) as descriptor:
            head, torn = _end_of(descriptor, self.path)
            if torn:
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - len(torn))
                head = _add(descriptor, head, _repair(torn))
            new = head.lines == 0
            head = _add(descriptor, head, record)
        if new:
            sync_folder(self.path.parent)
        return head


def _repair(torn: bytes) -> dict[str, Any]:
    """The record that stands for half a line: an attacker cannot hide a line by tearing it."""
    return {
        "event": "repaired",
        "dropped_bytes": len(torn),
        "dropped_sha256": hashlib.sha256(torn).hexdigest(),
    }


def _add(descriptor: int, head: Head, record: dict[str, Any]) -> Head:
    links = {"number": head.lines + 1, "time": utc_text(datetime.now(UTC)), "previous": head.sha256}
    line = msgspec.json.encode(links | record)
    start = os.fstat(descriptor).st_size
    try:
        write_all(descriptor, line + b"\n", start)
    except OSError:
        os.ftruncate(descriptor, start)  # a full disk: no half line stays behind
        raise
    return Head(head.lines + 1, hashlib.sha256(line).hexdigest())


def _end_of(descriptor: int, path: Path) -> tuple[Head, bytes]:
    """The head by the last whole line alone, and what stands behind it."""
    at = os.fstat(descriptor).st_size
    data = b""
    while at and data.count(b"\n") < 2 and len(data) < _LONGEST:
        start = max(0, at - _BLOCK)
        data = os.pread(descriptor, at - start, start) + data
        at = start
    *lines, torn = data.split(b"\n")
    if not lines:
        if at or torn[: len(_FIRST)] != _FIRST[: len(torn)]:
            raise BadInput(
                f"{path}: cannot be used as {PURPOSE}: it has no line of one; give another file"
            )
        return Head(), torn
    return Head(_read(lines[-1], path).number, hashlib.sha256(lines[-1]).hexdigest()), torn


def _read(line: bytes, path: Path) -> Link:
    try:
        return _link.decode(line)
    except UNREADABLE as error:
        raise BadInput(
            f"{path}: the last line is not one of an audit log ({error}); nothing was added. "
            f"`moiety audit verify {path}` says where it breaks; move the file away to begin anew"
        ) from error


# --- verification ---------------------------------------------------------------------------------


def verify(path: Path, head: str | None = None) -> Head:
    """Walks the whole chain. `head` is a hash that was noted earlier: one of the lines must have
    it. Raises `BadInput` that names the first line which is wrong.
    """
    at = Head()
    noted = head is None
    for line in _lines(path):
        _check(path, line, at)
        at = Head(at.lines + 1, hashlib.sha256(line).hexdigest())
        noted = noted or at.sha256 == head
    if not at.lines:
        raise BadInput(f"{path}: empty; an audit log has at least one line")
    if not noted:
        raise BadInput(
            f"{path}: no line has the noted hash {head}; the {at.lines} lines fit each other, but "
            "lines are missing at the end, or the log was made anew since the hash was noted"
        )
    return at


def _lines(path: Path) -> Iterator[bytes]:
    """Whole lines, without their ends."""
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    raise BadInput(
                        f"{path}: line {number} is torn: the file ends within it, as after a "
                        f"crash. The {number - 1} lines before it are whole; the next record that "
                        "is written takes it away and says so"
                    )
                yield line[:-1]
    except OSError as error:
        raise unusable(path, PURPOSE, error) from error


def _check(path: Path, line: bytes, at: Head) -> None:
    number = at.lines + 1
    try:
        link = _link.decode(line)
    except UNREADABLE as error:
        raise BadInput(f"{path}: line {number} cannot be read: {error}") from error
    if link.previous != at.sha256:
        where = f"line {number - 1} was changed, or lines between" if at.lines else "lines before"
        raise BadInput(
            f"{path}: line {number} does not follow the line before it: {where} were removed, or "
            f"line {number} was put there"
        )
    if link.number != number:
        raise BadInput(f"{path}: line {number} says that it is line {link.number}")
