"""Lanes: two halves of a protocol on one channel give what the whole gives, byte for byte as
declared, whatever the timing; and end together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols import lanes, ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.channel import Channel, Traffic
from moiety.protocols.compare.digits import plan_digits
from moiety.protocols.compare.relu import relu, relu_cost
from moiety.protocols.cost import BATCH, Cost, Draw, side_by_side
from moiety.protocols.lanes import LANES_FROM, PREPARED_LANES_FROM, halves, in_lanes, in_lanes_cost
from moiety.protocols.ot.generators import ALWAYS_SILENT, NEVER_SILENT, Mixed
from moiety.protocols.session import Session
from tests.support.two_party import Outcome, channel_pair, run_both, run_two_party, share

BITS, OUT_BITS = 13, 24
N = LANES_FROM + 300
Body = Callable[[Session], Any]


def relu_in_lanes(x: U64, delay: Callable[[], None] = lambda: None) -> Body:
    """This party's side; `delay` comes before every message."""

    def body(session: Session) -> U64:
        slow_down(session.channel, delay)
        with session.channel.meter.labelled("case"):
            return in_lanes(
                session, x.size, lambda lane, at: relu(lane, x[at], BITS, OUT_BITS, None)
            )

    return body


def slow_down(channel: Channel, delay: Callable[[], None]) -> None:
    read, write = channel._read, channel._write

    def slow_read(nbytes: int) -> bytes | bytearray | memoryview:
        delay()
        return read(nbytes)

    def slow_write(data: memoryview) -> None:
        delay()
        write(data)

    channel._read, channel._write = slow_read, slow_write  # type: ignore[method-assign]


def values(n: int = N) -> tuple[U64, U64, U64]:
    """A signed value's ring elements, and two shares of them."""
    rng = np.random.default_rng(n)
    x = ring.reduce(rng.integers(0, 2**64, n, np.uint64), BITS)
    return (x, *share(x, BITS, rng))


def metered(outcome: Outcome) -> list[Traffic]:
    return [channel.meter.by_label["case"] for channel in outcome.channels]


def check_relu(x: U64, outcome: Outcome) -> None:
    wanted = ring.from_signed(np.maximum(ring.to_signed(x, BITS), 0), OUT_BITS)
    assert np.array_equal(ring.reduce(outcome.server + outcome.client, OUT_BITS), wanted)


@given(st.integers(1, 10 * PREPARED_LANES_FROM), st.booleans())
def test_halves_are_the_whole_and_end_where_blocks_do(n: int, prepared: bool) -> None:
    parts = halves(n, prepared)
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert (parts[0].start, parts[-1].stop) == (0, n)
    assert len(parts) == (1 if n < (PREPARED_LANES_FROM if prepared else LANES_FROM) else 2)
    assert all(part.start % BATCH == 0 and part.stop > part.start for part in parts)


@pytest.mark.parametrize("silent_from", [ALWAYS_SILENT, 2, NEVER_SILENT])
def test_lanes_send_what_they_declare(silent_from: int) -> None:
    x, x0, x1 = values()
    outcome = run_two_party(relu_in_lanes(x0), relu_in_lanes(x1), silent_from=silent_from)
    check_relu(x, outcome)
    plan = plan_digits(BITS - 1, 1, N)
    cost = in_lanes_cost(N, lambda n: relu_cost(n, BITS, OUT_BITS, plan))
    wire, (server, client) = cost.on(Mixed(silent_from)), metered(outcome)
    assert (client.sent, client.received) == (server.received, server.sent) == (wire.up, wire.down)
    assert client.flights == server.flights == len(wire.flights)


def test_lanes_take_the_bytes_and_flights_of_the_whole() -> None:
    """And the bytes of one check more for each draw."""
    plan = plan_digits(BITS - 1, 1, N)
    whole = relu_cost(N, BITS, OUT_BITS, plan)
    split = in_lanes_cost(N, lambda n: relu_cost(n, BITS, OUT_BITS, plan))
    checks = {"C": 0, "S": 0}
    for event in whole.events:
        if isinstance(event, Draw):
            checks[event.receiver] += 512 * event.k + 32
    assert split.up == whole.up + checks["C"]
    assert split.down == whole.down + checks["S"]
    assert split.flights == whole.flights


@pytest.mark.parametrize("silent_from", [ALWAYS_SILENT, NEVER_SILENT])
@pytest.mark.parametrize("slow", ["server", "client", "both"])
def test_no_timing_changes_a_byte(slow: str, silent_from: int) -> None:
    """Random pauses around every message of either party; the parties' randomness is fixed."""
    x, x0, x1 = values()

    def side(mine: U64, name: str, slow: str) -> Body:
        if slow not in (name, "both"):
            return relu_in_lanes(mine)
        rng = random.Random(name)
        return relu_in_lanes(mine, lambda: time.sleep(rng.choice((0.0, 0.0, 0.002, 0.01))))

    def outcome(slow: str) -> Outcome:
        server, client = side(x0, "server", slow), side(x1, "client", slow)
        return run_two_party(server, client, seed=3, silent_from=silent_from)

    quick, delayed = outcome("nobody"), outcome(slow)
    check_relu(x, delayed)
    assert metered(quick) == metered(delayed)
    assert [channel.digest.digest() for channel in quick.channels] == [
        channel.digest.digest() for channel in delayed.channels
    ]


