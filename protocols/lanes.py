"""Lanes: two halves of one protocol on one channel, one flight apart. While the peer answers one
half, this party works on the other.

A lane is a coroutine. Before it reads a flight of the peer's, the channel lets the other lane go on
(`Channel.await_flight`), round robin; nothing else switches, so no protocol knows of it. Each lane
is thereby cut into *turns*: read the peer's flight, send one's own.

Why both parties agree, whatever the timing. All lanes run one protocol, so flight f of any lane
goes the same way. A party's turns follow each other by (flight, lane), and a turn reads one flight
and sends the next one. So each party sends, and each reads, in the order of (flight, lane): on
either direction of the connection the messages follow in the order in which they are read. A lane
that ends early, or sooner than another, only leaves its places empty, at both parties. What both
count - correlations, hash keys - is taken when its message is made, or right before it is read,
hence in the same order. Nobody waits in vain: what a turn reads was sent in a turn of the peer
whose predecessors read only what comes before it in that order.

Refills of silent generators fit in, since their answers ride in front of the sender's next flight
of the lane whose flight asked for them (protocols/ot/silent).

An error in a lane ends the others, where they stand, and goes to the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from greenlet import getcurrent, greenlet

from moiety.protocols.channel import Channel, Lane
from moiety.protocols.cost import BATCH, Cost, cost_of, side_by_side
from moiety.protocols.session import Session

S = TypeVar("S", np.uint8, np.uint64)
T = TypeVar("T")

LANES_FROM = 1 << 12
"""Elements from which two lanes take less time than one."""
PREPARED_LANES_FROM = 1 << 15
"""Likewise of a prepared run, which does a tenth of the work for an element."""


def halves(n: int, prepared: bool = False) -> list[slice]:
    """The lanes of n elements of a run. Cut where the correlations' blocks and every packed message
    are whole: the halves' bytes add up to those of the whole, but for the checks of what they draw.
    """
    if n < (PREPARED_LANES_FROM if prepared else LANES_FROM):
        return [slice(0, n)]
    middle = n // 2 // BATCH * BATCH
    return [slice(0, middle), slice(middle, n)]


def in_lanes(
    session: Session, n: int, protocol: Callable[[Session, slice], npt.NDArray[S]]
) -> npt.NDArray[S]:
    """`protocol` on n elements, which lie along the last axis of what it returns: on all at once or
    in lanes, each on its slice of them.
    """
    made = each_lane(session, n, protocol)
    return made[0] if len(made) == 1 else np.concatenate(made, axis=-1)


def each_lane(session: Session, n: int, protocol: Callable[[Session, slice], T]) -> list[T]:
    """The same where a protocol returns something else: each lane's result, in order."""
    parts = halves(n, session.network.prepared)
    if len(parts) == 1:
        return [protocol(session, parts[0])]
    together = replace(session, together=n)
    return run(session.channel, [partial(protocol, together, part) for part in parts])


@cost_of(in_lanes, each_lane)
def in_lanes_cost(n: int, cost: Callable[[int], Cost], prepared: bool = False) -> Cost:
    """What that costs, where n elements at once cost `cost(n)`; in a `prepared` run or another."""
    return side_by_side(*(cost(part.stop - part.start) for part in halves(n, prepared)))


@dataclass
class _Running:
    """One lane: its coroutine, and where it stands on the channel."""

    index: int
    coroutine: greenlet
    lane: Lane


def run(channel: Channel, jobs: Sequence[Callable[[], T]]) -> list[T]:
    """What the jobs return, each run in a lane of its own; they must have the same flights."""
    trunk, parent = channel.lane, getcurrent()
    ready = deque(
        _Running(index, greenlet(job), Lane(trunk.direction, trunk.flights, [], parent.switch))
        for index, job in enumerate(jobs)
    )
    if ready:
        ready[0].lane.promised, trunk.promised = trunk.promised, []
    results: dict[int, Any] = {}
    try:
        while ready:
            running = ready.popleft()
            channel.lane = running.lane
            made = running.coroutine.switch()
            if running.coroutine.dead:
                results[running.index] = made
                trunk.direction = running.lane.direction
                trunk.flights = max(trunk.flights, running.lane.flights)
                trunk.promised += running.lane.promised
            else:
                ready.append(running)
    finally:
        for other in ready:
            other.coroutine.throw()
        channel.lane = trunk
    return [results[index] for index in range(len(jobs))]
