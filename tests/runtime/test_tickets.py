"""Tickets for workers, and what a worker asks of its front: each word of both, without the network
between them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from moiety.protocols.errors import (
    BadInput,
    MoietyError,
    NetworkFailure,
    PeerMismatch,
    UntrustedPeer,
)
from moiety.runtime.operation.fingerprint import Fingerprint
from moiety.runtime.party import handshake
from moiety.runtime.party.client import _connect_worker
from moiety.runtime.party.endpoints import Listener
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import Limits, Line, PeerClosed
from moiety.runtime.party.keystore import KeyStore
from moiety.runtime.party.server import reports
from moiety.runtime.party.server.admission import Admission, Allowance, Caller, Denied, Everybody
from moiety.runtime.party.server.escort import Escort, check_worker
from moiety.runtime.party.server.front import Front
from moiety.runtime.party.server.visitor import Visitor
from moiety.runtime.party.server.worker import AtFront
from moiety.runtime.party.server.worker_line import Redeem, Redeemed, Reveal, Take, Taken, Told
from tests.support.lines import two_credentials

CLIENT, OTHER = "ab" * 32, "cd" * 32
COHORT = "12" * 16


# --- at the front ---------------------------------------------------------------------------------


class Clock:
    """Monotonic seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


@pytest.fixture
def front(executor: ServerExecutor) -> Iterator[Front]:
    """With as many idle workers as a test needs."""
    listener = Listener.at("127.0.0.1", 0)
    made = Front(executor, listener)
    for number in range(40):
        made._worker_up(f"10.0.0.7:{7701 + number}")
    yield made
    listener.close()


def visitor(fingerprint: str | None) -> Any:
    caller = Caller("10.0.0.9", 4000, fingerprint, "st-mary")
    return Visitor(Mock(peer="client"), Mock(), None, caller)


def sent(front: Front, fingerprint: str | None = CLIENT) -> tuple[Any, reports.Go]:
    """A client that has its turn."""
    client = visitor(fingerprint)
    front._wants(client, reports.Wants(fingerprint=fingerprint, name="st-mary"))
    (word,) = [call.args[0] for call in client.child.line.send.call_args_list]
    assert isinstance(word, reports.Go)
    return client, word


def shown(front: Front, ticket: str, fingerprint: str | None = CLIENT) -> Any:
    """What the worker hears that was shown this ticket."""
    worker = visitor("ee" * 32)
    front._hear_more(worker, reports.Redeems(ticket=ticket, fingerprint=fingerprint))
    return worker.child.line.send.call_args.args[0]


def test_a_ticket_is_good_once(front: Front, clock: Clock) -> None:
    _, go = sent(front)
    escorts = shown(front, go.ticket)
    assert escorts == reports.Escorts(
        address="10.0.0.9", port=4000, fingerprint=CLIENT, name="st-mary"
    )
    assert shown(front, go.ticket) == reports.Void()


@pytest.mark.parametrize("other", [OTHER, None, CLIENT[:-1] + "c", CLIENT[:32], ""])
def test_a_ticket_is_for_one_certificate(front: Front, clock: Clock, other: str | None) -> None:
    """And whoever tries another does not spoil it."""
    _, go = sent(front)
    assert shown(front, go.ticket, other) == reports.Void()
    assert isinstance(shown(front, go.ticket), reports.Escorts)


def test_a_ticket_is_good_for_a_minute(front: Front, clock: Clock) -> None:
    _, go = sent(front)
    clock.now += 59.9
    front._look_at_clocks()
    _, late = sent(front)
    assert isinstance(shown(front, go.ticket), reports.Escorts)
    clock.now += 60.1
    front._look_at_clocks()
    assert shown(front, late.ticket) == reports.Void()


def test_a_ticket_ends_with_its_worker(front: Front, clock: Clock) -> None:
    """And with that one alone."""
    (_, one), (_, other) = sent(front), sent(front)
    front._worker_down(one.worker, "it was killed")
    assert shown(front, one.ticket) == reports.Void()
    assert isinstance(shown(front, other.ticket), reports.Escorts)


def test_tickets_are_not_guessed(front: Front, clock: Clock) -> None:
    """128 bits, none of which stays as it is; what is near to one is none."""
    tickets = [sent(front)[1].ticket for _ in range(32)]
    assert len(set(tickets)) == 32
    assert {len(bytes.fromhex(ticket)) for ticket in tickets} == {16}
    for place in range(32):
        assert len({ticket[place] for ticket in tickets}) > 3
    for wrong in ("", tickets[0][:31], tickets[0][:-1] + "g", tickets[0].upper() + " "):
        assert shown(front, wrong) == reports.Void()


