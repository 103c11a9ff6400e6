"""Peers that prepare or use items otherwise than they should: refused in words, and counted where a
check of the protocol has failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moiety.protocols.errors import MoietyError, NetworkFailure, UntrustedPeer
from moiety.protocols.ot.softspoken import SoftSpokenReceiver
from moiety.runtime.operation.access import AccessList
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Connection
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import PeerAccuses, PeerRefused
from moiety.runtime.party.stock import NewStore
from moiety.runtime.store.binding import Founding
from moiety.runtime.store.care import status
from moiety.runtime.store.store import Store
from tests.runtime.test_operated_server import CLIENT, KnownDoor
from tests.support.ahead import Ahead, cases_of, is_exact
from tests.support.stores import NAMES, Pair


@pytest.fixture
def ahead(executor: ServerExecutor, tmp_path: Path) -> Iterator[Ahead]:
    made = Ahead(tmp_path, executor)
    yield made
    made.end()


def say(connection: Connection, message: handshake.Message) -> None:
    handshake.send(connection.channel, message)


def refused(connection: Connection) -> None:
    """The server ends the connection."""
    with pytest.raises(PeerRefused, match="the server gave up on this connection"):
        handshake.receive(connection.channel, handshake.Served)


def begin(index: int, position: str = "", images: int = 1) -> handshake.Begin:
    return handshake.Begin(index=0, images=images, item=index, position=position)


SAID: dict[str, tuple[handshake.Message, str]] = {
    "another index": (handshake.Prepare(index=5), "item 5 is to be prepared where 2 was due"),
    "an index again": (handshake.Prepare(index=1), "item 1 is to be prepared where 2 was due"),
    "a size that is not offered": (handshake.Prepare(index=2, images=3), "which was not offered"),
    "a store for such a size": (handshake.Stored(images=3), "which was not offered"),
    "an item that is not next": (begin(1, "00"), "item 1 is not the next one"),
    "an item that is not there": (begin(2, "00"), "item 2 is not the next one"),
    "no hexadecimal digits": (begin(0, "zz"), "what the peer says of its store is not understood"),
    "no position": (begin(0, "00"), "the peer's position of its store is not understood"),
}


@pytest.mark.parametrize("what", SAID)
def test_what_a_client_may_not_say(ahead: Ahead, what: str) -> None:
    """The server ends the session; what was prepared is as it was."""
    message, words = SAID[what]
    server = ahead.serve()
    with ahead.met(server) as connection:
        for _ in range(2):
            connection.prepare()
        say(connection, message)
        refused(connection)
        server.wait_for(words)
    with ahead.met(server, new=NewStore.NEVER) as connection:
        assert connection.prepared() == 2
        assert is_exact(ahead.executor, cases_of(1), connection.infer_batch(cases_of(1))[0])


def test_a_server_that_prepares_another_form_of_run(
    ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client compares what the runs ask for before anything of an item is made."""
    with monkeypatch.context() as patch:
        patch.setattr(ServerExecutor, "demand_digest", lambda *_: bytes(32))
        server = ahead.serve()  # a process that is forked off now
    with (
        ahead.met(server) as connection,
        pytest.raises(NetworkFailure, match="prepare runs of another form"),
    ):
        connection.prepare()
    for role in NAMES:
        (store,) = ahead.stores(role)
        assert status(store, ahead.cellar(role).key).prepared == 0


def test_stores_are_compared_a_limited_number_of_times(ahead: Ahead) -> None:
    """Each time may take a line of the server's ledger."""
    server = ahead.serve(offers=False)
    connection = ahead.join(server)
    for _ in range(256):
        say(connection, handshake.Stored(position="00"))
        assert handshake.receive(connection.channel, handshake.Stored).why
    say(connection, handshake.Stored(position="00"))
    refused(connection)
    connection.close()
    server.wait_for("stores were compared 256 times")


def test_nothing_is_prepared_or_used_before_the_stores_have_met(ahead: Ahead) -> None:
    server = ahead.serve()
    ahead.prepare(server, 1)
    for message in (handshake.Prepare(index=1), begin(0)):
        connection = ahead.join(server)
        say(connection, message)
        refused(connection)
        connection.close()
    server.wait_for("nothing was said of a store", 2)


def test_a_client_that_has_not_marked_its_item_gets_nothing(ahead: Ahead) -> None:
    """A position from before the mark: its store could use the item again."""
    server = ahead.serve()
    with ahead.met(server) as connection:
        connection.prepare()
        store = connection._stocks[1].stock.store
        say(connection, begin(0, store.position(listed=False).hex()))
        refused(connection)
    server.wait_for("the peer has not marked item 0 as used")


def test_a_position_that_lists_nothing_is_refused(ahead: Ahead) -> None:
    server = ahead.serve()
    with ahead.met(server) as connection:
        position = connection._stocks[1].stock.store.position(listed=False).hex()
        say(connection, handshake.Stored(position=position))
        handshake.receive(connection.channel, handshake.Stored)
        refused(connection)
    server.wait_for("says where its store stands, and not what is in it")


