"""Files past the system's cache of files. A copy into that cache, or out of it, takes a processor
that has other work, and so does making room in it; writing all of it out at the end of a file takes
time in which nobody works. Where a file system knows no way past its cache, this goes through it.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from pathlib import Path
from queue import SimpleQueue

from moiety.protocols.errors import ContractViolation
from moiety.runtime.program.atomic import OWNER_ALONE

BLOCK = 4096
"""What goes past the cache is a multiple of this, of whatever disk."""
PART = 4 << 20
"""Bytes that are written at once."""
_PARTS = 2
"""Buffers: one is filled while the other is written."""


def _past_the_cache(descriptor: int) -> None:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _through_the_cache(descriptor: int) -> bool:
    """Whether it went past it before."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    return bool(flags & os.O_DIRECT)


class Blocks:
    """Reads an open file, anywhere in it."""

    def __init__(self, descriptor: int) -> None:
        """Raises `OSError`."""
        self._descriptor = descriptor
        self._buffer = mmap.mmap(-1, BLOCK)
        _past_the_cache(descriptor)

    def read(self, at: int, size: int) -> memoryview:
        """`size` bytes, or fewer where the file ends before; they stay until the next call. Raises
        `OSError`.
        """
        begin, end = at // BLOCK * BLOCK, -(-(at + size) // BLOCK) * BLOCK
        if end - begin > len(self._buffer):
            self._buffer = mmap.mmap(-1, end - begin)
        view, filled = memoryview(self._buffer)[: end - begin], 0
        while filled < at + size - begin:
            try:
                count = os.preadv(self._descriptor, [view[filled:]], begin + filled)
            except OSError as error:
                # Not past the cache, in this file system or behind the file's end.
                if error.errno != errno.EINVAL or not _through_the_cache(self._descriptor):
                    raise
                continue
            if not count:
                break
            filled += count
        return view[at - begin : min(filled, at + size - begin)]


class Spool:
    """The file of this name, which must not be there, written once from its beginning to its end by
    a thread of its own. `write` raises the `OSError` of this part or of one before it; what follows
    is `finish` or `discard`.
    """

    def __init__(self, path: Path) -> None:
        """Raises `OSError`."""
        self._part, self._filled = mmap.mmap(-1, PART), 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, OWNER_ALONE)
        self._empty, self._full = SimpleQueue[mmap.mmap](), SimpleQueue[mmap.mmap | None]()
        self._made = 1
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def write(self, data: bytes) -> None:
        """All of it, behind what was written before."""
        if self._descriptor < 0:
            raise ContractViolation("the file is finished")
        done = 0
        while done < len(data):
            take = min(PART - self._filled, len(data) - done)
            self._part[self._filled : self._filled + take] = data[done : done + take]
            self._filled += take
            done += take
            if self._filled == PART:
                self._hand_over()

    def finish(self) -> None:
        """The file is whole and on the disk when this returns, and closed. Raises `OSError`."""
        self._join()
        if self._error is not None:
            raise self._error
        whole = self._filled // BLOCK * BLOCK
        self._put(memoryview(self._part)[:whole])
        if whole < self._filled:
            _through_the_cache(self._descriptor)
            self._put(memoryview(self._part)[whole : self._filled])
        os.fsync(self._descriptor)
        self._close()

    def discard(self) -> None:
        """Nothing more is written; once and again."""
        self._join()
        self._close()

    def _hand_over(self) -> None:
        if self._thread is None:
            _past_the_cache(self._descriptor)
            thread = threading.Thread(target=self._run, name="spool", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has no room for another
                raise OSError(errno.EAGAIN, str(error)) from error
            self._thread = thread
        self._full.put(self._part)
        if self._made < _PARTS:
            self._part, self._made = mmap.mmap(-1, PART), self._made + 1
        else:
            self._part = self._empty.get()
        self._filled = 0
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (part := self._full.get()) is not None:
            try:
                if self._error is None:
                    self._put(memoryview(part))
            except OSError as error:
                self._error = error
            self._empty.put(part)

    def _put(self, data: memoryview) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                # Not past the cache, in this file system or behind a write that was cut.
                if error.errno != errno.EINVAL or not _through_the_cache(self._descriptor):
                    raise

    def _join(self) -> None:
        if self._thread is not None:
            self._full.put(None)
            self._thread.join()
            self._thread = None

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
