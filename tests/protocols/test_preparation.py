"""Prepared transfers: what is recorded is what a run asks, a prepared run gives what the run on
demand gives and sends nothing but choices and answers, and nothing is taken twice or out of order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols import kernels, split
from moiety.protocols.arrays import U8
from moiety.protocols.channel import Traffic
from moiety.protocols.cost import Draw, Settle
from moiety.protocols.errors import ContractViolation, DeviatingPeer
from moiety.protocols.network import LAN
from moiety.protocols.ot import demand as demand_module
from moiety.protocols.ot.batches import Given, Pads
from moiety.protocols.ot.demand import Answer, Demand, Form, OneWay, Opening
from moiety.protocols.ot.generators import ALWAYS_SILENT, NEVER_SILENT, Mixed
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.ot.prepared import CHOICES, RECEIVED, SENT
from moiety.protocols.ot.transfers import Receiver, Sender
from moiety.protocols.parallel import _cut
from moiety.protocols.preparation import answering, prepare, prepare_cost
from moiety.protocols.recording import record
from moiety.protocols.session import Role, Session
from moiety.protocols.split import Runs, offline, online
from tests.protocols.cases import CASES
from tests.protocols.conformance import Case, Pair
from tests.support.memory_store import MemoryStore
from tests.support.two_party import run_two_party, vole

NAMES = (
    "less_than 40",
    "gates 13, 8 thresholds",
    "relu 16 to 28",
    "affine relu 16 to 28",
    "relu of 4396 in lanes",
    "multiplex 16 to 28",
    "truncate_exact 41 by 12",
    "truncate_with_gates in one tree",
    "truncate_with_gates apart",
    "truncate_stochastic",
    "extend 29 to 41",
    "extend 29 to 41 with headroom",
    "maxpool 3x3/2",
    "maxpool in lanes",
    "argmax of 14",
    "product 40 by 20 bits, 300 by 1",
    "product 18 by 6 bits, 3 by 70000",
    "square 12 to 24",
    "bit_to_ring 64",
)
IN_LANES = "relu of 4396 in lanes"


def since(session: Session, before: Traffic) -> Traffic:
    total = session.channel.meter.total
    return Traffic(
        total.sent - before.sent, total.received - before.received, total.flights - before.flights
    )


@dataclass(frozen=True)
class Ran:
    """One party's part of a preparation and its run."""

    result: Any
    preparing: Traffic
    running: Traffic
    stored: dict[str, int]
    left: dict[str, int]


def recorded(case: Case, inputs: Pair, role: Role = Role.SERVER) -> Demand:
    return record(role, LAN, lambda session: case.body(session, inputs[role]))


def run_prepared(case: Case, inputs: Pair, demand: Demand, silent_from: int) -> tuple[Ran, Ran]:
    def side(session: Session) -> Ran:
        store, meter = MemoryStore(), session.channel.meter
        before = replace(meter.total)
        prepare(session, demand, store)
        preparing, stored, before = since(session, before), store.sizes, replace(meter.total)
        with answering(demand, store, session) as run:
            result = case.body(run, inputs[session.role])
        return Ran(result, preparing, since(session, before), stored, store.sizes)

    outcome = run_two_party(side, side, silent_from=silent_from)
    return outcome.server, outcome.client


@pytest.mark.parametrize(
    ("name", "silent_from"),
    [*((name, NEVER_SILENT) for name in NAMES), (IN_LANES, ALWAYS_SILENT), (IN_LANES, 3)],
)
def test_a_prepared_run_gives_what_it_must_and_sends_what_it_declares(
    monkeypatch: pytest.MonkeyPatch, name: str, silent_from: int
) -> None:
    """Small runs of correlations, so that a preparation has several, which end within batches."""
    monkeypatch.setattr(split, "RUN", 1 << 12)
    case = CASES[name]
    inputs = case.inputs(np.random.default_rng(len(name)))
    demand = recorded(case, inputs)
    assert demand == recorded(case, inputs, Role.CLIENT)
    server, client = run_prepared(case, inputs, demand, silent_from)
    case.check(inputs, (server.result, client.result))

    cost = online(case.cost)
    assert (client.running.sent, client.running.received) == (cost.up, cost.down)
    assert (server.running.sent, server.running.received) == (cost.down, cost.up)
    for declared in (prepare_cost(demand), offline(case.cost)):
        wire = declared.on(Mixed(silent_from))
        assert (client.preparing.sent, client.preparing.received) == (wire.up, wire.down)
    if silent_from == NEVER_SILENT:
        # The set-up ends with a flight of the server's, as may the preparation.
        flights = prepare_cost(demand).flights
        begun = flights.startswith("S")
        assert client.preparing.flights == server.preparing.flights == len(flights) - begun

    ways = (demand.to_client, demand.to_server), (demand.to_server, demand.to_client)
    for (sent, received), party in zip(ways, (server, client), strict=True):
        sizes = sent.sent_bytes, received.received_bytes, received.choice_bytes
        wanted = dict(zip((SENT, RECEIVED, CHOICES), sizes, strict=True))
        assert party.stored == {stream: size for stream, size in wanted.items() if size}
        assert not any(party.left.values())


