"""Two stores that belong together: what is used next, and that no older copy of either is used."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols.errors import (
    BadArtifact,
    ContractViolation,
    NetworkFailure,
    PeerMismatch,
    UntrustedPeer,
)
from moiety.runtime.store import care
from moiety.runtime.store.limits import DAY, Limits
from moiety.runtime.store.position import (
    Catalogue,
    Claim,
    Entry,
    Position,
    Signed,
    catalogue_bytes,
)
from moiety.runtime.store.reconcile import SKIPPED, Plan, reconcile
from moiety.runtime.store.store import Store
from tests.support.stores import NAMES, NOW, Name, Pair, agreed, digest_of, fill, meet

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(tmp_path)
    made.create()
    return made


def prepare(client: Store, server: Store, *indices: int) -> None:
    for index in indices:
        fill(client, index)
        fill(server, index)


def use(client: Store, server: Store, index: int) -> None:
    """Marked at both, and both know it."""
    client.take(index).close()
    server.take(index).close()
    said = client.position(listed=False), server.position(listed=False)
    client.confirm(said[1], index)
    server.confirm(said[0], index)


# --- the rule -------------------------------------------------------------------------------------


def position(role: Name, start: int, held: dict[int, int], fresh: int | None = None) -> Position:
    """`held`: index -> which digest."""
    entries: Catalogue = tuple(Entry(each, digest_of(each, held[each])) for each in sorted(held))
    claim = Claim(
        role=role,
        lineage=bytes(16),
        counter=1,
        head=bytes(32),
        next=start,
        fresh=max([start, *(each + 1 for each in held)]) if fresh is None else fresh,
        count=len(entries),
        catalogue=hashlib.sha256(catalogue_bytes(entries)).digest(),
    )
    return Position(Signed.by(KEY, claim), None, entries)


@st.composite
def positions(draw: st.DrawFn, role: Name, passed: bool = False) -> Position:
    """`passed`: the catalogue may have items that its party has passed, which no store says."""
    start = draw(st.integers(0, 12))
    indices = draw(st.sets(st.integers(0 if passed else start, 40), max_size=30))
    return position(role, start, {index: draw(st.integers(0, 1)) for index in indices})


@given(
    positions("client", True),
    positions("server", True),
    st.integers(0, 3),
    st.just(0) | st.integers(0, 45),
)
def test_both_come_to_the_same_and_never_go_back(
    client: Position, server: Position, count: int, skip_to: int
) -> None:
    """In all: items of both, with equal digests, that neither has passed; the first such."""

    def found(own: Position, peer: Position) -> Plan | None:
        try:
            return reconcile(own, peer, count, skip_to)
        except PeerMismatch:
            return None

    plan = found(client, server)
    assert plan == found(server, client)
    starts = (client.claim.next, server.claim.next, skip_to)
    common = sorted(
        {*(client.catalogue or ())} & {*(server.catalogue or ())}, key=lambda e: e.index
    )
    usable = [each.index for each in common if each.index >= max(starts)][:count]
    if plan is not None:
        assert plan.indices == tuple(usable)
        assert plan.fresh == max(client.claim.fresh, server.claim.fresh)
        return
    lost = [
        {each.index for each in own.catalogue or () if skip_to <= each.index <= usable[-1]}
        - {*usable}
        for own in (client, server)
    ]
    assert max(map(len, lost)) > SKIPPED


def test_more_than_a_few_items_are_given_up_only_when_told() -> None:
    held = dict.fromkeys(range(40), 0)
    client = position("client", 0, held)
    ahead = {index: 0 for index in held if index >= SKIPPED}
    assert reconcile(client, position("server", SKIPPED, ahead)).indices == (SKIPPED,)
    del ahead[SKIPPED]
    server = position("server", SKIPPED + 1, ahead)
    with pytest.raises(PeerMismatch, match=r"gives up 17 prepared items, .* --skip-to 17"):
        reconcile(client, server)
    with pytest.raises(PeerMismatch):
        reconcile(server, client)
    assert reconcile(client, server, skip_to=17).indices == (17,)


def test_digests_that_differ_are_passed_over() -> None:
    client = position("client", 0, {0: 0, 1: 0, 2: 0})
    server = position("server", 0, {0: 1, 1: 0, 2: 0})
    assert reconcile(client, server, count=3).indices == (1, 2)
    assert reconcile(client, position("server", 0, {0: 1})) == Plan((), 3)


def test_without_catalogues_there_is_nothing_to_reconcile() -> None:
    client = position("client", 0, {})
    with pytest.raises(ContractViolation):
        reconcile(client, replace(client, catalogue=None))


# --- bytes ----------------------------------------------------------------------------------------


@given(positions("client"), st.none() | positions("server"), st.booleans())
def test_a_position_is_read_as_it_was_sent(
    own: Position, echo: Position | None, full: bool
) -> None:
    sent = Position(own.own, echo.own if echo else None, own.catalogue if full else None)
    assert Position.decode(sent.encode()) == sent


@given(st.data())
def test_other_bytes_are_garbage_or_have_one_encoding(data: st.DataObject) -> None:
    sent = position("client", 3, {4: 0, 9: 1})
    changed = bytearray(replace(sent, echo=sent.own).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "more"])):
            case "flip":
                changed[at] ^= data.draw(st.integers(1, 255))
            case "cut" if at:
                del changed[at:]
            case _:
                changed[at:at] = data.draw(st.binary(max_size=90))
    try:
        read = Position.decode(bytes(changed))
    except NetworkFailure:
        return
    assert read.encode() == changed


@pytest.mark.parametrize(
    "wrong",
    [
        position("client", 3, {4: 0}, fresh=4),
        position("client", 3, {2: 0}, fresh=9),
        position("client", 9, {}, fresh=8),
        position("client", 0, {}, fresh=1 << 49),
        replace(position("client", 3, {4: 0, 5: 0}), catalogue=(Entry(4, bytes(32)),) * 2),
    ],
)
def test_a_position_makes_sense(wrong: Position) -> None:
    with pytest.raises(NetworkFailure, match="not understood"):
        Position.decode(wrong.encode())


def test_entries_ascend() -> None:
    for indices in ((5, 4), (4, 4)):
        entries = tuple(Entry(index, bytes(32)) for index in indices)
        digest = hashlib.sha256(catalogue_bytes(entries)).digest()
        claim = replace(position("client", 3, {4: 0, 5: 0}).claim, catalogue=digest)
        with pytest.raises(NetworkFailure):
            Position.decode(Position(Signed.by(KEY, claim), None, entries).encode())


# --- meeting --------------------------------------------------------------------------------------


def test_both_use_the_same_items(pair: Pair) -> None:
    with pair.both() as (client, server):
        prepare(client, server, 0, 1, 2)
        fill(client, 3)
        plan = agreed(client, server)
        assert plan == Plan((0,), 4)
        use(client, server, 0)
        client.take(1).close()  # and the server dies before it has marked it
    with pair.both() as (client, server):
        plan = agreed(client, server, count=5)
        assert plan == Plan((2,), 4)
        use(client, server, 2)
        assert server.ledger.book.burned == 1
        assert agreed(client, server) == Plan((), 4)


def test_items_that_are_too_old_for_one_side_are_pruned_at_the_other(pair: Pair) -> None:
    """Else they would be given up by a jump, which only its user may allow."""
    limits, fresh = Limits(age_days=5), SKIPPED + 1
    with pair.both() as (client, server):
        prepare(client, server, *range(fresh))
    with pair.open("client", clock=later) as client, pair.open("server", limits, later) as server:
        prepare(client, server, fresh)
        with pytest.raises(PeerMismatch, match=f"too old there, .* --skip-to {fresh}"):
            agreed(client, server)
    with pair.open("client", limits, later) as client:
        assert len(care.prune(client).expired) == fresh
    with pair.open("client", clock=later) as client, pair.open("server", limits, later) as server:
        assert agreed(client, server).indices == (fresh,)


def later() -> float:
    return NOW + 6 * DAY


def test_an_item_is_used_when_both_have_marked_it(pair: Pair) -> None:
    with pair.both() as (client, server):
        prepare(client, server, 0)
        meet(client, server)
        client.take(0).close()
        with pytest.raises(PeerMismatch, match="has not marked item 0"):
            client.confirm(server.position(listed=False), 0)


def test_a_peer_that_is_met_again_costs_no_record(pair: Pair) -> None:
    with pair.both() as (client, server):
        said = server.position()
        client.meet(said)
        before = client.ledger.counter
        client.meet(said)
        assert client.ledger.counter == before


@pytest.mark.parametrize("role", NAMES)
@pytest.mark.parametrize("since", ["used", "prepared", "marked", "burned"])
def test_an_older_copy_is_refused_at_both(pair: Pair, role: Name, since: str) -> None:
    """Whoever's store it is, and whatever has happened since it was copied."""
    copy = pair.root / "copy"
    with pair.both() as (client, server):
        prepare(client, server, 0, 1)
        meet(client, server)
        shutil.copytree(pair.folder(role), copy)
        if since == "used":
            use(client, server, agreed(client, server).indices[0])
        elif since == "prepared":
            prepare(client, server, 2)
            meet(client, server)
        elif since == "burned":
            (client, server)[NAMES.index(role)].burn((1,), "damaged")
            meet(client, server)
        else:  # and told, whereupon the other one dies
            (client, server)[NAMES.index(role)].take(0).close()
            meet(client, server)
    shutil.rmtree(pair.folder(role))
    copy.rename(pair.folder(role))
    with pair.open(role) as restored, pair.open(NAMES[1 - NAMES.index(role)]) as other:
        said = restored.position(), other.position()
        with pytest.raises(BadArtifact, match="this store is an older copy"):
            restored.meet(said[1])
        with pytest.raises(PeerMismatch, match="the peer's store is an older copy"):
            other.meet(said[0])


