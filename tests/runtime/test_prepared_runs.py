"""Runs that were prepared ahead, between two processes over TCP: the same integers as without, each
item used once, and all goes on without where there is nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.cost.memory import preparing_memory
from moiety.runtime.operation.access import AccessList
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party.client_stock import NothingPrepared
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.prepared import item_digest
from moiety.runtime.party.server.cohorts import Cohorts
from moiety.runtime.party.stock import Cellar, NewStore
from moiety.runtime.program.bounds import VARIABLE
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.weights import commit
from moiety.runtime.store.care import status
from moiety.runtime.store.limits import Limits
from moiety.runtime.store.store import Store
from tests.runtime.test_operated_server import CLIENT, KnownDoor
from tests.support.ahead import Ahead, cases_of, run, state
from tests.support.kept import BATCH, Study, keeping
from tests.support.lines import two_credentials
from tests.support.programs import random_weights
from tests.support.runnable import small
from tests.support.stores import NAMES, Name

SIZES = (1, 2, 4)


@pytest.fixture(scope="module")
def executor() -> ServerExecutor:
    made = ServerExecutor(*small(), batches=SIZES)
    made.prepare()
    return made


@pytest.fixture
def ahead(executor: ServerExecutor, tmp_path: Path) -> Iterator[Ahead]:
    made = Ahead(tmp_path, executor)
    yield made
    made.end()


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", SIZES)
def test_prepared_runs_are_exact_and_then_all_is_on_demand(
    ahead: Ahead, executor: ServerExecutor, images: int
) -> None:
    empty: list[int] = []
    with ahead.met(ahead.serve(), images, on_empty=empty.append) as connection:
        for _ in range(2):
            connection.prepare(images)
        assert connection.prepared(images) == 2
        for left in (1, 0):
            run(connection, executor, images)
            assert connection.prepared(images) == left
            assert not empty
        for _ in range(2):
            run(connection, executor, images)
            assert empty == [images]


def test_a_prepared_run_sends_a_fraction(ahead: Ahead, executor: ServerExecutor) -> None:
    with ahead.met(ahead.serve()) as connection:
        connection.prepare()
        (case,) = cases_of(1)
        _, prepared, _ = connection.infer(case)
        _, whole, _ = connection.infer(case)
    spent = [cost.total.sent + cost.total.received for cost in (prepared, whole)]
    assert spent[0] < 0.5 * spent[1]
    assert prepared.total.flights < whole.total.flights


def test_stochastic_rounding_is_as_simulated(tmp_path: Path) -> None:
    """Every value that prepared runs give is one that the cleartext executor draws, too, or the
    next to one.
    """
    program, weights = small("stochastic")
    executor = ServerExecutor(program, weights)
    executor.prepare()
    ahead = Ahead(tmp_path, executor)
    (case,) = cases_of(1)
    clear = CleartextExecutor(program, weights, np.random.default_rng(4))
    drawn = np.stack([next(iter(clear.run_integers(case).values())) for _ in range(400)])
    found = []
    try:
        with ahead.met(ahead.serve()) as connection:
            for _ in range(16):
                connection.prepare()
                found.append(connection.infer(case)[0][0].integers)
                assert connection.prepared() == 0
    finally:
        ahead.end()
    assert len({each.tobytes() for each in found}) > 1
    assert (drawn.min(axis=0) - 1 <= found).all()
    assert (found <= drawn.max(axis=0) + 1).all()


def test_shares_are_kept_of_prepared_runs(tmp_path: Path) -> None:
    executor = ServerExecutor(*keeping(), batches=(1, BATCH))
    executor.prepare()
    ahead, study = Ahead(tmp_path, executor), Study.of(20)
    try:
        server = ahead.serve(cohorts=Cohorts.at(tmp_path / "cohorts", 1.0))
        with ahead.met(server, BATCH) as connection:
            connection.meet_stock(ahead.cellar("client"), 1, new=NewStore.IF_NOTHING_IS_LOST)
            for _ in range(2):
                connection.prepare(BATCH)
                connection.prepare(1)
            study.run(connection, 20)
            assert connection.prepared(BATCH) == connection.prepared(1) == 0
            found = study.aggregate(connection)
        assert list(found) == study.expected(executor.program, executor.weights)
    finally:
        ahead.end()


def test_over_tls_the_stores_are_for_both_keys(executor: ServerExecutor, tmp_path: Path) -> None:
    ahead = Ahead(tmp_path, executor, two_credentials(tmp_path))
    try:
        server = ahead.serve()
        ahead.prepare(server, 2)
        with ahead.met(server, new=NewStore.NEVER) as connection:
            run(connection, executor)
        mine, theirs = state(ahead)
        other = Ahead(tmp_path, executor)
        plain = other.serve()
        with pytest.raises(NothingPrepared), other.met(plain, new=NewStore.NEVER):
            pass
        other.end()
    finally:
        ahead.end()
    assert (mine.prepared, theirs.prepared) == (1, 1)
    assert mine.peer != theirs.peer
    assert "0" * 64 not in (mine.peer, theirs.peer)


# --- where items come from ------------------------------------------------------------------------


def test_items_outlive_the_connection_and_the_server(
    ahead: Ahead, executor: ServerExecutor
) -> None:
    server = ahead.serve()
    ahead.prepare(server, 2)
    ahead.prepare(server, 1)
    server.end()
    server = ahead.serve()
    for left in (2, 1):
        with ahead.met(server, new=NewStore.NEVER) as connection:
            run(connection, executor)
            assert connection.prepared() == left
    mine, theirs = state(ahead)
    for found in (mine, theirs):
        assert (found.prepared, found.used, found.burned, found.next) == (1, 2, 0, 2)
    assert mine.lineage == theirs.lineage


def test_an_item_is_of_one_connection_one_index_and_one_size() -> None:
    """What both parties hold it to be, and compare before they use it, is no other one's."""
    made = [
        item_digest(binding, index, images, agreed)
        for binding in (bytes(32), bytes(31) + b"1")
        for index in (0, 1)
        for images in (1, 2)
        for agreed in (b"a", b"b")
    ]
    assert len(set(made)) == 16


