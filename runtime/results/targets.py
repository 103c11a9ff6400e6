"""Where results go: files that are replaced whole, and streams (pipes, devices, descriptors of this
process) that are written once, at the end.

A target is opened before anything is sent, so that an output that cannot be written is known then.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import stat
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.text import printable
from moiety.runtime.program.atomic import OWNER_ALONE, replacing

STDOUT, STDERR = 1, 2
STALLED_SECONDS = 60.0
"""How long a stream's reader may take nothing before it is given up."""
MAX_LINKS = 40


@dataclass(frozen=True)
class File:
    """A regular file, or a name that is still free: replaced whole each time, and readable by its
    owner alone from its first byte. `path` is behind all links.
    """

    name: str
    path: Path

    def write(self, data: bytes) -> None:
        """Raises `OSError`; the file is then as it was."""
        with replacing(self.path, OWNER_ALONE) as temporary:
            temporary.write_bytes(data)


@dataclass(frozen=True)
class Stream:
    """An open descriptor, written through once."""

    name: str
    descriptor: int

    def write(self, data: bytes) -> None:
        """Raises `OSError`, also where the reader takes nothing for `STALLED_SECONDS`."""
        if self.descriptor == STDOUT:
            sys.stdout.flush()
        left = memoryview(data)
        while left:
            _, ready, _ = select.select([], [self.descriptor], [], STALLED_SECONDS)
            if not ready:
                raise OSError(
                    errno.ETIMEDOUT, f"its reader has taken nothing for {STALLED_SECONDS:.0f} s"
                )
            # A blocking pipe takes this much once it says that it is ready.
            with suppress(BlockingIOError):
                left = left[os.write(self.descriptor, left[: select.PIPE_BUF]) :]


Target = File | Stream


class Unusable(Exception):
    """Why a path cannot be written, in words."""


def open_target(name: str) -> Target:
    """`-`, or any path. Raises `BadInput`, with nothing changed, where it cannot be written."""
    try:
        return _opened(name)
    except (OSError, Unusable, ValueError) as error:
        raise BadInput(f"cannot write the results to {printable(name)}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Of an `OSError`, without the path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _opened(name: str) -> Target:
    if name == "-":
        return _descriptor(name, STDOUT)
    place = followed(Path(name))
    if isinstance(place, int):
        return _descriptor(name, place)
    try:
        found = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return _new_file(name, place)
    if stat.S_ISREG(found):
        return _existing_file(name, place, found)
    if stat.S_ISFIFO(found) or stat.S_ISCHR(found):
        return _stream(name, place)
    if stat.S_ISDIR(found):
        raise Unusable("it is a folder")
    raise Unusable("it is neither a file, nor a pipe, nor a character device")


def followed(path: Path) -> Path | int:
    """Behind all links; the number of a descriptor of this process where they end at one
    (/dev/stdout, /dev/fd/3), whatever that is open on. Raises `OSError`.
    """
    own = {Path("/dev/fd"), Path(os.path.realpath("/dev/fd"))}
    for _ in range(MAX_LINKS):
        place = Path(os.path.realpath(path.parent)) / path.name
        if place.parent in own and re.fullmatch(r"[0-9]+", place.name):
            return int(place.name)
        if not place.is_symlink():
            return place
        path = place.parent / place.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _descriptor(name: str, number: int) -> Stream:
    if (number == STDOUT and sys.stdout is None) or (number == STDERR and sys.stderr is None):
        raise Unusable("it is closed")  # and its number may be something else's by now
    try:
        mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError as error:
        raise Unusable("it is closed") from error
    if mode == os.O_RDONLY:
        raise Unusable("it is open for reading only")
    return Stream(name, number)


def _stream(name: str, path: Path) -> Stream:
    """Opened without waiting, and held open: a pipe's reader sees no end before the results."""
    try:
        return Stream(name, os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.ENXIO and path.is_fifo():
            raise Unusable("nothing reads from this pipe; start its reader first") from error
        raise


def _existing_file(name: str, path: Path, mode: int) -> File:
    if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        raise Unusable("it is read-only")
    os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
    return _new_file(name, path)


class _Enough(Exception):
    """Ends a trial before it replaces anything."""


def _new_file(name: str, path: Path) -> File:
    """After a trial of everything but the last step: space, rights, length of the name."""
    if not path.parent.is_dir():
        raise Unusable(f"there is no folder {printable(path.parent)}")
    with suppress(_Enough), replacing(path, OWNER_ALONE) as temporary:
        temporary.write_bytes(bytes(4096))
        raise _Enough
    return File(name, path)


def spare_file(folder: Path, suffix: str) -> File:
    """A new file in `folder`. Raises `OSError`."""
    descriptor, name = tempfile.mkstemp(suffix, "moiety-results-", folder)
    os.close(descriptor)
    return File(name, Path(name))
