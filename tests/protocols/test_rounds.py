"""Rounds of a preparation: what is drawn, made and asked for, and when."""

from __future__ import annotations

import gc
import itertools
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols import split
from moiety.protocols.errors import ContractViolation
from moiety.protocols.letters import Letters
from moiety.protocols.linear.layout import Geometry
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.network import LAN
from moiety.protocols.ot.demand import Answer, Demand, Form, OneWay, Opening
from moiety.protocols.preparation import Layer, prepare, rounds
from moiety.protocols.recording import Recording
from moiety.protocols.session import Role, Session
from tests.support.memory_store import MemoryStore
from tests.support.two_party import channel_pair, run_two_party

SPEC = plan_linear(Geometry((1, 4, 4), (1, 4, 4), (1, 1), (0, 0, 0, 0), (1, 1), 1), 20, 8, 1)

openings = st.lists(
    st.builds(
        Opening,
        st.just(1),
        st.integers(1, 900),
        st.integers(1, 4),
        st.just(1),
        st.sampled_from(Form),
    ),
    max_size=12,
)


def way(made: list[Opening]) -> OneWay:
    return OneWay(tuple(made), tuple(Answer(at, 0, 8) for at in range(len(made))))


@given(openings, openings, st.data())
def test_everything_is_due_once_and_a_layer_before_what_may_depend_on_it(
    to_client: list[Opening], to_server: list[Opening], data: st.DataObject
) -> None:
    demand = Demand(way(to_client), way(to_server))
    count = data.draw(st.integers(0, 5))
    before = sorted(data.draw(st.integers(0, len(to_client))) for _ in range(count))
    other = sorted(data.draw(st.integers(0, len(to_server))) for _ in range(count))
    layers = [Layer(at, SPEC, both) for at, both in enumerate(zip(before, other, strict=True))]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(split, "RUN", 500)
        made = rounds(demand, layers)
    assert [layer for each in made for layer in each.layers] == layers
    for name in ("to_client", "to_server"):
        turns = [getattr(each, name) for each in made]
        pieces = [piece for turn in turns for piece in turn.pieces]
        assert pieces == list(getattr(demand, name).pieces())
        drawn = itertools.accumulate(turn.run.size if turn.run else 0 for turn in turns)
        taken = itertools.accumulate(sum(piece.n for piece in turn.pieces) for turn in turns)
        assert all(there >= wanted for there, wanted in zip(drawn, taken, strict=True))
    for at, each in enumerate(made):
        later = [layer for after in made[at + 1 :] for layer in after.layers]
        for side, turn in enumerate((each.to_client, each.to_server)):
            for piece in turn.pieces:
                assert all(piece.answer.opening < layer.before[side] for layer in later)


def test_layers_without_transfers_are_one_round() -> None:
    assert [each.numbers for each in rounds(Demand(), [Layer(3, SPEC), Layer(5, SPEC)])] == [[3, 5]]


def test_only_the_client_knows_anything_beforehand() -> None:
    (each,) = rounds(Demand(to_server=way([Opening(1, 8, 2, 1, Form.EARLY)])))
    with pytest.raises(ContractViolation, match="only the client knows"):
        each.letters()


def test_a_party_needs_its_part_of_the_layers() -> None:
    def side(session: Session) -> None:
        prepare(session, Demand(), MemoryStore(), layers=[Layer(3, SPEC)])

    with pytest.raises(ContractViolation, match="without their other half"):
        run_two_party(side, side)


# --- letters --------------------------------------------------------------------------------------


def test_letters_leave_and_come_in_order() -> None:
    here, there = channel_pair()
    mine, theirs = Letters(), Letters()
    for data in (b"one", b"", b"three"):
        mine.send(data)
    mine.send(np.arange(3, dtype=np.uint16))
    assert here.meter.total.sent == 0
    mine.post(here)
    assert here.meter.total.sent == 14
    mine.post(here)
    assert here.meter.total.sent == 14
    theirs.collect(there, 14)
    assert bytes(theirs.recv(5)) == b"oneth"
    with pytest.raises(ContractViolation, match="9 bytes of the peer's letters are not read"):
        theirs.collect(there, 0)
    with pytest.raises(ContractViolation, match="10 bytes of the peer's letters are read, and 9"):
        theirs.recv(10)
    with pytest.raises(ContractViolation, match="0 bytes of letters are not sent, 9 not read"):
        theirs.close()
    assert bytes(theirs.recv(9))[3:] == np.arange(3, dtype=np.uint16).tobytes()
    theirs.collect(there, 0)
    theirs.close()
    mine.close()
    mine.send(b"late")
    with pytest.raises(ContractViolation, match="4 bytes of letters are not sent"):
        mine.close()


# --- a run that is recorded as far as it is asked for ---------------------------------------------


def test_a_recording_goes_no_further_than_it_is_asked() -> None:
    reached: list[int] = []

    def body(session: Session, may_stop: object) -> None:
        assert callable(may_stop)
        receiver = session.receiver
        for at in range(4):
            may_stop()
            reached.append(at)
            batch = receiver.choose_early(np.full(9, at, np.uint8), 2)  # type: ignore[attr-defined]
            receiver.lookup(batch, 5)

    recording = Recording(Role.CLIENT, LAN, body)
    assert reached == []
    assert recording.known.choices_at(1, 2, 0, 9).tolist() == [1] * 9
    assert reached == [0, 1]
    assert recording.opened() == (2, 0)
    assert recording.known.choices_at(0, 2, 0, 9).tolist() == [0] * 9
    assert reached == [0, 1]
    with pytest.raises(ContractViolation, match="nothing is known of opening 4"):
        recording.known.choices_at(4, 2, 0, 9)
    assert reached == [0, 1, 2, 3]
    assert len(recording.demand().to_client.openings) == 4


def test_what_a_recording_raises_reaches_who_asks() -> None:
    def body(session: Session, may_stop: object) -> None:
        raise ContractViolation("a layer was prepared for another operand")

    recording = Recording(Role.CLIENT, LAN, body)
    with pytest.raises(ContractViolation, match="for another operand"):
        recording.known.products_at(0, 8, 0, 8)
    with pytest.raises(ContractViolation, match="has not come to its end"):
        recording.demand()


def test_what_a_recording_holds_is_freed_when_it_is_closed() -> None:
    """An item that is not finished leaves no secret in the process that goes on."""

    class Secret:
        """Of the run's own."""

    alive: list[weakref.ref[Secret]] = []

    def body(session: Session, may_stop: object) -> None:
        assert callable(may_stop)
        secret = Secret()
        alive.append(weakref.ref(secret))
        may_stop()
        raise AssertionError(secret)

    recording = Recording(Role.CLIENT, LAN, body)
    recording.known.more()
    recording.close()
    del recording
    gc.collect()
    assert [each() for each in alive] == [None]
