"""A store of prepared items: each is used once, whatever happens."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moiety.protocols.errors import BadInput, ContractViolation
from moiety.runtime.store.item import CHUNK
from moiety.runtime.store.store import Store
from tests.support.disk import Disk
from tests.support.stores import Crash, Pair, digest_of, files, fill


def name_of(index: int) -> str:
    return f"item-{index:015}"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(tmp_path)
    made.create()
    return made


@pytest.fixture
def store(pair: Pair) -> Iterator[Store]:
    with pair.open("client") as opened:
        yield opened


# --- once -----------------------------------------------------------------------------------------


def test_an_item_is_used_once(pair: Pair) -> None:
    with pair.open("client") as store:
        fill(store, 0)
        fill(store, 1)
        store.take(0).close()
        assert files(store) == {name_of(1)}
        with pytest.raises(ContractViolation, match="does not have all"):
            store.take(0)
    with pair.open("client") as store:
        assert [each.index for each in store.usable()] == [1]
        with pytest.raises(ContractViolation, match="cannot be prepared"):
            fill(store, 0)


def test_items_before_one_that_is_used_are_burned(store: Store) -> None:
    for index in range(6):
        fill(store, index)
    for reader in store.take_all((1, 4)):
        reader.close()
    assert [each.index for each in store.usable()] == [5]
    book = store.ledger.book
    assert (book.used, book.burned, book.next) == (2, 3, 5)
    assert files(store) == {name_of(5)}


def test_the_mark_is_on_the_disk_before_a_byte_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 0)
    disk, real, reads = Disk(store.folder, monkeypatch), os.preadv, []

    def preadv(descriptor: int, buffers: Any, at: int) -> int:
        ledger = store.folder / "ledger"
        assert b'"used","indices":[0]' in ledger.read_bytes()
        assert not disk.unsynced(ledger)
        reads.append(at)
        return real(descriptor, buffers, at)

    monkeypatch.setattr(os, "preadv", preadv)
    with store.take(0) as taken:
        assert not reads
        assert taken.stream("shares").read() == digest_of(0)
    assert reads


def test_an_item_is_prepared_when_it_is_on_the_disk(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the ledger says so, its file and its name are synced; then the ledger is, too."""
    disk, append = Disk(store.folder, monkeypatch), store.ledger.append

    def appending(*events: Any) -> None:
        assert disk.lost() == []
        append(*events)

    monkeypatch.setattr(store.ledger, "append", appending)
    fill(store, 0)
    assert disk.lost() == []


def test_a_new_store_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path, monkeypatch)
    Pair(tmp_path).create()
    assert disk.lost() == []


# --- crashes --------------------------------------------------------------------------------------


CHANGES = ("fsync", "pwrite", "rename", "unlink", "ftruncate", "link")


def dying(patch: pytest.MonkeyPatch, after: int) -> list[str]:
    """So many changes are made, the next one is not, nor is any other; gives those tried."""
    tried: list[str] = []

    def wrapped(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            tried.append(name)
            if len(tried) > after:
                raise Crash
            return real(*arguments, **options)

        patch.setattr(os, name, call)

    for name in CHANGES:
        wrapped(name)
    return tried


def work(store: Store, prepared: set[int], used: set[int]) -> None:
    """Tells what it has done, as soon as it has."""
    fill(store, 2)
    prepared.add(2)
    with store.take(0) as taken:
        used.add(0)
        assert taken.stream("shares").read() == digest_of(0)
    fill(store, 3)
    prepared.add(3)
    with store.take(2) as taken:  # 1 is given up
        used.add(2)
        assert taken.stream("shares").read() == digest_of(2)


def test_after_a_crash_at_any_moment_nothing_is_used_twice(tmp_path: Path) -> None:
    """And all that was prepared and neither used nor given up can be used."""
    for after in range(100):
        pair = Pair(tmp_path / str(after))
        pair.create()
        with pair.open("client") as store:
            fill(store, 0)
            fill(store, 1)
            prepared, used = {0, 1}, set[int]()
            with pytest.MonkeyPatch.context() as patch:
                tried = dying(patch, after)
                try:
                    work(store, prepared, used)
                except Crash:
                    pass
                else:
                    break
        with pair.open("client") as store:
            left = [each.index for each in store.usable()]
            assert files(store) == {name_of(index) for index in left}
            assert store.ledger.book.next > max(used, default=-1)
            assert {index for index in prepared if index >= store.ledger.book.next} <= {*left}
            for index in left:
                with store.take(index) as taken:
                    assert taken.stream("shares").read() == digest_of(index)
            index = store.ledger.book.fresh
            fill(store, index)
            with store.take(index) as taken:
                taken.check()
    assert after > 15
    assert {"fsync", "pwrite", "rename", "unlink"} <= set(tried)


def test_an_exception_loses_the_item_that_is_written(store: Store) -> None:
    def fail() -> None:
        with store.writing(1) as item:
            item.stream("pads").write(bytes(3 * CHUNK))
            raise KeyError

    fill(store, 0)
    with pytest.raises(KeyError):
        fail()
    assert files(store) == {name_of(0)}
    with pytest.raises(ContractViolation, match="was not sealed"), store.writing(1):
        pass
    fill(store, 1)
    assert [each.index for each in store.usable()] == [0, 1]


# --- a full disk ----------------------------------------------------------------------------------


def test_a_full_disk_loses_the_item_that_is_written(pair: Pair) -> None:
    """As a limit on the size of files shows it, in chunks and in what stands behind them."""
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pair.open("client") as store:
            fill(store, 0)
            for size in (CHUNK, 2 * CHUNK + 70, 3 * CHUNK + 150):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
                with pytest.raises(BadInput, match="cannot be used as a prepared item: File too"):
                    fill(store, 1, size=3 * CHUNK)
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
                assert files(store) == {name_of(0)}
            fill(store, 1, size=3 * CHUNK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, kept)
    with pair.open("client") as store:
        for index in (0, 1):
            with store.take(index) as taken:
                taken.check()


@pytest.mark.parametrize("half", [False, True])
def test_a_mark_that_cannot_be_written_uses_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, half: bool
) -> None:
    real, full = os.pwrite, list[bool]()

    def pwrite(descriptor: int, data: bytes, at: int) -> int:
        if half and not full:
            full.append(True)
            return real(descriptor, data[:9], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pair.open("client") as store:
        fill(store, 0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", pwrite)
            with pytest.raises(BadInput, match="ledger: No space left"):
                store.take(0)
            with pytest.raises(BadInput, match="No space left"):
                fill(store, 1)
        assert files(store) == {name_of(0)}
    with pair.open("client") as store, store.take(0) as taken:
        taken.check()


def test_room_is_looked_for_beforehand(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil._ntuple_diskusage(10**12, 10**12 - 10**8, 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    fill(store, 0)
    with pytest.raises(BadInput, match=r"needs 159 MiB of the disk, and 95.4 MiB are free"):
        fill(store, 1, size=10**8)
    assert files(store) == {name_of(0)}