def test_each_size_of_run_has_its_own(ahead: Ahead, executor: ServerExecutor) -> None:
    with ahead.met(ahead.serve(), 4) as connection:
        connection.meet_stock(ahead.cellar("client"), 1, new=NewStore.IF_NOTHING_IS_LOST)
        connection.prepare(4)
        connection.prepare(1)
        run(connection, executor, 4)
        assert (connection.prepared(4), connection.prepared(1)) == (0, 1)
        run(connection, executor, 2)
        run(connection, executor, 1)
        assert connection.prepared(1) == 0


def test_who_meets_again_keeps_what_is_there(ahead: Ahead, executor: ServerExecutor) -> None:
    with ahead.met(ahead.serve()) as connection:
        connection.prepare()
        assert connection.meet_stock(ahead.cellar("client")) == 1
        connection.prepare()
        run(connection, executor)
        assert connection.meet_stock(ahead.cellar("client")) == 1
        run(connection, executor)


# --- where there is nothing -----------------------------------------------------------------------


def test_a_server_that_prepares_nothing_says_so(ahead: Ahead, executor: ServerExecutor) -> None:
    server = ahead.serve(offers=False)
    connection = ahead.join(server)
    with pytest.raises(NothingPrepared, match="the server: this server prepares nothing ahead"):
        connection.meet_stock(ahead.cellar("client"), new=NewStore.IF_NOTHING_IS_LOST)
    run(connection, executor)
    connection.close()


def test_a_store_that_only_one_side_has_is_worth_nothing(
    ahead: Ahead, executor: ServerExecutor
) -> None:
    """Either's may be gone: on demand without; what the other has stays until it is given up."""
    server = ahead.serve()
    lost = {
        "server": ("no store that goes with this one", r"where 2 can be used: it may have been"),
        "client": ("this side has prepared nothing", r"has 2 items prepared with another store"),
    }
    for role in NAMES:
        ahead.prepare(server, 2)
        kept = ahead.folder / "kept"
        ahead.cellar(role).root.rename(kept)
        connection = ahead.join(server)
        for new, words in zip(NewStore, lost[role], strict=False):
            with pytest.raises(NothingPrepared, match=words):
                connection.meet_stock(ahead.cellar("client"), new=new)
            run(connection, executor)
        shutil.rmtree(ahead.cellar(role).root, ignore_errors=True)
        kept.rename(ahead.cellar(role).root)
        assert connection.meet_stock(ahead.cellar("client")) == 2
        connection.close()
        shutil.rmtree(ahead.cellar(role).root)
        with ahead.met(server, new=NewStore.ANEW) as connection:
            assert connection.prepared() == 0
            connection.prepare()
            run(connection, executor)