def test_a_refill_in_a_lane_is_read_in_that_lane() -> None:
    """So many correlations that both lanes ask for refills, while the other one's answer is on its
    way.
    """
    n, k = 900_000, 4
    rng = np.random.default_rng(1)
    choices, table = rng.integers(0, 16, n, np.uint8), np.arange(16, dtype=np.uint8)

    def server(session: Session) -> U8:
        def lane(s: Session, at: slice) -> U8:
            own, total = np.zeros(at.stop - at.start, np.uint8), np.zeros(0, np.uint8)
            for _ in range(2):
                total = s.sender.join(s.sender.accept(own.size, k), own, table, 4)
            return total

        return in_lanes(session, n, lane)

    def client(session: Session) -> U8:
        def lane(s: Session, at: slice) -> U8:
            total = np.zeros(0, np.uint8)
            for _ in range(2):
                total = s.receiver.lookup(s.receiver.choose(choices[at], k), 4)
            return total

        return in_lanes(session, n, lane)

    ours, theirs = run_two_party(server, client, silent_from=ALWAYS_SILENT)
    assert np.array_equal(ours ^ theirs, choices)


# --- order and errors -----------------------------------------------------------------------------


def talk(flights: int, order: list[str], name: str, mine: bytes) -> Callable[[Channel], None]:
    """A lane of so many round trips of one byte; notes its turns in `order`."""

    def speak(channel: Channel) -> None:
        for _ in range(flights):
            channel.send(mine)
            order.append(name)
            assert channel.recv(1).tobytes() == mine

    return speak


def answer(flights: int, mine: bytes) -> Callable[[Channel], None]:
    def listen(channel: Channel) -> None:
        for _ in range(flights):
            assert channel.recv(1).tobytes() == mine
            channel.send(mine)

    return listen


def run_lanes(channel: Channel, bodies: list[Callable[[Channel], None]]) -> None:
    lanes.run(channel, [lambda body=body: body(channel) for body in bodies])  # type: ignore[misc]


def test_lanes_take_turns_and_a_shorter_one_ends_alone() -> None:
    channels, order = channel_pair(), list[str]()
    longer, shorter = 4, 2
    speakers = [talk(longer, order, "a", b"a"), talk(shorter, order, "b", b"b")]
    listeners = [answer(longer, b"a"), answer(shorter, b"b")]
    run_both(
        lambda: run_lanes(channels[0], listeners),
        lambda: run_lanes(channels[1], speakers),
        channels,
    )
    assert "".join(order) == "ababaa"
    for channel in channels:
        assert channel.meter.total.flights == 2 * longer
        assert channel.lane.flights == 2 * longer


def test_what_lanes_return_comes_in_their_order() -> None:
    channel, _ = channel_pair()
    assert lanes.run(channel, [lambda: "a", lambda: "b", lambda: "c"]) == ["a", "b", "c"]
    assert lanes.run(channel, []) == []


def test_what_is_expected_outlives_the_lanes_in_its_order() -> None:
    """Asked for before, or in a lane that has not read since, it comes with the peer's next
    flight.
    """
    near, far = channel_pair()
    takes = [near.expect(1)]

    def expecting() -> None:
        takes.append(near.expect(1))

    far.send(b"0x")
    read = lanes.run(near, [lambda: near.recv(1), expecting, expecting])[0]
    near.send(b"ask")
    far.send(b"12y")
    assert read is not None
    assert (read.tobytes(), near.recv(1).tobytes()) == (b"x", b"y")
    assert [take().tobytes() for take in takes] == [b"0", b"1", b"2"]


def test_an_error_ends_all_lanes_and_reaches_the_caller() -> None:
    channels, ended = channel_pair(), list[str]()

    def failing(channel: Channel) -> None:
        channel.send(b"a")
        channel.recv(1)
        raise ValueError("in a lane")

    def other(channel: Channel) -> None:
        try:
            talk(5, [], "b", b"b")(channel)
        finally:
            ended.append("b")

    trunk = channels[1].lane
    with pytest.raises(ValueError, match="in a lane"):
        run_both(
            lambda: run_lanes(channels[0], [answer(5, b"a"), answer(5, b"b")]),
            lambda: run_lanes(channels[1], [failing, other]),
            channels,
        )
    assert ended == ["b"]
    assert channels[1].lane is trunk


def test_events_follow_the_order_of_the_lanes() -> None:
    one = Cost.of(("C", 1), ("S", 2), ("C", 3))
    other = Cost.of(("C", 10), ("S", 20), ("C", 30))
    both = side_by_side(one, other)
    assert [(e.lane, e.nbytes) for e in both.events] == [  # type: ignore[union-attr]
        (0, 1),
        (1, 10),
        (0, 2),
        (1, 20),
        (0, 3),
        (1, 30),
    ]
    assert (both.up, both.down, both.flights) == (44, 22, "CSC")
