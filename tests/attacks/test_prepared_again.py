"""A hospital that deviates in every way that its side of a store allows, to have the vendor's half
of an item used twice: it has the store's key, so it signs whatever positions it likes, keeps copies
of its half, and cuts the line when it likes. The vendor's half is read once, by one process.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols.errors import ContractViolation, MoietyError
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Connection
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.stock import NewStore, decoded
from moiety.runtime.store.binding import Founding
from moiety.runtime.store.position import Claim, Entry, Position, Signed, catalogue_bytes
from moiety.runtime.store.reconcile import reconcile
from moiety.runtime.store.store import Store
from tests.attacks.halves import Parties, image_of, two_layers
from tests.faults.outside import Ledger
from tests.support.ahead import Ahead, is_exact
from tests.support.serving import Running
from tests.support.stores import Pair, agreed, fill, meet


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties(*two_layers())


@pytest.fixture
def ahead(parties: Parties, tmp_path: Path) -> Iterator[Ahead]:
    made = Ahead(tmp_path, parties.server)
    yield made
    made.end()


# --- positions that a store's owner can sign ------------------------------------------------------


def claiming(store: Store, entries: tuple[Entry, ...], **fields: int) -> bytes:
    """A position of this store with a valid signature, whatever its ledger says."""
    honest = store.stands()
    digest = hashlib.sha256(catalogue_bytes(entries)).digest()
    made = {"count": len(entries), "catalogue": digest, **fields}
    claim: Claim = replace(honest.claim, **made)  # type: ignore[arg-type]
    signer = store._meeting._signer()
    return Position(Signed.by(signer, claim), honest.echo, entries).encode()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Stores of which items 0 and 1 are used, 2 and 3 prepared."""
    pair = Pair(tmp_path_factory.mktemp("stores"))
    pair.create()
    with pair.both() as (client, server):
        for index in range(4):
            for store in (client, server):
                fill(store, index)
        for index in (0, 1):
            assert agreed(client, server).indices == (index,)
            for store in (client, server):
                store.take(index).close()
        meet(client, server)
    return pair


@settings(max_examples=150, deadline=None)
@given(
    counter=st.integers(-3, 12),
    start=st.integers(0, 6),
    fresh=st.integers(0, 8),
    listed=st.sets(st.integers(0, 6)),
    skip_to=st.integers(0, 5),
    own_tag=st.booleans(),
)
def test_no_signed_position_brings_an_item_back(
    begun: Pair,
    counter: int,
    start: int,
    fresh: int,
    listed: set[int],
    skip_to: int,
    own_tag: bool,
) -> None:
    """Whatever counters, items and digests the peer signs: what the server would use next is none
    that it has marked, and it would take none of those if it were asked.
    """
    copy = begun.root / "copy"
    shutil.copytree(begun.folder("server"), copy)
    try:
        with begun.open("client") as client, begun.open("server") as server:
            made = {each.index: each.digest for each in client.stands().catalogue or ()}
            book = hashlib.sha256
            entries = tuple(
                Entry(index, made.get(index, book(f"item {index} 0".encode()).digest()))
                for index in sorted(listed)
            )
            fields: dict[str, int] = {
                "counter": max(1, client.ledger.counter + counter),
                "next": start,
                "fresh": fresh,
            }
            with suppress(MoietyError):
                said = claiming(client, entries, **fields)
                if not own_tag:
                    forged = Position.decode(said)
                    claim = replace(forged.claim, head=bytes(32))
                    own = Signed.by(client._meeting._signer(), claim)
                    said = replace(forged, own=own).encode()
                plan = reconcile(server.stands(), server.meet(said), 4, skip_to)
                assert min((*plan.indices, 2)) >= 2
            for index in (0, 1):
                with pytest.raises(ContractViolation):
                    server.take(index)
                assert not server.shelf.item(index).exists()
    finally:
        shutil.rmtree(begun.folder("server"))
        copy.rename(begun.folder("server"))


# --- over TCP -------------------------------------------------------------------------------------


@dataclass
class Thief:
    """A client with a copy of its store from before its first run, and a connection."""

    ahead: Ahead
    connection: Connection
    first: bytes = b""

    @property
    def store(self) -> Store:
        return self.connection._stocks[1].stock.store

    def say(self, message: handshake.Message) -> None:
        handshake.send(self.connection.channel, message)

    def meet(self, position: bytes, skip_to: int = 0) -> bytes:
        """What the server answers."""
        self.say(handshake.Stored(position=position.hex(), skip_to=skip_to))
        answer = handshake.receive(self.connection.channel, handshake.Stored)
        return decoded(answer.position)

    def begin(self, index: int) -> None:
        """With a position that says that the item is marked."""
        fresh = self.store.stands().claim.fresh
        said = claiming(self.store, (), next=min(index + 1, fresh))
        position = replace(Position.decode(said), catalogue=None).encode()
        self.say(handshake.Begin(index=0, item=index, position=position.hex()))


