"""Prepared pads are taken once and in order, and choices hidden by what was stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from moiety.protocols.arrays import U64
from moiety.protocols.errors import ContractViolation
from moiety.protocols.network import LAN
from moiety.protocols.ot.demand import Demand
from moiety.protocols.ot.prepared import CHOICES, PreparedSender
from moiety.protocols.preparation import answering, prepare
from moiety.protocols.recording import record
from moiety.protocols.session import Role, Session
from tests.support.memory_store import MemoryStore
from tests.support.two_party import run_two_party

N, BITS = 700, 13
GATE = np.zeros(N, np.uint8)


def twice(session: Session, bits: int = BITS) -> U64:
    """Two batches of the server's, and then two answers."""
    if session.is_server:
        accepted = [session.sender.accept(N, 1) for _ in range(2)]
        x = np.arange(N, dtype=np.uint64)
        made = [session.sender.multiply(batch, x, GATE, bits) for batch in accepted]
    else:
        chosen = [session.receiver.choose(GATE, 1) for _ in range(2)]
        made = [session.receiver.additive(batch, bits) for batch in chosen]
    return made[0] + made[1]


def wide(session: Session) -> None:
    session.sender.accept(N + 1, 1)


def narrow(session: Session) -> None:
    session.sender.accept_rows(2, N, 1)


def other_width(session: Session) -> None:
    session.sender.accept(N, 2)


def grouped(session: Session) -> None:
    session.sender.accept_rows(1, N, 1, 2)


def other_bits(session: Session) -> None:
    batch = session.sender.accept(N, 1)
    session.sender.multiply(batch, np.zeros(N, np.uint64), GATE, BITS + 1)


def other_order(session: Session) -> None:
    batches = [session.sender.accept(N, 1) for _ in range(2)]
    session.sender.multiply(batches[1], np.zeros(N, np.uint64), GATE, BITS)


def answered_twice(session: Session) -> None:
    batches = [session.sender.accept(N, 1) for _ in range(2)]
    for batch in (batches[0], replace(batches[0])):
        session.sender.multiply(batch, np.zeros(N, np.uint64), GATE, BITS)


def one_more(session: Session) -> None:
    twice(session)
    session.sender.accept(N, 1)


def one_less(session: Session) -> None:
    batches = [session.sender.accept(N, 1) for _ in range(2)]
    session.sender.multiply(batches[0], np.zeros(N, np.uint64), GATE, BITS)


REFUSED: dict[str, Callable[[Session], object]] = {
    "is opened, due": wide,
    "rows=2": narrow,
    "k=2": other_width,
    "group=2": grouped,
    "bits=14": other_bits,
    "opening=1, row=0, bits=13[)] is begun": other_order,
    "opening=0, row=0, bits=13[)] is begun, due": answered_twice,
    "due is nothing": one_more,
    "0 openings and 1 answers to come": one_less,
}


@pytest.mark.parametrize("match", REFUSED)
def test_pads_are_taken_once_and_in_order(match: str) -> None:
    """What differs is refused before a byte under its pads is sent, and what is left at the end."""
    demand = record(Role.SERVER, LAN, twice)
    sent = {}

    def server(session: Session) -> None:
        prepare(session, demand, store := MemoryStore())
        before = session.channel.meter.total.sent
        with (
            pytest.raises(ContractViolation, match=match),
            answering(demand, store, session) as run,
        ):
            REFUSED[match](run)
        sent["bytes"] = session.channel.meter.total.sent - before

    def client(session: Session) -> None:
        prepare(session, demand, MemoryStore())
        for _ in range(4):
            session.channel.send(np.zeros(2 * N, np.uint8))

    run_two_party(server, client)
    answered = (answered_twice, one_less).count(REFUSED[match]) + 2 * (REFUSED[match] is one_more)
    assert sent["bytes"] == answered * -(-N * BITS // 8)


def test_pads_are_not_given_before_their_batch_is_answered() -> None:
    demand = record(Role.SERVER, LAN, twice)
    with pytest.raises(ContractViolation, match="before their batch is answered"):
        run_two_party(
            lambda s: (
                PreparedSender(s.channel, demand.to_client, MemoryStore())
                ._pads(1, N, 1, 1)[0]
                .of(slice(0, N))
            ),
            lambda s: None,
        )


def test_only_a_session_on_demand_prepares() -> None:
    demand = record(Role.SERVER, LAN, twice)

    def side(session: Session) -> None:
        with answering(Demand(), MemoryStore(), session) as run:
            prepare(run, demand, MemoryStore())

    with pytest.raises(ContractViolation, match="draws on demand"):
        run_two_party(side, side)


def test_choices_of_a_prepared_run_are_hidden_by_its_u() -> None:
    """What is sent of equal choices is the stored u, which looks random and no two runs have in
    common.
    """
    demand = record(Role.CLIENT, LAN, twice)
    streams: list[bytes] = []

    def side(session: Session) -> None:
        store = MemoryStore()
        for _ in range(2):
            prepare(session, demand, store)
        streams.append(bytes(store.streams[CHOICES]))

    run_two_party(side, side)
    hiding = np.frombuffer(max(streams, key=len), np.uint8)
    assert hiding.size == 2 * demand.to_client.choice_bytes
    bits = np.unpackbits(hiding).reshape(2, -1)
    for each in (bits[0], bits[1], bits[0] ^ bits[1]):
        assert abs(int(each.sum()) - each.size / 2) < 6 * (each.size / 4) ** 0.5