def test_what_is_prepared_can_be_given_up_at_both_sides(
    ahead: Ahead, executor: ServerExecutor
) -> None:
    server = ahead.serve()
    ahead.prepare(server, 2)
    before = state(ahead)
    with ahead.met(server, new=NewStore.ANEW) as connection:
        assert connection.prepared() == 0
        connection.prepare()
        run(connection, executor)
    for old, found in zip(before, state(ahead), strict=True):
        assert (found.prepared, found.used) == (0, 1)
        assert found.lineage != old.lineage
    for role in NAMES:
        (store,) = ahead.stores(role)
        assert sorted(path.name for path in store.iterdir()) == ["ledger", "lock"]
    server.wait_for("begins anew; prepared items given up: 2")


def test_one_client_of_two_without_keys_begins_anew(
    ahead: Ahead, executor: ServerExecutor, tmp_path: Path
) -> None:
    """To the server they are one, with one store: the other one's is gone, and it is told so."""
    server = ahead.serve()
    ahead.prepare(server, 2)
    other = Ahead(tmp_path / "other", executor)
    with pytest.raises(NothingPrepared, match="it has 2 items prepared with another store"):
        other.met(server)
    with other.met(server, new=NewStore.ANEW) as connection:
        connection.prepare()
    connection = ahead.join(server)
    with pytest.raises(NothingPrepared, match="no store that goes with this one"):
        connection.meet_stock(ahead.cellar("client"))
    run(connection, executor)
    assert connection.meet_stock(ahead.cellar("client"), new=NewStore.ANEW) == 0
    connection.prepare()
    run(connection, executor)
    connection.close()
    server.wait_for("begins anew; prepared items given up: 1")


@pytest.mark.parametrize("who", NAMES)
def test_a_new_store_that_one_side_cannot_make_costs_the_other_nothing(
    ahead: Ahead, executor: ServerExecutor, who: Name
) -> None:
    """Its folder cannot be used, or it fails when the other side has done its part."""
    server = ahead.serve()
    ahead.prepare(server, 2)
    kept = ahead.folder / "kept"
    ahead.cellar(who).root.rename(kept)
    ahead.cellar(who).root.write_text("a file")
    refusal = BadInput if who == "client" else NothingPrepared
    words = "a file is in the way" if who == "client" else "its store cannot be used now"
    with pytest.raises(refusal, match="where 2 can be used" if who == "server" else words):
        ahead.met(server)
    with pytest.raises(refusal, match=words):
        ahead.met(server, new=NewStore.ANEW)
    ahead.cellar(who).root.unlink()
    kept.rename(ahead.cellar(who).root)
    with ahead.met(server, new=NewStore.NEVER) as connection:
        assert connection.prepared() == 2
        run(connection, executor)


def test_a_client_that_is_killed_before_its_new_store_is_there_loses_nothing(
    ahead: Ahead, executor: ServerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server keeps its half until it hears where the client's new store stands."""
    server = ahead.serve()
    ahead.prepare(server, 2)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Cellar, "create", killed)
        with pytest.raises(KeyboardInterrupt):
            ahead.met(server, new=NewStore.ANEW)
    with ahead.met(server, new=NewStore.NEVER) as connection:
        assert connection.prepared() == 2
        run(connection, executor)


def test_a_retrained_model_never_meets_shares_of_the_old_one(
    ahead: Ahead, executor: ServerExecutor, tmp_path: Path
) -> None:
    ahead.prepare(ahead.serve(), 1)
    program = executor.program
    weights = random_weights(program, np.random.default_rng(77))
    retrained = ServerExecutor(*commit(program, weights.tensors))
    assert retrained.program.commitment != program.commitment
    retrained.prepare()
    later = Ahead(tmp_path, retrained)
    try:
        connection = later.join(server := later.serve())
        with pytest.raises(NothingPrepared):
            connection.meet_stock(later.cellar("client"))
        run(connection, retrained)
        connection.close()
        with later.met(server) as connection:
            connection.prepare()
            run(connection, retrained)
    finally:
        later.end()
    assert len(ahead.stores("client")) == len(ahead.stores("server")) == 2


def test_a_store_is_open_once_on_either_side(ahead: Ahead, executor: ServerExecutor) -> None:
    """The client's second process is refused. The server's is declined, and runs on demand."""
    server = ahead.serve(options={"sessions": 2})
    ahead.prepare(server, 2)
    copied = Ahead(ahead.folder / "copied", executor)
    for kept in ("client-store", "client-keys"):
        shutil.copytree(ahead.folder / kept, copied.folder / kept)
    with ahead.met(server, new=NewStore.NEVER) as first:
        second = ahead.join(server)
        with pytest.raises(BadInput, match="has this store open, and it is used by one at a time"):
            second.meet_stock(ahead.cellar("client"))
        run(second, executor)
        for new in NewStore:
            with pytest.raises(NothingPrepared, match="another connection of this client may"):
                second.meet_stock(copied.cellar("client"), new=new)
        run(second, executor)
        run(first, executor)
        assert first.prepared() == 1
        second.close()
    (store,) = copied.stores("client")
    assert status(store, copied.cellar("client").key).prepared == 2


