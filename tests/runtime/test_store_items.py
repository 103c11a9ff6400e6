"""A prepared item's file: what is read is what was written, there and for this store."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols.errors import ContractViolation
from moiety.runtime.store import item as items
from moiety.runtime.store.item import CHUNK, DamagedItem, ItemKey, ItemReader, ItemWriter
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.store import Store
from tests.support.stores import Crash, Pair, digest_of, fill


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(tmp_path)
    made.create()
    return made


@pytest.fixture
def store(pair: Pair) -> Iterator[Store]:
    with pair.open("client") as opened:
        yield opened


SIZES = st.sampled_from([0, 1, 15, 16, 17, 31, 32, 33, 48, 50, 160])


@given(
    pieces=st.lists(st.tuples(st.sampled_from("abc"), SIZES), max_size=12),
    reads=st.lists(SIZES, max_size=6),
)
def test_streams_in_turns_give_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[tuple[str, int]],
    reads: list[int],
) -> None:
    """In any pieces, written and read; with chunks of 16 bytes."""
    path = tmp_path_factory.mktemp("item") / "item"
    key = ItemKey.derived(StoreKey(bytes(32)), bytes(32), 7, bytes(32))
    wanted: dict[str, bytes] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(items, "CHUNK", 16)
        writer = ItemWriter(path, key)
        for number, (name, size) in enumerate(pieces):
            data = bytes([number]) * size
            writer.stream(name).write(data)
            wanted[name] = wanted.get(name, b"") + data
        writer.seal(bytes(32))
        writer.sync()
        with ItemReader(path, os.open(path, os.O_RDONLY), key, bytes(32), writer.size) as reader:
            assert reader.names == tuple(wanted)
            reader.check()
            for name, data in wanted.items():
                stream = reader.stream(name)
                at = 0
                for size in reads:
                    if at + size <= len(data):
                        assert stream.take(size) == data[at : at + size]
                        at += size
                assert stream.read() == data[at:]


def test_arrays_go_through_chunks_of_a_mebibyte(store: Store) -> None:
    pads = np.arange(3 * CHUNK // 8 + 5, dtype=np.uint64)
    with store.writing(0, pads.nbytes) as item:
        item.stream("none").write(np.zeros((0, 3)).data)
        item.stream("pads").write(pads.reshape(-1, 1).data)
        item.seal(digest_of(0))
    with store.take(0) as taken:
        assert (taken.index, taken.digest) == (0, digest_of(0))
        assert taken.stream("none").length == 0
        stream = taken.stream("pads")
        parts = [
            np.frombuffer(stream.take(size), np.uint64)
            for size in (CHUNK // 2, pads.nbytes - CHUNK // 2)
        ]
        assert np.array_equal(np.concatenate(parts), pads)
        with pytest.raises(ContractViolation, match="which has"):
            stream.take(1)
        with pytest.raises(ContractViolation, match="no stream 'other'"):
            taken.stream("other")


def test_nothing_of_an_item_is_in_the_clear(store: Store) -> None:
    secret = b"a share that nobody may see" * 100
    with store.writing(0) as item:
        item.stream("shares-of-a-layer").write(secret)
        item.seal(digest_of(0))
    data = store.shelf.item(0).read_bytes()
    assert secret[:16] not in data
    assert b"layer" not in data
    assert stat.S_IMODE(store.shelf.item(0).stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_the_same_item_twice_has_another_key(pair: Pair) -> None:
    """A second attempt after a crash: one key would give both contents away."""
    sealed = []

    def attempt(store: Store) -> None:
        with store.writing(0) as item:
            sealed.append(item.key.seal(0, "pads", 0, True, bytes(32)))
            raise Crash

    with pair.open("client") as store:
        for _ in range(2):
            with pytest.raises(Crash):
                attempt(store)
    assert sealed[0] != sealed[1]


@pytest.mark.parametrize("at", ["header", "chunk", "middle", "end", "footer", "trailer"])
def test_a_bit_of_an_item_is_noticed(store: Store, at: str) -> None:
    fill(store, 0, size=3 * CHUNK)
    data = bytearray(store.shelf.item(0).read_bytes())
    place = {"header": 9, "chunk": 64, "middle": len(data) // 2}
    place |= {"end": 3 * CHUNK + 60, "footer": len(data) - 20, "trailer": len(data) - 1}
    data[place[at]] ^= 1
    store.shelf.item(0).write_bytes(data)
    fill(store, 1)
    with store.take(0) as taken, pytest.raises(DamagedItem, match="item 0 is damaged"):
        taken.check()
    with store.take(1) as taken:
        assert taken.stream("shares").read() == digest_of(1)


def test_a_disk_that_cannot_read_an_item_has_damaged_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 0)

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", failing)
    with store.take(0) as taken, pytest.raises(DamagedItem, match=r"read \(Input/output error\)"):
        taken.check()


@given(st.data())
def test_any_bit_and_any_cut_of_an_item_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("item") / "item"
    key = ItemKey.derived(StoreKey(bytes(32)), bytes(32), 7, bytes(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(items, "CHUNK", 16)
        writer = ItemWriter(path, key)
        writer.stream("a").write(bytes(40))
        writer.stream("b").write(bytes(32))
        writer.seal(bytes(32))
        writer.sync()
        whole = path.read_bytes()
        if data.draw(st.booleans()):
            bit = data.draw(st.integers(0, 8 * len(whole) - 1))
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
        else:
            changed = bytearray(whole[: data.draw(st.integers(0, len(whole) - 1))])
        path.write_bytes(changed)
        reader = ItemReader(path, os.open(path, os.O_RDONLY), key, bytes(32), len(changed))
        with reader, pytest.raises(DamagedItem, match="damaged"):
            reader.check()


def chunk(index: int = 7, binding: bytes = bytes(32)) -> ItemKey:
    """Of one secret, so that only what goes beside a chunk tells them apart."""
    return ItemKey(binding, index, ItemKey.derived(StoreKey(bytes(32)), b"", 0, b"")._cipher)


@pytest.mark.parametrize(
    ("key", "stream", "name", "number", "last"),
    [
        (chunk(8), 1, "a", 2, False),
        (chunk(7, b"\1" * 32), 1, "a", 2, False),
        (chunk(), 1, "b", 2, False),
        (chunk(), 1, "a", 2, True),
        (chunk(), 2, "a", 2, False),
        (chunk(), 1, "a", 3, False),
    ],
)
def test_a_chunk_stands_at_its_place_alone(
    key: ItemKey, stream: int, name: str, number: int, last: bool
) -> None:
    sealed = chunk().seal(1, "a", 2, False, b"data")
    assert chunk().open(1, "a", 2, False, sealed) == b"data"
    with pytest.raises(InvalidTag):
        key.open(stream, name, number, last, sealed)


@pytest.mark.parametrize("other", ["index", "party"])
def test_an_item_of_elsewhere_is_refused(pair: Pair, other: str) -> None:
    """Also where both parties have one key of stores, as on one machine."""
    shutil.copytree(pair.root / "client-keys", pair.root / "server-keys", dirs_exist_ok=True)
    shutil.rmtree(pair.folder("client"))
    shutil.rmtree(pair.folder("server"))
    pair.create()
    with pair.both() as (client, server):
        for index in (0, 1):
            fill(client, index)
            fill(server, index)
        source = client.shelf.item(1) if other == "index" else server.shelf.item(0)
        shutil.copy(source, client.shelf.item(0))
        with client.take(0) as taken, pytest.raises(DamagedItem):
            taken.check()
