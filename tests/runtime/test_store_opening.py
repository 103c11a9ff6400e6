"""Whom a store is for, who has it open, and how much may be in it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moiety.protocols.errors import BadArtifact, BadInput, ContractViolation, NetworkFailure
from moiety.runtime.operation.access import Entry
from moiety.runtime.store import ledger
from moiety.runtime.store.binding import Founding, Offer
from moiety.runtime.store.care import prune
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.limits import DAY, Limits
from moiety.runtime.store.lock import StoreHeld
from moiety.runtime.store.store import Store
from tests.support.stores import NAMES, NOW, Name, Pair, agreed, digest_of, files, fill, terms


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(tmp_path)
    made.create()
    return made


@pytest.fixture
def store(pair: Pair) -> Iterator[Store]:
    with pair.open("client") as opened:
        yield opened


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


def successors(pair: Pair) -> dict[Name, tuple[Founding, Offer]]:
    """What each party founds a new store with."""
    begun = {role: Founding.begin(pair.key(role), terms(role)) for role in NAMES}
    return {
        role: (begun[role], begun[other].offer)
        for role, other in zip(NAMES, reversed(NAMES), strict=True)
    }


def test_a_new_store_takes_the_place_of_the_old_one(pair: Pair) -> None:
    """Its items are gone, and the process goes on with the new one alone."""
    new = successors(pair)
    with pair.both() as olds:
        lineage = olds[0].binding.lineage
        for index in range(3):
            fill(olds[0], index)
        stores = [old.succeeded(*new[role]) for old, role in zip(olds, NAMES, strict=True)]
        with pytest.raises(ContractViolation, match="is not open"):
            olds[0].take(0)
        with pytest.raises(StoreHeld):
            pair.open("client")
        assert files(stores[0]) == set()
        for store in stores:
            assert store.binding.lineage == stores[0].binding.lineage != lineage
            fill(store, 0)
        agreed(stores[0], stores[1])
        for store in stores:
            store.close()
    with pair.open("client") as store:
        assert [each.index for each in store.usable()] == [0]


@pytest.mark.parametrize("broken", ["replace", "write_all"])
def test_the_old_store_stays_where_no_new_one_can_be_made(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    new = successors(pair)
    with pair.open("client") as old:
        fill(old, 0)

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os if broken == "replace" else ledger, broken, full)
        with pytest.raises(BadInput, match="No space left"):
            old.succeeded(*new["client"])
    monkeypatch.undo()
    with pair.open("client") as store:
        assert [each.index for each in store.usable()] == [0]


def test_a_clock_that_was_ahead_is_made_good_by_pruning(pair: Pair) -> None:
    """By its items all others are too old, also those that come after them."""
    time, limits = [NOW + 100 * DAY], Limits(age_days=7)
    with pair.open("client", limits, lambda: time[0]) as store:
        fill(store, 0)
        time[0] = NOW
        fill(store, 1)
        assert [each.index for each in store.usable()] == [0]
        assert prune(store).expired == (0, 1)
        fill(store, 2)
        assert [each.index for each in store.usable()] == [2]
        assert prune(store).expired == ()


def test_a_clock_that_is_behind_gives_up_nothing(pair: Pair) -> None:
    """As of a machine that comes up without the time: a full store is full, and what is in it can
    be used.
    """
    time, limits = [NOW], Limits(items=2, age_days=7)
    with pair.open("server", limits, lambda: time[0]) as store:
        fill(store, 0)
        fill(store, 1)
        time[0] -= 100 * DAY
        with pytest.raises(BadInput, match="the limit is 2"):
            store.check_room(1000)
        assert [each.index for each in store.usable()] == [0, 1]
        assert store.ledger.book.burned == 0


def test_one_thread_prepares_while_another_uses(store: Store) -> None:
    def prepare() -> None:
        for index in range(30):
            fill(store, index)

    thread = threading.Thread(target=prepare)
    thread.start()
    used: list[int] = []
    while len(used) < 30 and (thread.is_alive() or store.usable()):
        for item in store.usable()[:1]:
            with store.take(item.index) as taken:
                assert taken.stream("shares").read() == digest_of(item.index)
            used.append(item.index)
    thread.join()
    assert used == list(range(30))