# --- between worker and front ---------------------------------------------------------------------


class Said:
    """A channel on which the other end has said these messages already; `order` is shared with
    whatever else a test looks at.
    """

    peer, line, limits = "peer", Line(), Limits()

    def __init__(self, *says: handshake.Message) -> None:
        self._says = [msgspec.json.encode(each) for each in says]
        self.order: list[Any] = []
        self.closed = False

    @property
    def heard(self) -> list[Any]:
        return [each for each in self.order if isinstance(each, dict)]

    def send_message(self, payload: bytes) -> None:
        self.order.append(msgspec.json.decode(payload))

    def receive_message(self) -> bytes:
        if not self._says:
            raise PeerClosed("it has said all", orderly=True)
        return self._says.pop(0)

    def close(self, error: bytes | None = None) -> None:
        self.closed = True


class Counting(Everybody):
    """Counts, and says no when it is to."""

    def __init__(self, order: list[Any], fails: MoietyError | None = None) -> None:
        self._order, self._fails = order, fails

    def take(self, caller: Caller, images: int) -> None:
        self._note("taken", caller, images)

    def aggregate(self, caller: Caller, cohort: str, images: int) -> None:
        self._note("revealed", caller, cohort, images)

    def allowance(self, caller: Caller) -> Allowance:
        return Allowance(7, 3)

    def _note(self, *what: Any) -> None:
        if self._fails is not None:
            raise self._fails
        self._order.append(what)


ESCORTS = reports.Escorts(address="10.0.0.9", port=4000, fingerprint=CLIENT, name="st-mary")
CALLER = Caller("10.0.0.9", 4000, CLIENT, "st-mary")
REDEEM = Redeem(ticket="t", fingerprint=CLIENT)
ENDED = reports.Ended(outcome="finished", images=9)


def escorted(
    *says: handshake.Message, answer: reports.Order = ESCORTS, fails: MoietyError | None = None
) -> tuple[Said, Mock, Escort]:
    channel, line = Said(REDEEM, *says), Mock()
    admission: Admission = Counting(channel.order, fails)
    leash = Mock(next=Mock(return_value=answer))
    escort = Escort(channel, line, leash, admission, 60.0)  # type: ignore[arg-type]
    return channel, line, escort


def test_a_front_counts_before_it_answers() -> None:
    """As many as are asked for, for the client that the ticket was given to, whom the worker cannot
    name; likewise before an aggregate.
    """
    says = Take(images=8), Reveal(cohort=COHORT, images=30), Told(report=ENDED)
    channel, line, escort = escorted(*says)
    assert escort.run() == ENDED
    line.send.assert_called_once_with(reports.Redeems(ticket="t", fingerprint=CLIENT))
    assert channel.order == [
        {"type": "redeemed", "name": "st-mary", "images_left": 7, "cohorts": 3, "denied": ""},
        ("taken", CALLER, 8),
        {"type": "taken", "denied": ""},
        ("revealed", CALLER, COHORT, 30),
        {"type": "taken", "denied": ""},
    ]


def test_what_a_front_denies_its_worker_hears() -> None:
    says = Take(images=8), Reveal(cohort=COHORT, images=30), Told(report=ENDED)
    channel, _, escort = escorted(*says, fails=Denied("no image is left"))
    escort.run()
    assert channel.heard[1:] == [{"type": "taken", "denied": "no image is left"}] * 2


def test_what_a_front_cannot_count_is_not_run() -> None:
    channel, _, escort = escorted(Take(images=8), fails=BadInput("the disk is full"))
    with pytest.raises(BadInput, match="the disk is full"):
        escort.run()
    assert len(channel.heard) == 1


def test_a_ticket_that_is_not_good_ends_the_workers_connection() -> None:
    channel, _, escort = escorted(Take(images=8), answer=reports.Void())
    with pytest.raises(NetworkFailure, match="not good"):
        escort.run()
    assert len(channel.order) == 1
    assert "not good" in channel.heard[0]["denied"]


def at_front(
    executor: ServerExecutor, monkeypatch: pytest.MonkeyPatch, *says: handshake.Message
) -> tuple[Said, AtFront]:
    channel, made = Said(*says), AtFront(executor.program, "127.0.0.1", 7700)
    monkeypatch.setattr(made, "_connected", lambda: channel)
    return channel, made


