"""Files past the system's cache, written by a thread of their own: what is in them is what was
written, what is read is what is in them, and a write that failed is heard of.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols.errors import ContractViolation
from moiety.runtime.store import direct
from moiety.runtime.store.direct import BLOCK, Blocks, Spool

PART = 3 * 4096
SIZES = st.sampled_from([0, 1, 4095, 4096, 4097, PART - 1, PART, PART + 1, 5 * PART + 7])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "PART", PART)


def written(path: Path, sizes: list[int]) -> bytes:
    """What should be in the file."""
    file, wanted = Spool(path), b""
    for number, size in enumerate(sizes):
        data = bytes([number + 1]) * size
        file.write(data)
        wanted += data
    file.finish()
    return wanted


def spools() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "spool"]


@given(sizes=st.lists(SIZES, max_size=8))
def test_any_pieces_are_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    path = tmp_path_factory.mktemp("spool") / "file"
    assert written(path, sizes) == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not spools()


def test_where_files_do_not_go_past_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a file system that refuses to, nor one that agrees and then does not write."""
    real = fcntl.fcntl

    def refusing(descriptor: int, command: int, *given: Any) -> Any:
        if command == fcntl.F_SETFL and given[0] & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(descriptor, command, *given)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "fcntl", refusing)
        assert (
            written(tmp_path / "refusing", [5 * PART + 7]) == (tmp_path / "refusing").read_bytes()
        )

    write = os.write

    def idle(descriptor: int, data: memoryview) -> int:
        if real(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", idle)
        assert written(tmp_path / "idle", [5 * PART + 7]) == (tmp_path / "idle").read_bytes()


@given(reads=st.lists(st.tuples(st.integers(0, 3 * BLOCK), st.sampled_from([0, 1, BLOCK, 9999]))))
def test_any_bytes_are_read(
    tmp_path_factory: pytest.TempPathFactory, reads: list[tuple[int, int]]
) -> None:
    """Also those at the file's end, which lies between two blocks, and behind it."""
    path, data = tmp_path_factory.mktemp("direct") / "file", os.urandom(2 * BLOCK + 100)
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        blocks = Blocks(descriptor)
        for at, size in reads:
            assert blocks.read(at, size) == data[at : at + size]
    finally:
        os.close(descriptor)


def test_reading_where_files_do_not_go_past_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real, preadv = tmp_path / "file", fcntl.fcntl, os.preadv
    path.write_bytes(bytes(range(256)))

    def idle(descriptor: int, buffers: Any, at: int) -> int:
        if real(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return preadv(descriptor, buffers, at)

    monkeypatch.setattr(os, "preadv", idle)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert Blocks(descriptor).read(3, 1000) == bytes(range(3, 256))
    finally:
        os.close(descriptor)


def test_a_write_that_is_cut_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a place where the disk's blocks do not begin."""
    write = os.write

    def cut(descriptor: int, data: memoryview) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, 0)
            done = write(descriptor, data[:100])
            fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_DIRECT)
            return done
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", cut)
    assert written(tmp_path / "file", [5 * PART + 7]) == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_error_is_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """By who writes on, or at the latest by who finishes."""
    write, calls = os.write, list[int]()

    def full(descriptor: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) > at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    file = Spool(tmp_path / "file")

    def filled() -> None:
        for _ in range(3):
            file.write(bytes(PART))
        file.finish()

    with pytest.raises(OSError, match="No space left"):
        filled()
    file.discard()
    file.discard()
    assert not spools()


def test_a_system_that_has_no_thread_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    file = Spool(tmp_path / "file")
    with pytest.raises(OSError, match="can't start new thread"):
        file.write(bytes(PART))
    file.discard()
    assert file._descriptor < 0


def test_nothing_more_is_written_when_it_is_finished(tmp_path: Path) -> None:
    file = Spool(tmp_path / "file")
    file.finish()
    with pytest.raises(ContractViolation, match="is finished"):
        file.write(b"more")
    with pytest.raises(FileExistsError):
        Spool(tmp_path / "file")
