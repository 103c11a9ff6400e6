"""How long a client may take, held by the process that serves it. A process of its own makes that
simple: an alarm rings twice a second, and what is overdue ends, wherever it is.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from moiety.protocols.cost import Cost
from moiety.protocols.errors import NetworkFailure
from moiety.protocols.ot.generators import ALWAYS_SILENT, NEVER_SILENT
from moiety.runtime.cost.clock import predict, total
from moiety.runtime.cost.machine import REFERENCE_MACHINE
from moiety.runtime.cost.traffic import aggregate_cost, run_cost
from moiety.runtime.party.server.options import ServerOptions
from moiety.runtime.party.signals import strike
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Program

TICK = 0.5
LEAST = 60.0
FACTOR = 20.0
"""Machines and networks that so much slower than the reference ones still are served."""


class Overdue(NetworkFailure):
    """The client took longer than it may."""


def run_seconds(program: Program, images: int, options: ServerOptions) -> float:
    """What a run of so many images may take: as the vendor says, or `FACTOR` times what its cost
    predicts on the reference machine and the network it is planned for, and its bytes at the
    smallest rate that is not a stall.
    """
    return _allowed(run_cost(program, images), program, options)


def aggregate_seconds(program: Program, images: int, options: ServerOptions) -> float:
    """The same of the aggregate of a cohort of so many images."""
    return _allowed(aggregate_cost(program, images), program, options)


def _allowed(cost: Cost, program: Program, options: ServerOptions) -> float:
    if options.run_seconds is not None:
        return options.run_seconds
    predicted = max(
        total(predict([cost], REFERENCE_MACHINE, program.planned_for, silent_from)).total
        for silent_from in (ALWAYS_SILENT, NEVER_SILENT)
    )
    return LEAST + FACTOR * predicted + (cost.up + cost.down) / options.min_rate


class Alarm:
    """Rings until `stop`. Raises `Overdue` out of a `within` that lasts too long, and out of
    anything while a transfer stalls.
    """

    def __init__(self, channel: TcpChannel, options: ServerOptions) -> None:
        self._channel = channel
        self._options = options
        self._limits: list[tuple[float, str]] = []
        self._last = time.monotonic()
        self._wire = 0
        self._seconds = 0.0
        self._moved = 0

    def start(self) -> None:
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, TICK, TICK)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    @contextmanager
    def within(self, seconds: float, what: str) -> Iterator[None]:
        """All inside must be over in so many seconds."""
        allowed = f"{what} took longer than the {seconds:g} s that it may"
        self._limits.append((time.monotonic() + seconds, allowed))
        try:
            yield
        finally:
            self._limits.pop()

    def _ring(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        for limit, why in self._limits:
            if now > limit:
                strike(Overdue(why))
                return
        self._look_at_transfer(now)

    def _look_at_transfer(self, now: float) -> None:
        """Bytes and seconds since a look at which nothing was under way, or since the last verdict,
        which is due every `stall_seconds`.
        """
        seconds, self._last = now - self._last, now
        wire = self._channel.wire_sent + self._channel.wire_received
        moved, self._wire = wire - self._wire, wire
        if not self._channel.transferring:
            return
        self._seconds += seconds
        self._moved += moved
        if self._seconds < self._options.stall_seconds:
            return
        rate = self._moved / self._seconds
        self._seconds, self._moved = 0.0, 0
        if rate < self._options.min_rate:
            why = f"{rate:.0f} bytes a second where at least {self._options.min_rate:.0f} are due"
            strike(Overdue(why))