def test_a_worker_asks_before_each_run(
    executor: ServerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the client with the certificate that it sees, and for as many as there are; and takes no
    for an answer.
    """
    says = Redeemed(name="st-mary", images_left=7, cohorts=3), Taken(), Taken(), Taken(denied="no")
    channel, worker = at_front(executor, monkeypatch, *says, Taken(denied="no"))
    caller = worker.admit(Caller("10.0.0.9", 4000, CLIENT, ticket="t"), "p")
    assert caller.name == "st-mary"
    assert worker.allowance(caller) == Allowance(7, 3)
    worker.take(caller, 8)
    worker.aggregate(caller, COHORT, 30)
    assert channel.heard == [
        {"type": "redeem", "ticket": "t", "fingerprint": CLIENT},
        {"type": "take", "images": 8},
        {"type": "reveal", "cohort": COHORT, "images": 30},
    ]
    with pytest.raises(Denied, match="no"):
        worker.take(caller, 1)
    with pytest.raises(Denied, match="no"):
        worker.aggregate(caller, COHORT, 30)
    with pytest.raises(NetworkFailure):
        worker.take(caller, 1)


def test_a_worker_lets_nobody_in_whom_its_front_does_not_know(
    executor: ServerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, worker = at_front(executor, monkeypatch, Redeemed(denied="this ticket is not good"))
    with pytest.raises(Denied, match="alone sends clients here"):
        worker.admit(Caller("10.0.0.9"), "p")
    assert not channel.order
    with pytest.raises(Denied, match="this ticket is not good"):
        worker.admit(Caller("10.0.0.9", ticket="t"), "p")
    assert channel.closed


# --- whose keys -----------------------------------------------------------------------------------


def test_a_worker_has_the_key_of_its_front() -> None:
    own, other = Fingerprint(b"v" * 32), Fingerprint(b"v" * 31 + b"w")
    check_worker(Mock(line=Line(own, own)), True)
    with pytest.raises(UntrustedPeer, match="the same key as their front"):
        check_worker(Mock(line=Line(own, other)), True)
    with pytest.raises(PeerMismatch, match="has no workers"):
        check_worker(Mock(line=Line(own, own)), False)


class Connected(Exception):
    """With these credentials, where a connection was to be made."""


@pytest.fixture
def connecting(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `connect` is called with, wherever it is called from; no connection comes about."""
    calls: list[Any] = []

    def connect(*arguments: Any) -> None:
        calls.append(arguments)
        raise Connected

    monkeypatch.setattr("moiety.runtime.party.client.connect", connect)
    monkeypatch.setattr("moiety.runtime.party.server.worker.connect", connect)
    return calls


def test_whom_a_client_believes_at_a_worker(connecting: list[Any], tmp_path: Path) -> None:
    """Its server alone, whoever else it trusts."""
    vendor, hospital = two_credentials(tmp_path)
    assert hospital.store is not None
    hospital.store.trust("other", KeyStore(tmp_path / "other").new("other", 1))
    hospital = replace(hospital, authorities=vendor.chain, peer="vendor")
    told = handshake.Elsewhere(host="10.0.0.7", port=7701, ticket="t", nonce="n")
    with pytest.raises(Connected):
        _connect_worker(told, Line(hospital.own, vendor.own, "vendor"), None, hospital, False)
    (_, _, _, _, believed, insecure) = connecting.pop()
    assert believed._pinned() == {"vendor": vendor.own}
    assert (believed.authorities, believed.peer, insecure) == ((), None, False)
    for port in (0, -1, 1 << 16):
        with pytest.raises(NetworkFailure, match="which there is not"):
            _connect_worker(msgspec.structs.replace(told, port=port), Line(), None, hospital, False)
    assert not connecting


def test_whom_a_worker_believes_at_a_front(
    executor: ServerExecutor, connecting: list[Any], tmp_path: Path
) -> None:
    """Its own key alone."""
    vendor, _ = two_credentials(tmp_path)
    worker = AtFront(executor.program, "10.0.0.7", 7700, replace(vendor, authorities=vendor.chain))
    with pytest.raises(Connected):
        worker.admit(Caller("10.0.0.9", ticket="t"), "p")
    (_, _, _, _, believed, _) = connecting.pop()
    assert [*believed._pinned().values()] == [vendor.own]
    assert (believed.authorities, believed.peer) == ((), None)
