"""What a machine that loses its power would still have of a folder: what was synced, no more."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

NO_PROMISE = (".lock", "lock")
"""Names of files whose loss costs nothing: what they hold is written after what it vouches for."""


class Disk:
    """Of a folder, from now on. All that is there is taken for synced; then a file is what it was
    when it was last synced, and a folder has the names that it had then.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, int]] = {}
        for path in (root, *root.rglob("*")):
            self._note(path)
        real = os.fsync

        def fsync(descriptor: int) -> None:
            real(descriptor)
            self._note(Path(f"/proc/self/fd/{descriptor}"))

        monkeypatch.setattr(os, "fsync", fsync)

    def _note(self, path: Path) -> None:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            self._folders[status.st_ino] = _names(path)
        elif stat.S_ISREG(status.st_mode):
            self._files[status.st_ino] = path.read_bytes()

    def lost(self) -> list[str]:
        """What would not be there, or not as it is, or again."""
        return sorted(self._lost(self._root))

    def _lost(self, folder: Path) -> Iterator[str]:
        now, synced = _names(folder), self._folders.get(folder.stat().st_ino, {})
        for name in now.keys() | synced.keys():
            path = folder / name
            if name.endswith(NO_PROMISE):
                continue
            if name not in now:
                yield f"{path.relative_to(self._root)} is there again"
            elif now[name] != synced.get(name):
                yield f"{path.relative_to(self._root)} is not there"
            elif path.is_dir():
                yield from self._lost(path)
            elif self.unsynced(path):
                yield f"{path.relative_to(self._root)} is not as it was"

    def unsynced(self, file: Path) -> bool:
        """Whether a file's content would be another."""
        return self._files.get(file.stat().st_ino) != file.read_bytes()


def _names(folder: Path) -> dict[str, int]:
    return {entry.name: entry.stat(follow_symlinks=False).st_ino for entry in os.scandir(folder)}