# --- the record -----------------------------------------------------------------------------------


class Watched:
    """The pads of a real batch; says when they are used."""

    def __init__(self, pads: Pads, answers: list[Answer], opening: int, row: int) -> None:
        self.pads, self.answers, self.opening, self.row = pads, answers, opening, row

    def begin(self, bits: int) -> None:
        self.answers.append(Answer(self.opening, self.row, bits))
        self.pads.begin(bits)

    def of(self, at: slice) -> Given:
        return self.pads.of(at)


class Watching:
    """What one direction is really asked for."""

    def __init__(self) -> None:
        self.openings: list[Opening] = []
        self.answers: list[Answer] = []

    def watch(self, opening: Opening, pads: Sequence[Pads]) -> Sequence[Pads]:
        self.openings.append(opening)
        number = len(self.openings) - 1
        return [Watched(each, self.answers, number, row) for row, each in enumerate(pads)]

    def way(self) -> OneWay:
        return OneWay(tuple(self.openings), tuple(self.answers))


class WatchedSender(TransferSender, Watching):
    def __init__(self, end: Sender) -> None:
        Watching.__init__(self)
        TransferSender.__init__(self, end._channel, vole(end), end._keys)  # type: ignore[attr-defined]

    def _pads(self, rows: int, n: int, k: int, group: int) -> Sequence[Pads]:
        return self.watch(Opening(rows, n, k, group), super()._pads(rows, n, k, group))


class WatchedReceiver(TransferReceiver, Watching):
    def __init__(self, end: Receiver) -> None:
        Watching.__init__(self)
        TransferReceiver.__init__(self, end._channel, vole(end), end._keys)  # type: ignore[attr-defined]

    def _choices(self, rows: int, n: int, k: int, group: int) -> tuple[U8, Sequence[Pads]]:
        u, pads = super()._choices(rows, n, k, group)
        return u, self.watch(Opening(rows, n, k, group), pads)


@pytest.mark.parametrize("name", ["maxpool in lanes", IN_LANES, "product 18 by 6 bits, 3 by 70000"])
def test_what_is_recorded_is_what_a_run_asks(name: str) -> None:
    case = CASES[name]
    inputs = case.inputs(np.random.default_rng(5))

    def side(session: Session) -> Demand:
        sender, receiver = WatchedSender(session.sender), WatchedReceiver(session.receiver)
        watched = replace(session, sender=sender, receiver=receiver)
        case.body(watched, inputs[session.role])
        ways = sender.way(), receiver.way()
        return Demand(*(ways if session.is_server else ways[::-1]))

    outcome = run_two_party(side, side)
    assert outcome.server == outcome.client == recorded(case, inputs)


def test_digests_tell_demands_apart() -> None:
    """Every number counts, and the direction, and the order."""
    one, two = Opening(1, 300, 4, 1), Opening(2, 300, 1, 3)
    answers = (Answer(0, 0, 2), Answer(1, 1, 9), Answer(1, 0, 8))
    way = OneWay((one, two), answers)
    demands = [Demand(way), Demand(OneWay(), way), Demand(way, way), Demand()]
    for changed in (
        one._replace(rows=2),
        one._replace(n=301),
        one._replace(k=3),
        one._replace(group=2),
        one._replace(form=Form.EARLY),
    ):
        demands.append(Demand(OneWay((changed, two), answers)))
    for at in range(3):
        changed_answer = answers[2]._replace(**{Answer._fields[at]: answers[2][at] + 1})
        demands.append(Demand(OneWay((one, two), (*answers[:2], changed_answer))))
    demands += [
        Demand(OneWay((two, one), answers)),
        Demand(OneWay((one, two), answers[::-1])),
        Demand(OneWay((one, two), answers[:2])),
        Demand(OneWay((one,), answers)),
    ]
    assert len({demand.digest() for demand in demands}) == len(demands)


