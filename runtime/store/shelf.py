"""The files of a store's items in its folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from moiety.runtime.operation.files import unusable
from moiety.runtime.store.item import PURPOSE

_FILE = re.compile(r"item-\d{15}|\.item-\d{15}\.tmp|\.ledger\.tmp")


@dataclass(frozen=True)
class Shelf:
    """Those in this folder. Its methods raise `BadInput` where the disk does."""

    folder: Path

    def item(self, index: int) -> Path:
        """A prepared item."""
        return self.folder / f"item-{index:015}"

    def unfinished(self, index: int) -> Path:
        """One that is being written."""
        return self.folder / f".item-{index:015}.tmp"

    def opened(self, index: int) -> int:
        """A descriptor, by which nothing was read yet. A file that is not there counts as an empty
        one, which is damaged.
        """
        path, flags = self.item(index), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(path if path.exists() else os.devnull, flags)
        except OSError as error:
            raise unusable(path, PURPOSE, error) from error

    def names(self) -> list[str]:
        """Of all files that are items, were some, or have become none."""
        try:
            return sorted(name for name in os.listdir(self.folder) if _FILE.fullmatch(name))
        except OSError as error:
            raise unusable(self.folder, "a store", error) from error

    def remove(self, names: Set[str]) -> None:
        """These files, where they are there."""
        try:
            for name in sorted(names):
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise unusable(self.folder, "a store", error) from error

    def free(self) -> int:
        """Bytes of the disk."""
        try:
            return shutil.disk_usage(self.folder).free
        except OSError as error:
            raise unusable(self.folder, "a store", error) from error