def again(thief: Thief) -> None:
    """The index of the item that was used, as if nothing had been."""
    thief.begin(0)


def met_again(thief: Thief) -> None:
    """The same after stores were compared once more."""
    thief.meet(thief.store.position())
    thief.begin(0)


def replayed(thief: Thief) -> None:
    """The position from before the run, which its store has signed."""
    thief.meet(thief.first)
    thief.begin(0)


def rewound(thief: Thief) -> None:
    """As many records as the server remembers, and the item still there, with the digest that the
    server knows.
    """
    entries = Position.decode(thief.first).catalogue or ()
    thief.meet(claiming(thief.store, entries, next=0))
    thief.begin(0)


def later(thief: Thief) -> None:
    """The same with more records, as of an honest client that has gone on."""
    entries = Position.decode(thief.first).catalogue or ()
    counter = thief.store.ledger.counter + 5
    thief.meet(claiming(thief.store, entries, next=0, counter=counter))
    thief.begin(0)


def empty(thief: Thief) -> None:
    """A store that lists nothing, with records that it does not have; its own ledger is then behind
    what the server has of it, and no honest program takes that store again.
    """
    thief.meet(claiming(thief.store, (), counter=thief.store.ledger.counter + 5))
    thief.begin(0)


def offered(thief: Thief) -> None:
    """A new store is offered in the place of the old one, and then the old one is spoken of."""
    cellar = thief.ahead.cellar("client")
    terms = cellar.terms("client", thief.ahead.program, thief.connection.channel.line)
    offer = Founding.begin(cellar.key, terms).offer.encode().hex()
    thief.say(handshake.Stored(offer=offer, anew=True))
    assert handshake.receive(thief.connection.channel, handshake.Stored).offer
    thief.meet(thief.first)
    thief.begin(0)


def prepared_again(thief: Thief) -> None:
    """Another item under the index of the one that was used."""
    thief.say(handshake.Prepare(index=0))


WAYS: tuple[Callable[[Thief], None], ...] = (
    again,
    met_again,
    replayed,
    rewound,
    later,
    offered,
    prepared_again,
)


def honest(connection: Connection, parties: Parties, seed: int) -> None:
    image = image_of(parties.program, seed)
    assert is_exact(parties.server, [image], connection.infer_batch([image])[0])


def refused(ahead: Ahead, server: Running, first: bytes, way: Callable[[Thief], None]) -> None:
    """On a connection of its own."""
    with ahead.met(server, new=NewStore.NEVER) as connection:
        meter = connection.channel.meter
        before = meter.total.received
        with pytest.raises(PeerRefused):  # noqa: PT012 - it may be refused within
            way(Thief(ahead, connection, first))
            handshake.receive(connection.channel, handshake.Stored)
        assert meter.total.received == before


@pytest.mark.parametrize("cut", [False, True], ids=["whole run", "cut after the mark"])
def test_no_way_leads_to_a_second_use(
    ahead: Ahead, parties: Parties, cut: bool, tmp_path: Path
) -> None:
    """After a run with item 0, or one that the client cuts when the server has marked the item and
    nothing is sent, each way ends in a refusal, in words; no process of the server reads anything
    of item 0 but the one that ran with it, and item 1 serves the next honest run.
    """
    outside = Ledger(tmp_path)
    with outside.written():
        server = ahead.serve(options={"sessions": 1})
    ahead.prepare(server, 2)
    with ahead.met(server, new=NewStore.NEVER) as connection:
        first = connection._stocks[1].stock.store.position()
        if cut:
            before = connection.channel.meter.total.received
            with connection._stocks[1].taken(0):
                assert connection.channel.meter.total.received == before
        else:
            honest(connection, parties, 1)
    for way in WAYS:
        refused(ahead, server, first, way)
    with ahead.met(server, new=NewStore.NEVER) as connection:
        assert connection.prepared() == 1
        honest(connection, parties, 2)
    refused(ahead, server, first, empty)
    server.wait_for("is an older copy: it has", 4)
    server.wait_for("item 0 is not the next one", 3)
    server.wait_for("item 0 is to be prepared where 2 was due")
    server.end()
    assert not server_faults(outside)
    assert {index for _, index in outside.read("server")} == {"0", "1"}


def server_faults(outside: Ledger) -> list[str]:
    """The client's children are none of this test's."""
    return [fault for fault in outside.faults() if fault.startswith("server: ")]
