"""Prepared runs in which the client's shares are masks: what is known beforehand depends on nothing
that is received, messages are uniform, and what was prepared serves this run and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from moiety.protocols.arrays import U64
from moiety.protocols.compare import fixing, masked
from moiety.protocols.compare.masked import TruncationMasks
from moiety.protocols.compare.relu import GateSecrets
from moiety.protocols.errors import ContractViolation
from moiety.protocols.network import LAN
from moiety.protocols.ot import recording
from moiety.protocols.ot.demand import Demand, Form
from moiety.protocols.ot.early import Known
from moiety.protocols.preparation import answering, prepare, prepare_cost
from moiety.protocols.prg import Prg
from moiety.protocols.recording import record_known
from moiety.protocols.session import Role, Session
from tests.support.prepared import StreamsInMemory, run_prepared
from tests.support.two_party import MemoryChannel, run_two_party
from tests.support.wiretap import deviates

BITS, SHIFT, OUT_BITS, N = 14, 6, 15, 4800
"""Two lanes would be cut at half of N; here all is one."""


def fresh(n: int, bits: int) -> U64:
    return Prg.from_os().uint64(n, bits)


def chain(session: Session, x: U64, masks: tuple[Any, ...]) -> U64:
    """Truncation with gates, and a multiplexer with extension of what comes of it: all kinds of
    messages. Masks are the client's.
    """
    if session.is_server:
        masks = (None, None, None)
    secrets = (
        GateSecrets(np.zeros(x.size, np.uint64), (np.arange(x.size) % 2).astype(np.uint8))
        if session.is_server
        else None
    )
    bits = BITS - SHIFT
    y, gate = masked.truncate_with_gates(session, x, BITS, SHIFT, bits, 1, None, masks[0], masks[1])
    return masked.multiplex(session, y, gate[0], bits, OUT_BITS, secrets, masks[2])


def masks_of(n: int) -> tuple[TruncationMasks, Any, U64]:
    return (
        TruncationMasks(fresh(n, 1).astype(np.uint8), fresh(n, BITS - SHIFT)),
        fresh(n, 1).astype(np.uint8)[None],
        fresh(n, OUT_BITS),
    )


# --- what is known --------------------------------------------------------------------------------


def recorded(role: Role, x: U64, masks: Any) -> tuple[Demand, Known]:
    return record_known(role, LAN, lambda session: chain(session, x, masks))


def test_what_is_known_depends_on_nothing_that_is_received(monkeypatch: pytest.MonkeyPatch) -> None:
    """With other garbage in place of all that a transfer and the channel would give."""
    x, masks, rng = fresh(200, BITS), masks_of(200), np.random.default_rng(1)
    demand, known = recorded(Role.CLIENT, x, masks)
    assert set(known.choices) | set(known.products)

    def garbage(made: Any, elements: int) -> Any:
        if isinstance(made, tuple):
            return tuple(garbage(each, elements) for each in made)
        return rng.integers(0, 2, (*made.shape[:-1], elements)).astype(made.dtype)

    def bytes_of(self: object, nbytes: int) -> memoryview:
        return rng.integers(0, 256, nbytes, np.uint8).data

    monkeypatch.setattr(recording, "_zeros_like", garbage)
    monkeypatch.setattr(recording.SilentChannel, "_read", bytes_of)
    again, same = recorded(Role.CLIENT, x, masks)
    assert again == demand
    for first, second in ((known.choices, same.choices), (known.products, same.products)):
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[at], second[at]) for at in first)


def test_every_early_choice_and_every_product_is_known() -> None:
    """Both parties record the same; the client knows all that does not come in the run."""
    x, masks = fresh(200, BITS), masks_of(200)
    demand, known = recorded(Role.CLIENT, x, masks)
    assert recorded(Role.SERVER, x, None)[0] == demand
    for way, form, found in (
        (demand.to_client, Form.EARLY, known.choices),
        (demand.to_server, Form.PRODUCT, known.products),
    ):
        wanted = {at for at, each in enumerate(way.openings) if each.form is form}
        assert wanted == set(found) != set()


@pytest.mark.parametrize("lost", ["choices", "products"])
def test_nothing_is_prepared_that_is_not_known(lost: str) -> None:
    x, masks = fresh(64, BITS), masks_of(64)

    def side(session: Session) -> None:
        demand, known = recorded(session.role, x, masks)
        if not session.is_server:
            getattr(known, lost).popitem()
        prepare(session, demand, StreamsInMemory(), known)

    with pytest.raises(ContractViolation, match="nothing is known of opening"):
        run_two_party(side, side, timeout=20)


# --- once, and in order ---------------------------------------------------------------------------


def deviate(body: Callable[[Session, U64], object], role: Role, match: str) -> None:
    """A run of `chain` is prepared; this party runs another body."""
    x, masks = fresh(64, BITS), masks_of(64)

    def side(session: Session) -> None:
        demand, known = recorded(session.role, x, masks)
        streams = StreamsInMemory()
        prepare(session, demand, streams, known)
        with answering(demand, streams, session) as run:
            if session.role is role:
                with pytest.raises(ContractViolation, match=match):
                    body(run, x)
                raise StopIteration
            chain(run, x, masks)

    with pytest.raises((StopIteration, RuntimeError)):
        run_two_party(side, side, timeout=20)


def test_other_choices_than_those_that_were_sent_are_refused() -> None:
    other = masks_of(64)
    deviate(
        lambda run, x: chain(run, x ^ np.uint64(1), other),
        Role.CLIENT,
        "these are not the choices that were sent",
    )


def test_another_order_is_refused() -> None:
    other = masks_of(64)
    deviate(
        lambda run, x: masked.multiplex(run, x, other[1][0], BITS, BITS, None, x),
        Role.CLIENT,
        "is opened, due is",
    )
    deviate(
        lambda run, x: masked.multiplex(run, x, np.zeros(64, np.uint8), BITS, BITS, None, None),
        Role.SERVER,
        "is opened, due is",
    )


def test_sessions_on_demand_have_no_masks() -> None:
    x = fresh(8, BITS)

    def side(session: Session) -> None:
        with pytest.raises(ContractViolation, match="only a prepared run"):
            chain(session, x, masks_of(8))

    run_two_party(side, side)


def test_a_client_has_its_mask() -> None:
    def client(session: Session) -> None:
        with pytest.raises(ContractViolation, match="without its mask"):
            fixing.fix(session, fresh(8, 5), 5, None)

    run_two_party(lambda session: None, client)


# --- messages -------------------------------------------------------------------------------------


def test_every_message_of_a_run_is_uniform() -> None:
    """All operands equal at both parties: what varies are masks and pads alone."""
    x, masks = np.full(N, 77, np.uint64), masks_of(N)
    sent: dict[Role, list[np.ndarray[Any, Any]]] = {Role.SERVER: [], Role.CLIENT: []}

    def side(session: Session) -> U64:
        def tap(_: Session) -> None:
            channel = session.channel
            assert isinstance(channel, MemoryChannel)
            write = channel._write

            def tapped(data: memoryview) -> None:
                sent[session.role].append(np.frombuffer(bytes(data), np.uint8))
                write(data)

            channel._write = tapped  # type: ignore[method-assign]

        return run_prepared(session, lambda run: chain(run, x, masks), tap)

    made = run_two_party(side, side)
    assert np.array_equal(made.client, masks[2])
    for role, messages in sent.items():
        assert len(messages) > 4, role
        for message in messages:
            assert not deviates(message), (role, message.size)


def test_what_a_preparation_sends_is_declared() -> None:
    x, masks = fresh(300, BITS), masks_of(300)

    def side(session: Session) -> tuple[int, int, Demand]:
        demand, known = recorded(session.role, x, masks)
        before = session.channel.meter.total.sent
        prepare(session, demand, StreamsInMemory(), known)
        return session.channel.meter.total.sent - before, 0, demand

    made = run_two_party(side, side)
    cost = prepare_cost(made.client[2])
    assert (made.server[0], made.client[0]) == (cost.down, cost.up)
