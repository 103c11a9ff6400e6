"""What a run costs a party: seconds, bytes and flights, step by step and by kind of step."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from moiety.protocols.channel import Meter

KEYS = "keys"
"""Stands for the query key exchange among the kinds of steps."""


@dataclass
class StepCost:
    """What one step, or all steps of one kind, took: wall and CPU seconds of this process, protocol
    bytes, flights.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    sent: int = 0
    received: int = 0
    flights: int = 0

    def add(self, other: StepCost) -> None:
        self.seconds += other.seconds
        self.cpu_seconds += other.cpu_seconds
        self.sent += other.sent
        self.received += other.received
        self.flights += other.flights


@dataclass
class RunCost:
    """The cost of one run as this party saw it. `steps` is indexed like the Program's; in `by_kind`
    the query key exchange is KEYS. `images` went through it together. `peak_rss`: see there.
    `item`: what was prepared for the run, by its number; None: it was computed on demand.
    """

    steps: list[StepCost] = field(default_factory=list)
    by_kind: dict[str, StepCost] = field(default_factory=dict)
    total: StepCost = field(default_factory=StepCost)
    peak_rss: int = 0
    images: int = 1
    item: int | None = None

    def add(self, kind: str, cost: StepCost) -> None:
        """That of the next step, or of the query key exchange."""
        if (alike := self.by_kind.get(kind)) is None:
            alike = self.by_kind[kind] = StepCost()
        alike.add(cost)
        self.total.add(cost)
        if kind != KEYS:
            self.steps.append(cost)


class _Reading(NamedTuple):
    """Of this process's clocks and of a channel's meter."""

    seconds: float
    cpu_seconds: float
    sent: int
    received: int
    flights: int

    @classmethod
    def now(cls, meter: Meter) -> _Reading:
        t = meter.total
        return cls(time.perf_counter(), time.process_time(), t.sent, t.received, t.flights)

    def since(self, before: _Reading) -> StepCost:
        return StepCost(
            self.seconds - before.seconds,
            self.cpu_seconds - before.cpu_seconds,
            self.sent - before.sent,
            self.received - before.received,
            self.flights - before.flights,
        )


class StepWatch:
    """Cuts a run into its steps: everything between two laps is one step's."""

    def __init__(self, meter: Meter, cost: RunCost) -> None:
        """Starts."""
        self._meter = meter
        self._cost = cost
        self._before = _Reading.now(meter)

    def lap(self, kind: str) -> None:
        """A step of this kind ends here."""
        now = _Reading.now(self._meter)
        self._cost.add(kind, now.since(self._before))
        self._before = now


def peak_rss() -> int:
    """Largest resident size of this process so far, bytes.

    Linux keeps `ru_maxrss` across exec, so a process started by a larger one would report its
    parent's; the kernel's own high-water mark of this address space does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
