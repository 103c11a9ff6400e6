"""How long a Cost takes: both parties and the network between them, event by event.

Each party is one clock. It does what its part of the Cost says, in that order; a message leaves
when it is made, takes its turn on the line of its direction, and is read when it is there and the
peer comes to it: in the same lane, before it does anything else. So work overlaps with transmission
and with the peer's work exactly where the protocols' order allows it. Time can only grow with a
longer round trip, a narrower line or a slower machine, because clocks meet in maxima and sums
alone.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from moiety.protocols.cost import (
    Cost,
    Draw,
    Local,
    Party,
    Send,
    Settle,
    Work,
    Works,
    extension_bytes,
    other,
)
from moiety.protocols.network import Network
from moiety.protocols.ot.generators import Mixed
from moiety.protocols.ot.lpn import Extension, LpnParameters
from moiety.protocols.parallel import STREAMED
from moiety.runtime.cost.machine import Machine

_MOST_PIECES = 64
"""More make no difference that shows."""


@dataclass
class Time:
    """Seconds: `total` from begin to end; `server` and `client` at work; `network` a byte on the
    line or on its way, one flight after the other. Because they overlap, the total is less than
    the sum.
    """

    total: float = 0.0
    server: float = 0.0
    client: float = 0.0
    network: float = 0.0

    def __add__(self, more: Time) -> Time:
        return Time(
            self.total + more.total,
            self.server + more.server,
            self.client + more.client,
            self.network + more.network,
        )


@dataclass
class Timeline:
    """Two parties that run one Cost after another. silent_from: the narrowest choice of the session
    that silent generation serves.
    """

    machine: Machine
    network: Network
    silent_from: int
    generator: Mixed = field(init=False)
    _clock: dict[Party, float] = field(default_factory=lambda: {"C": 0.0, "S": 0.0})
    _line: dict[Party, float] = field(default_factory=lambda: {"C": 0.0, "S": 0.0})
    _busy: dict[Party, float] = field(default_factory=lambda: {"C": 0.0, "S": 0.0})
    _unread: dict[tuple[Party, int], deque[Callable[[], None]]] = field(default_factory=dict)
    _late: dict[tuple[Party, int], list[Work]] = field(default_factory=dict)
    _network: float = 0.0
    _last: Party | None = None

    def __post_init__(self) -> None:
        self.generator = Mixed(self.silent_from)

    def run(self, cost: Cost, steps: int = 1) -> Time:
        """Goes on with `cost`, which is that of so many steps; what it adds."""
        start, busy, network = self._now, dict(self._busy), self._network
        for party in self._clock:
            self._work(party, "step", steps)
        for event in cost.events:
            match event:
                case Local(party, work, lane):
                    self._read(party, lane)
                    self._works(party, work)
                case Settle():
                    for message in self.generator.settle():
                        self._read(message.sender, 0)
                        self._send(message.sender, 0, message.nbytes)
                case Draw(receiver, lane=lane):
                    self._read(receiver, lane)
                    self._draw(event)
                case Send(sender, lane=lane) if event.nbytes:
                    self._read(sender, lane)
                    self._send(sender, lane, event.nbytes, event.made, event.read)
        while unread := [place for place, messages in self._unread.items() if messages]:
            for party, lane in unread:
                self._read(party, lane)
        for party, lane in list(self._late):
            self._settle(party, lane)
        return Time(
            self._now - start,
            self._busy["S"] - busy["S"],
            self._busy["C"] - busy["C"],
            self._network - network,
        )

    @property
    def _now(self) -> float:
        return max(self._clock.values())

    def _work(self, party: Party, figure: str, amount: float) -> None:
        seconds = float(amount) * self.machine.figures[figure] * 1e-9
        self._clock[party] += seconds
        self._busy[party] += seconds

    def _works(self, party: Party, work: Works, pieces: int = 1) -> None:
        """One of so many equal parts."""
        for each in work:
            self._work(party, each.figure, each.amount / pieces)

    def _send(
        self, sender: Party, lane: int, nbytes: float, made: Works = (), read: Works = ()
    ) -> None:
        """Large messages leave in pieces of `STREAMED` elements, and the peer reads one while the
        next is made.
        """
        elements = max((float(work.amount) for work in (*made, *read)), default=0.0)
        pieces = min(max(1, math.ceil(elements / STREAMED)), _MOST_PIECES)
        rate = self.network.up if sender == "C" else self.network.down
        sending, latency = 8 * float(nbytes) / rate, self.network.rtt / 2
        self._network += sending + (latency if sender != self._last else 0.0)
        self._last = sender
        for _ in range(pieces):
            self._works(sender, made, pieces)
            self._work(sender, "message", 1 / pieces)
            self._work(sender, "send_byte", nbytes / pieces)
            self._line[sender] = max(self._line[sender], self._clock[sender]) + sending / pieces

            def arrive(there: float = self._line[sender] + latency) -> None:
                receiver = other(sender)
                self._settle(receiver, lane)
                self._clock[receiver] = max(self._clock[receiver], there)
                self._work(receiver, "message", 1 / pieces)
                self._work(receiver, "receive_byte", nbytes / pieces)
                self._works(receiver, read, pieces)

            self._inbox(other(sender), lane).append(arrive)

    def _inbox(self, party: Party, lane: int) -> deque[Callable[[], None]]:
        """What this lane of the party has still to read."""
        return self._unread.setdefault((party, lane), deque())

    def _settle(self, party: Party, lane: int) -> None:
        """What this lane has put off until it waits."""
        late = self._late.pop((party, lane), [])
        self._works(party, tuple(late))

    def _read(self, party: Party, lane: int) -> None:
        """All that was sent to this lane, before it goes on."""
        unread = self._inbox(party, lane)
        while unread:
            unread.popleft()()

    def _draw(self, demand: Draw) -> None:
        receiver, n, k, lane = demand.receiver, demand.n, demand.k, demand.lane
        if k < self.silent_from:
            self._softspoken(receiver, lane, n, k)
            return
        self.generator.silent.unsettled.add(receiver)
        pool = self.generator.silent.pool(receiver, k)
        made, sender, field = pool.take(n, k), other(receiver), pool.parameters.width
        if made.iterations:
            self._refill(receiver, lane, pool.parameters, made)
        self._work(receiver, f"silent_choose_{field}", n)
        if made.high:
            cut = (Work("silent_cut", n),)
            self._send(receiver, lane, made.high, cut, cut)
        rows = partial(self._work, sender, f"silent_send_{field}", n)
        self._inbox(sender, lane).append(rows)
        late = self._late.setdefault((receiver, lane), [])
        late.append(Work(f"silent_recv_{field}", n))

    def _softspoken(self, receiver: Party, lane: int, n: float, k: int) -> None:
        made, read = (Work(f"vole_recv_{k}", n),), (Work(f"vole_send_{k}", n),)
        self._send(receiver, lane, extension_bytes(n, k), made, read)

    def _refill(
        self, receiver: Party, lane: int, parameters: LpnParameters, made: Extension
    ) -> None:
        """Shifts of all iterations in one message; the sender makes its answer as soon as it has
        read them.
        """
        sender, outputs = other(receiver), parameters.length * made.iterations
        shifts = parameters.shift_bytes(made.iterations)
        if made.shifts > shifts:
            self._softspoken(receiver, lane, parameters.reserved, parameters.width)
        self._send(receiver, lane, shifts)
        made_up = (Work("silent_refill_send", outputs),)
        opened = (Work("silent_refill_recv", outputs),)
        answer = partial(self._send, sender, lane, made.answer, made_up, opened)
        self._inbox(sender, lane).append(answer)


def predict(
    costs: Iterable[Cost], machine: Machine, network: Network, silent_from: int
) -> list[Time]:
    """What each of these costs adds, run one after the other in one fresh session."""
    timeline = Timeline(machine, network, silent_from)
    return [timeline.run(cost) for cost in costs]


def total(times: Sequence[Time]) -> Time:
    """The sum."""
    return sum(times, Time())