# --- limits ---------------------------------------------------------------------------------------


def test_the_servers_limits_decline_another_item(ahead: Ahead, executor: ServerExecutor) -> None:
    """In words, and the connection goes on."""
    server = ahead.serve(Limits(items=2))
    with ahead.met(server) as connection:
        for _ in range(2):
            connection.prepare()
        with pytest.raises(NothingPrepared, match="no room for another item, by its limits"):
            connection.prepare()
        run(connection, executor)
        connection.prepare()
    assert "2 prepared items wait to be used, and the limit is 2" in server.log


def test_what_takes_too_much_memory_is_not_begun(
    ahead: Ahead, executor: ServerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is not asked, and the connection goes on."""
    with ahead.met(ahead.serve()) as connection:
        monkeypatch.setenv(VARIABLE, str(preparing_memory(executor.program) - 1))
        with pytest.raises(BadArtifact, match="preparing an image's run of the Program"):
            connection.prepare()
        monkeypatch.undo()
        connection.prepare()
        run(connection, executor)


def test_bytes_of_the_servers_disk_are_limited(ahead: Ahead) -> None:
    ahead.prepare(ahead.serve(), 2)
    _, theirs = state(ahead)
    with ahead.met(ahead.serve(Limits(nbytes=5 * theirs.nbytes // 4))) as connection:
        with pytest.raises(NothingPrepared, match="no room for another item, by its limits"):
            connection.prepare()
        assert connection.prepared() == 2


def test_items_that_are_too_old_are_not_used(ahead: Ahead, executor: ServerExecutor) -> None:
    ahead.prepare(ahead.serve(), 2)
    with ahead.met(ahead.serve(Limits(age_days=-1.0)), new=NewStore.NEVER) as connection:
        assert connection.prepared() == 0
        run(connection, executor)
    assert [each.used for each in state(ahead)] == [0, 0]


def test_items_that_are_too_old_take_no_place(ahead: Ahead, executor: ServerExecutor) -> None:
    """They are given up where another item needs their place, and not before."""
    ahead.prepare(ahead.serve(), 2)
    with ahead.met(ahead.serve(Limits(items=3, age_days=-1.0))) as connection:
        connection.prepare()
        assert state(ahead)[1].burned == 0
        connection.prepare()
        assert state(ahead)[1].burned == 3


@pytest.mark.parametrize("met", ["to prepare", "to run"])
def test_items_that_the_client_has_given_up_take_no_place(
    ahead: Ahead, executor: ServerExecutor, met: str
) -> None:
    """As after `moiety store prune` at the client alone."""
    server = ahead.serve(Limits(items=2))
    ahead.prepare(server, 2)
    (folder,) = ahead.stores("client")
    with Store.open(folder, ahead.cellar("client").key) as store:
        store.burn([0, 1], "expired")
    if met == "to run":
        with ahead.met(server, new=NewStore.NEVER) as connection:
            run(connection, executor)
    with ahead.met(server) as connection:
        for _ in range(2):
            connection.prepare()
        run(connection, executor)
    assert [(each.used, each.burned, each.prepared) for each in state(ahead)] == [(1, 2, 1)] * 2


@pytest.mark.parametrize("taken", [True, False])
def test_a_quota_counts_images_and_not_items(
    ahead: Ahead, executor: ServerExecutor, taken: bool
) -> None:
    """Items that wait cost nothing; a run that takes one costs what any run does."""
    file = ahead.folder / "access.toml"
    file.write_text(
        f'[clients.st-mary]\nfingerprint = "{CLIENT}"\nimages-in-total = 2\nmax-prepared = 3\n'
    )
    recorder = Recorder("server", executor.program.digest())
    server = ahead.serve(admission=KnownDoor(recorder, AccessList.at(file)))
    with ahead.met(server) as connection:
        for _ in range(3):
            connection.prepare()
        with pytest.raises(NothingPrepared, match="no room"):
            connection.prepare()
    connection = ahead.join(server)
    assert connection.images_left == 2
    if taken:
        connection.meet_stock(ahead.cellar("client"))
    for _ in range(2):
        run(connection, executor)
    with pytest.raises(PeerRefused, match="2 images in total, of which 0 are left"):
        run(connection, executor)
    connection.close()
    assert state(ahead)[1].used == (2 if taken else 0)
