"""Small files that several processes write, and that must be on the disk before work goes on."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.program.atomic import OWNER_ALONE

_TRIED = 4096
"""Bytes that must fit: a full disk lets files be made."""


@contextmanager
def locked(path: Path, purpose: str) -> Iterator[int]:
    """The descriptor of `path`, made if it is missing, that no other process holds at the same
    time. Raises `BadInput` that names the `purpose`.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, OWNER_ALONE)
    except OSError as error:
        raise unusable(path, purpose, error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadInput(f"{path}: cannot be used as {purpose}: it is not a regular file")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    except OSError as error:
        raise unusable(path, purpose, error) from error
    finally:
        os.close(descriptor)


def check_private(path: Path) -> None:
    """Raises `BadInput` where others than the owner may read, write or enter `path`."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    if mode & 0o077:
        wanted = "700" if path.is_dir() else "600"
        raise BadInput(
            f"{path}: others may use it (mode {mode:04o}), so the key is no secret; "
            f"run: chmod {wanted} {path}, and make a new key if they did"
        )


def check_folder(folder: Path, mode: int, purpose: str) -> None:
    """That files can be written to `folder`, which is made if it is missing. Raises `BadInput`."""
    try:
        make_folder(folder, mode)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(_TRIED))
    except OSError as error:
        raise unusable(folder, purpose, error) from error


def unusable(path: Path, purpose: str, error: OSError) -> BadInput:
    """What the system says of `path`; that a file stands where a folder is due, in words for who
    has named it.
    """
    why = error.strerror or str(error)
    if isinstance(error, FileExistsError | NotADirectoryError):
        why = "a file is in the way; give another folder"
    return BadInput(f"{path}: cannot be used as {purpose}: {why}")


def write_all(descriptor: int, data: bytes, at: int) -> None:
    """All of `data` from offset `at`, and it is on the disk when this returns."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], at + done)
    os.fsync(descriptor)


def make_folder(folder: Path, mode: int) -> None:
    """`folder`, with this mode, and what is missing above it; they are on the disk when this
    returns. Nothing where it is there. Raises `OSError`.
    """
    if not folder.is_dir():
        if not folder.parent.is_dir():
            make_folder(folder.parent, 0o777)
        folder.mkdir(mode, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """What was made or renamed in `folder` is on the disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