def test_a_position_that_another_store_has_signed_is_refused(ahead: Ahead) -> None:
    server = ahead.serve()
    ahead.prepare(server, 1)
    with ahead.met(server, new=NewStore.NEVER) as connection:
        store = connection._stocks[1].stock.store
        data = bytearray(store.position())
        data[40] ^= 1
        say(connection, handshake.Stored(position=bytes(data).hex()))
        handshake.receive(connection.channel, handshake.Stored)
        with pytest.raises((UntrustedPeer, PeerRefused)):
            handshake.receive(connection.channel, handshake.Served)
    server.wait_for("does not have the signature of the peer's store")


def test_an_offer_alone_gives_nothing_up(ahead: Ahead) -> None:
    """Nor is anything prepared or used after it, before the client has said where it stands."""
    server = ahead.serve()
    ahead.prepare(server, 1)
    cellar = ahead.cellar("client")
    for message in (handshake.Prepare(index=0), handshake.Prepare(index=1), begin(0)):
        connection = ahead.join(server)
        terms = cellar.terms("client", ahead.program, connection.channel.line)
        for _ in range(2):
            offer = Founding.begin(cellar.key, terms).offer.encode().hex()
            say(connection, handshake.Stored(offer=offer, anew=True))
            assert handshake.receive(connection.channel, handshake.Stored).offer
        say(connection, message)
        refused(connection)
        connection.close()
    server.wait_for("nothing was said of a store", 3)
    with ahead.met(server, new=NewStore.NEVER) as connection:
        assert connection.prepared() == 1


def test_garbage_for_an_offer_costs_nothing(ahead: Ahead) -> None:
    """What is there is given up for an offer alone."""
    server = ahead.serve()
    ahead.prepare(server, 1)
    connection = ahead.join(server)
    say(connection, handshake.Stored(offer="00"))
    refused(connection)
    connection.close()
    server.wait_for("the peer's offer of a store is not understood")
    with ahead.met(server, new=NewStore.NEVER) as connection:
        assert connection.prepared() == 1


# --- a server that lies ---------------------------------------------------------------------------


def test_a_server_whose_position_is_forged_is_refused(
    ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead.prepare(ahead.serve(), 1)
    Pair(ahead.folder / "others").create()
    with Pair(ahead.folder / "others").open("server") as other:
        position = other.position()
    monkeypatch.setattr(Store, "position", lambda self, listed=True: position)
    server = ahead.serve()
    monkeypatch.undo()
    with pytest.raises(MoietyError, match="does not belong to this one"):
        ahead.met(server, new=NewStore.NEVER)


def test_a_server_that_has_not_marked_the_item_is_not_told_anything(
    ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its position is from before the mark; the client ends before its first byte of the run."""
    honest = Store.position
    kept: list[bytes] = []

    def position(self: Store, listed: bool = True) -> bytes:
        if listed:
            kept[:] = [honest(self, listed=False)]
            return honest(self)
        return kept[0]

    monkeypatch.setattr(Store, "position", position)
    server = ahead.serve()
    monkeypatch.undo()
    with ahead.met(server) as connection:
        connection.prepare()
        connection.meet_stock(ahead.cellar("client"))
        sent = connection.channel.meter.total.sent
        with pytest.raises(MoietyError, match="the peer has not marked item 0 as used"):
            connection.infer_batch(cases_of(1))
        assert connection.channel.meter.total.sent == sent


# --- checks and clocks ----------------------------------------------------------------------------


def test_a_client_that_deviates_while_preparing_is_counted(
    ahead: Ahead, executor: ServerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the item is not kept. After the last one that is allowed the client is not served."""
    file = ahead.folder / "access.toml"
    file.write_text(f'[clients.st-mary]\nfingerprint = "{CLIENT}"\nfailed-checks-in-total = 1\n')
    recorder = Recorder("server", executor.program.digest())
    server = ahead.serve(admission=KnownDoor(recorder, AccessList.at(file)))
    connection = ahead.join(server)
    connection.meet_stock(ahead.cellar("client"), new=NewStore.IF_NOTHING_IS_LOST)
    connection.prepare()
    honest = SoftSpokenReceiver._hashed
    monkeypatch.setattr(SoftSpokenReceiver, "_hashed", lambda *given: honest(*given) ^ 1)
    with pytest.raises(PeerAccuses):
        connection.prepare()
    connection.close()
    server.wait_for("corrections of correlations do not fit together")
    with pytest.raises(PeerRefused, match="it is served no more"):
        ahead.join(server)
    (store,) = ahead.stores("server")
    assert status(store, ahead.cellar("server").key).prepared == 1


def test_a_preparation_takes_no_longer_than_a_run_may(ahead: Ahead) -> None:
    """The server ends it; what was prepared before is there."""
    server = ahead.serve(options={"run_seconds": 1.0})
    with ahead.met(server) as connection:
        connection.prepare()
        say(connection, handshake.Prepare(index=1))
        handshake.receive(connection.channel, handshake.Prepare)
        with pytest.raises(PeerRefused, match="the preparation of an item"):
            handshake.receive(connection.channel, handshake.Served)
    with ahead.met(server, new=NewStore.NEVER) as connection:
        assert connection.prepared() == 1
