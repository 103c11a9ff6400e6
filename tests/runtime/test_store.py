"""A store of prepared items: what is written is read once, and nothing else is ever read."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols.errors import BadArtifact, BadInput, ContractViolation, NetworkFailure
from moiety.runtime.operation.access import Entry
from moiety.runtime.store import item as items
from moiety.runtime.store.binding import Founding, Offer
from moiety.runtime.store.item import CHUNK, ItemKey, ItemReader, ItemWriter
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.limits import DAY, Limits
from moiety.runtime.store.store import Store, item_name
from tests.support.disk import Disk
from tests.support.stores import NAMES, NOW, Name, Pair, digest_of, fill, terms


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(tmp_path)
    made.create()
    return made


@pytest.fixture
def store(pair: Pair) -> Iterator[Store]:
    with pair.open("client") as opened:
        yield opened


class Crash(BaseException):
    """The process is no more: it changes nothing from then on."""


def files(store: Store) -> set[str]:
    return {path.name for path in store.folder.iterdir()} - {"lock", "ledger"}


# --- items ----------------------------------------------------------------------------------------

SIZES = st.sampled_from([0, 1, 15, 16, 17, 31, 32, 33, 48, 50, 160])


@given(
    pieces=st.lists(st.tuples(st.sampled_from("abc"), SIZES), max_size=12),
    reads=st.lists(st.tuples(st.integers(0, 400), SIZES), max_size=6),
)
def test_streams_in_turns_give_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[tuple[str, int]],
    reads: list[tuple[int, int]],
) -> None:
    """In any pieces, to the end or anywhere; with chunks of 16 bytes."""
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
                for offset, size in reads:
                    if offset + size <= len(data):
                        out = bytearray(size)
                        stream.read_at(offset, out)
                        assert out == data[offset : offset + size]
                half = bytearray(len(data) // 2)
                stream.read_into(half)
                assert half + stream.read() == data


def test_arrays_go_through_chunks_of_a_mebibyte(store: Store) -> None:
    pads = np.arange(3 * CHUNK // 8 + 5, dtype=np.uint64)
    with store.writing(0, pads.nbytes) as item:
        item.stream("none").write(np.zeros((0, 3)).data)
        item.stream("pads").write(pads.reshape(-1, 1).data)
        item.seal(digest_of(0))
    out = np.empty_like(pads)
    with store.take(0) as taken:
        assert (taken.index, taken.digest) == (0, digest_of(0))
        assert taken.stream("none").length == 0
        taken.stream("pads").read_into(out.data)
        assert np.array_equal(out, pads)
        with pytest.raises(ContractViolation, match="which has"):
            taken.stream("pads").read_into(bytearray(1))
        with pytest.raises(ContractViolation, match="no stream 'other'"):
            taken.stream("other")


def test_nothing_of_an_item_is_in_the_clear(store: Store) -> None:
    secret = b"a share that nobody may see" * 100
    with store.writing(0) as item:
        item.stream("shares-of-a-layer").write(secret)
        item.seal(digest_of(0))
    data = store.path(0).read_bytes()
    assert secret[:16] not in data
    assert b"layer" not in data
    assert stat.S_IMODE(store.path(0).stat().st_mode) == 0o600
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
    data = bytearray(store.path(0).read_bytes())
    place = {"header": 9, "chunk": 64, "middle": len(data) // 2}
    place |= {"end": 3 * CHUNK + 60, "footer": len(data) - 20, "trailer": len(data) - 1}
    data[place[at]] ^= 1
    store.path(0).write_bytes(data)
    fill(store, 1)
    with store.take(0) as taken, pytest.raises(BadArtifact, match="item 0 is damaged"):
        taken.check()
    with store.take(1) as taken:
        assert taken.stream("shares").read() == digest_of(1)


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
        with reader, pytest.raises(BadArtifact, match="damaged"):
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
        source = client.path(1) if other == "index" else server.path(0)
        shutil.copy(source, client.path(0))
        with client.take(0) as taken, pytest.raises(BadArtifact):
            taken.check()


# --- once -----------------------------------------------------------------------------------------


def test_an_item_is_used_once(pair: Pair) -> None:
    with pair.open("client") as store:
        fill(store, 0)
        fill(store, 1)
        store.take(0).close()
        assert files(store) == {item_name(1)}
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
    assert files(store) == {item_name(5)}


def test_the_mark_is_on_the_disk_before_a_byte_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 0)
    disk, real, reads = Disk(store.folder, monkeypatch), os.pread, []

    def pread(descriptor: int, size: int, at: int) -> bytes:
        ledger = store.folder / "ledger"
        assert b'"used","indices":[0]' in ledger.read_bytes()
        assert not disk.unsynced(ledger)
        reads.append(at)
        return real(descriptor, size, at)

    monkeypatch.setattr(os, "pread", pread)
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
            assert files(store) == {item_name(index) for index in left}
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
    assert files(store) == {item_name(0)}
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
                assert files(store) == {item_name(0)}
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
        assert files(store) == {item_name(0)}
    with pair.open("client") as store, store.take(0) as taken:
        taken.check()


def test_room_is_looked_for_beforehand(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil._ntuple_diskusage(10**12, 10**12 - 10**8, 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    fill(store, 0)
    with pytest.raises(
        BadInput, match=r"needs 167108864 bytes of the disk, and 100000000 are free"
    ):
        fill(store, 1, size=10**8)
    assert files(store) == {item_name(0)}


# --- limits ---------------------------------------------------------------------------------------


def test_limits_are_kept_before_an_item_is_begun(pair: Pair) -> None:
    with pair.open("server", Limits(items=2)) as store:
        fill(store, 0)
        fill(store, 1)
        with pytest.raises(BadInput, match="2 prepared items wait to be used, and the limit is 2"):
            fill(store, 2)
        store.take(0).close()
        fill(store, 2)
    with pair.open("server", Limits(nbytes=5000)) as store:
        with pytest.raises(BadInput, match="another one 4000, and the limit is 5000"):
            fill(store, 3, size=4000)
        fill(store, 3, size=500)


def test_what_is_too_old_is_not_used_whatever_the_clock_says(pair: Pair) -> None:
    time = [NOW]
    with pair.open("client", Limits(age_days=7), lambda: time[0]) as store:
        fill(store, 0)
        time[0] += 6 * DAY
        fill(store, 1)
        assert [each.index for each in store.usable()] == [0, 1]
        time[0] += 2 * DAY
        assert [each.index for each in store.usable()] == [1]
        fill(store, 2)
        time[0] -= 100 * DAY
        assert [each.index for each in store.usable()] == [1, 2]
        with pytest.raises(ContractViolation):
            store.take(0)
        store.take(1).close()
        assert store.ledger.book.burned == 1


def test_limits_come_from_the_access_file() -> None:
    entry = Entry(fingerprint="", max_prepared=3, max_store_bytes=10**9, max_age_days=1.5)
    assert Limits.of(entry) == Limits(3, 10**9, 1.5)
    assert Limits.of(Entry(fingerprint="")) == Limits()


# --- who may open it ------------------------------------------------------------------------------

OPENS = """
import sys
from pathlib import Path
from tests.support.stores import Pair
with Pair(Path(sys.argv[1])).open("client"):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_a_dead_one_is_not_in_the_way(pair: Pair) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OPENS, str(pair.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(BadInput, match=f"process {other.pid} has this store open"):
            pair.open("client")
        other.kill()
    pair.open("client").close()


def test_a_store_of_others_is_refused(pair: Pair, tmp_path: Path) -> None:
    key, folder = pair.key("client"), pair.folder("client")
    for changed, said in (
        ({"commitment": "00" * 32}, "other weights"),
        ({"program": "00" * 32}, "another Program"),
        ({"peer": "00" * 32}, "another peer"),
        ({"own": "00" * 32}, "another key of this side"),
    ):
        with pytest.raises(BadInput, match=f"the store in it is for {said};"):
            Store.open(folder, key, terms("client", **changed))
    with pytest.raises(BadInput, match="is for the other party"):
        Store.open(folder, key, terms("server", own=terms("client").own, peer=terms("client").peer))
    with pytest.raises(BadInput, match="there is no store"):
        Store.open(tmp_path, key)
    with pytest.raises(BadArtifact, match=r"made with another key \(store.key"):
        Store.open(folder, pair.key("server"))
    folder.chmod(0o755)
    with pytest.raises(BadInput, match="others may use it"):
        Store.open(folder, key)


def test_a_store_is_founded_once(pair: Pair) -> None:
    key = pair.key("client")
    founding, other = Founding.begin(key, terms("client")), Founding.begin(key, terms("server"))
    with pytest.raises(BadInput, match="there is a store already"):
        Store.create(pair.folder("client"), key, founding, other.offer)
    with pytest.raises(NetworkFailure, match="own offer"):
        founding.binding(founding.offer)
    with pytest.raises(BadInput, match="64 hexadecimal digits of its commitment"):
        Founding.begin(key, terms("client", commitment=""))


def test_both_parties_come_to_one_lineage_and_different_keys(pair: Pair) -> None:
    with pair.both() as (client, server):
        assert client.binding.lineage == server.binding.lineage
        assert client.binding.digest() != server.binding.digest()
    offers = [Founding.begin(pair.key("client"), terms("client")).offer for _ in range(2)]
    assert offers[0] != offers[1]
    assert Offer.decode(offers[0].encode()) == offers[0]
    for bad in (b"", offers[0].encode()[:-1], offers[0].encode() + b"0", b"x" + offers[0].encode()):
        with pytest.raises(NetworkFailure, match="not understood"):
            Offer.decode(bad)


def test_folders_of_different_terms_differ() -> None:
    root = Path("/stores")
    others = [terms("client", **{name: "00" * 32}) for name in ("program", "commitment", "peer")]
    found = [each.folder_in(root) for each in (*map(terms, NAMES), *others)]
    assert len(set(found)) == 5


@pytest.mark.parametrize("role", NAMES)
def test_the_key_is_its_owners_alone(pair: Pair, role: Name) -> None:
    path = pair.root / f"{role}-keys" / "store.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert repr(pair.key(role)) == "StoreKey()"
    path.chmod(0o644)
    with pytest.raises(BadInput, match="others may use it"):
        pair.key(role)
    path.chmod(0o600)
    path.write_bytes(bytes(31))
    with pytest.raises(BadInput, match="31 bytes"):
        pair.key(role)
    with pytest.raises(BadInput, match="no key of stores"):
        StoreKey.read(pair.root)


def test_a_store_serves_the_process_that_opened_it(store: Store) -> None:
    fill(store, 0)
    child = os.fork()
    if not child:
        try:
            store.take(0)
        except ContractViolation:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    store.take(0).close()


def test_all_can_be_given_up_to_begin_anew(store: Store) -> None:
    for index in range(3):
        fill(store, index)
    store.retire()
    assert store.usable() == []
    assert files(store) == set()
    assert store.ledger.book.burned == 3
    store.retire()