def test_a_copy_that_went_on_alone_is_refused(pair: Pair) -> None:
    """It has as many records as its peer remembers, and others."""
    with pair.both() as (client, server):
        prepare(client, server, 0, 1, 2, 3)
        meet(client, server)
        shutil.copytree(pair.folder("client"), pair.root / "copy")
        use(client, server, 0)
    shutil.rmtree(pair.folder("client"))
    (pair.root / "copy").rename(pair.folder("client"))
    with pair.both() as (client, server):
        client.burn((2, 3), "damaged")
        client.take(0).close()
        client.burn((1,), "damaged")
        with pytest.raises(BadArtifact, match="older copy"):
            client.meet(server.position())


def test_as_many_records_with_another_end_are_an_older_copy(pair: Pair) -> None:
    with pair.both() as (client, server):
        prepare(client, server, 0, 1)
        meet(client, server)
        shutil.copytree(pair.folder("client"), pair.root / "copy")
        client.burn((1,), "expired")
        server.meet(client.position())
    shutil.rmtree(pair.folder("client"))
    (pair.root / "copy").rename(pair.folder("client"))
    with pair.both() as (client, server):
        client.burn((1,), "damaged")
        with pytest.raises(PeerMismatch, match="older copy"):
            server.meet(client.position())


def test_a_refused_position_is_not_remembered(pair: Pair) -> None:
    with pair.both() as (client, server):
        prepare(client, server, 0)
        old = client.position()
        client.take(0).close()
        server.meet(client.position())
        before = server.ledger.counter, server.ledger.book.met
        with pytest.raises(PeerMismatch):
            server.meet(old)
        assert (server.ledger.counter, server.ledger.book.met) == before


def test_a_position_of_others_is_refused(pair: Pair, tmp_path: Path) -> None:
    other = Pair(tmp_path / "other")
    other.create()
    with pair.both() as (client, server), other.both() as (_, stranger):
        meet(client, server)
        with pytest.raises(PeerMismatch, match="does not belong to this one"):
            client.meet(stranger.position())
        with pytest.raises(PeerMismatch, match="does not belong to this one"):
            client.meet(client.position())
        sent = server.stands()
        forged = Signed.by(KEY, sent.claim)
        with pytest.raises(UntrustedPeer, match="the signature of the peer's store"):
            client.meet(replace(sent, own=forged).encode())
        assert sent.echo is not None
        ahead = Signed.by(KEY, replace(sent.echo.claim, counter=99))
        with pytest.raises(UntrustedPeer, match="the signature of this side's store"):
            client.meet(replace(sent, echo=ahead).encode())
        with pytest.raises(NetworkFailure):
            client.meet(b"garbage")
        assert client.meet(sent.encode()) == sent