def test_a_batch_that_nobody_answers_is_not_recorded() -> None:
    def body(session: Session) -> None:
        session.sender.accept(100, 2)

    with pytest.raises(ContractViolation, match="1 batches of transfers are opened, 0 are answ"):
        record(Role.SERVER, LAN, body)


# --- correlations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["to_client", "to_server"])
def test_a_prepared_run_draws_every_correlation_once(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Across runs of correlations and pieces, which end in other places: no block is hashed twice,
    and each that is drawn is.
    """
    monkeypatch.setattr(split, "RUN", 1000)
    monkeypatch.setattr(demand_module, "pieces", lambda n: _cut(n, -(-n // 700), 8))
    case = CASES["maxpool 3x3/2"]
    demand = recorded(case, case.inputs(np.random.default_rng(0)))
    hashed: dict[str, list[bytes]] = {"pads_send": [], "pads_recv": []}
    for name in hashed:
        real = getattr(kernels, name)

        def spied(blocks: U8, *given: Any, real: Any = real, name: str = name) -> U8:
            hashed[name] += [block.tobytes() for block in blocks]
            made: U8 = real(blocks, *given)
            return made

        monkeypatch.setattr(kernels, name, spied)
    only = Demand(**{way: getattr(demand, way)})

    def side(session: Session) -> None:
        prepare(session, only, MemoryStore())

    run_two_party(side, side)
    wanted = sum(each.rows * each.n for each in getattr(demand, way).openings)
    for blocks in hashed.values():
        assert len(blocks) == len(set(blocks)) == wanted


# --- a peer that deviates -------------------------------------------------------------------------


@pytest.mark.parametrize("silent_from", [NEVER_SILENT, ALWAYS_SILENT])
@pytest.mark.parametrize("who", Role)
def test_a_peer_that_deviates_is_caught_before_the_item_counts(silent_from: int, who: Role) -> None:
    """A bit of what it sends is another one: of its corrections, or of its answers to refills,
    which nothing but the last check sees.
    """
    case = CASES["multiplex 16 to 28"]
    demand = recorded(case, case.inputs(np.random.default_rng(0)))
    finished = []

    def side(session: Session) -> None:
        if session.role is who:
            honest = session.channel.send

            def flipped(data: Any, ahead: bool = False) -> None:
                if ahead is (silent_from == ALWAYS_SILENT) and len(data) > 100:
                    data = np.array(data)
                    data.flat[data.size // 2] ^= 4
                honest(data, ahead)

            session.channel.send = flipped  # type: ignore[method-assign]
        prepare(session, demand, MemoryStore())
        finished.append(session.role)

    with pytest.raises(DeviatingPeer):
        run_two_party(side, side, silent_from=silent_from)
    assert who.peer not in finished


# --- runs of correlations -------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 4)), max_size=30),
    st.integers(1, 2000),
)
def test_runs_draw_what_is_taken_and_no_more(taken: list[tuple[int, int]], most: int) -> None:
    total: Counter[int] = Counter()
    for n, k in taken:
        total[k] += n
    before, split.RUN = split.RUN, most
    try:
        runs, drawn, used = Runs(Counter(total)), Counter[int](), Counter[int]()
        for n, k in taken:
            for size in runs.before(n, k):
                assert 1 <= size <= most
                assert drawn[k] < used[k] + n  # none is drawn before it is needed
                drawn[k] += size
            used[k] += n
            assert drawn[k] >= used[k]
        assert drawn == total
        draws = split.runs_of("C", taken)
        assert all(draw.receiver == "C" for draw in draws)
        assert Counter(draw.k for draw in draws) == {k: -(-n // most) for k, n in total.items()}
    finally:
        split.RUN = before


def test_a_cost_is_split_in_two() -> None:
    cost = CASES["relu 16 to 28"].cost
    drawn = [event for event in cost.events if isinstance(event, Draw)]
    assert [event for event in cost.events if event not in drawn] == list(online(cost).events)
    *made, settled = offline(cost).events
    assert settled == Settle()
    for receiver in ("C", "S"):
        for k in range(1, 5):
            wanted, total = (
                sum(
                    e.n
                    for e in events
                    if isinstance(e, Draw) and (e.receiver, e.k) == (receiver, k)
                )
                for events in (drawn, made)
            )
            assert total == wanted
