"""Who is served next, and who waits where without a word."""

from __future__ import annotations

import random
import socket
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.runtime.party.endpoints import Incoming
from moiety.runtime.party.framing import Limits
from moiety.runtime.party.server.lobby import Lobby
from moiety.runtime.party.server.places import Places


def enter(places: Places[str], *visitors: str) -> None:
    """Visitors named by their owner's letter and a number."""
    for visitor in visitors:
        assert places.enter(visitor, visitor[0]) is None


def test_one_connection_each_is_first_come_first_served() -> None:
    places: Places[str] = Places(sessions=2, waiting=8)
    enter(places, "a1", "b1", "c1", "d1")
    assert [places.grant(), places.grant(), places.grant()] == ["a1", "b1", None]
    assert [places.ahead("c1"), places.ahead("d1")] == [1, 2]
    places.leave("b1")
    assert places.grant() == "c1"
    assert places.ahead("d1") == 1


def test_one_client_does_not_hold_all_places_while_others_wait() -> None:
    places: Places[str] = Places(sessions=2, waiting=8)
    enter(places, "a1", "a2", "a3", "b1")
    assert [places.grant(), places.grant()] == ["a1", "b1"]
    places.leave("b1")
    enter(places, "c1")
    assert places.grant() == "c1"  # it came after a2 and a3, but a1 is served already
    places.leave("c1")
    assert places.grant() == "a2"  # nobody else waits: then one client may have all


def test_past_the_limit_the_last_in_turn_gives_way() -> None:
    places: Places[str] = Places(sessions=1, waiting=2)
    enter(places, "a1")
    assert places.grant() == "a1"
    enter(places, "a2", "a3")
    assert places.enter("a4", "a") == "a4"
    assert places.enter("b1", "b") == "a3"
    assert places.order() == ["b1", "a2"]


def test_nobody_waits_where_nobody_may() -> None:
    places: Places[str] = Places(sessions=1, waiting=0)
    enter(places, "a1")
    assert places.grant() == "a1"
    assert places.enter("b1", "b") == "b1"
    places.leave("a1")
    enter(places, "b2")


def test_before_places_are_given_nobody_has_one() -> None:
    places: Places[str] = Places(sessions=1, waiting=1, open=False)
    enter(places, "a1", "b1")
    assert places.grant() is None
    assert [places.ahead("a1"), places.ahead("b1")] == [0, 1]
    places.open = True
    assert places.grant() == "a1"


@given(
    st.integers(1, 4),
    st.integers(0, 5),
    st.lists(st.sampled_from("abc"), max_size=40),
    st.randoms(),
)
def test_whoever_comes_and_goes(
    sessions: int, waiting: int, owners: list[str], chance: random.Random
) -> None:
    """No more places than there are, nobody is lost, and no place is free while someone waits."""
    places: Places[tuple[int, str]] = Places(sessions, waiting)
    held: set[tuple[int, str]] = set()
    queue: set[tuple[int, str]] = set()
    for number, owner in enumerate(owners):
        queue.add((number, owner))
        queue.discard(places.enter((number, owner), owner) or (-1, ""))
        if held and chance.random() < 0.4:
            gone = chance.choice(sorted(held))
            held.remove(gone)
            places.leave(gone)
        before = Counter(owner for _, owner in held)
        while (granted := places.grant()) is not None:
            assert before[granted[1]] <= min(before[owner] for _, owner in queue)
            before[granted[1]] += 1
            queue.remove(granted)
            held.add(granted)
        assert set(places.order()) == queue
        assert len(held) == places.served <= sessions
        assert not queue or len(held) == sessions
        assert len(queue) <= waiting


def connection(address: str = "10.0.0.1") -> Incoming:
    return Incoming(socket.socket(), address, 1, Limits())


def test_the_silent_give_way_to_those_who_come() -> None:
    lobby = Lobby(places=3, per_address=2, seconds=60)
    first, second, third = connection("a"), connection("b"), connection("b")
    for incoming in (first, second, third):
        assert lobby.enter(incoming) == []
    assert lobby.enter(fourth := connection("b")) == [second]
    assert lobby.enter(connection("c")) == [first]
    assert fourth in lobby
    assert len(lobby) == 3


def test_the_silent_have_their_time() -> None:
    lobby = Lobby(places=3, per_address=3, seconds=-1)
    lobby.enter(incoming := connection())
    assert lobby.overdue() == [incoming]
    assert incoming not in lobby
    with pytest.raises(StopIteration):
        lobby.oldest()
