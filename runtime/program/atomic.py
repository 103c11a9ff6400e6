"""Files that are whole at any moment: a reader sees the old file or the whole new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ANYBODY, OWNER_ALONE = 0o666, 0o600
"""Modes of a new file, the first as far as the process's umask lets it."""


@contextmanager
def replacing(path: Path, mode: int = ANYBODY) -> Iterator[Path]:
    """An empty file beside `path`, to be written inside; at the end it is flushed to disk and
    renamed over `path`, or removed where an exception passes. It has its mode from its first byte.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, mode: int = ANYBODY) -> None:
    """`data` as the whole of `path`."""
    with replacing(path, mode) as temporary:
        temporary.write_bytes(data)
