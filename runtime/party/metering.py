"""What a run costs a party: seconds, bytes and flights, step by step and by kind of step."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from moiety.protocols.session import Session

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
    """

    steps: list[StepCost] = field(default_factory=list)
    by_kind: dict[str, StepCost] = field(default_factory=dict)
    total: StepCost = field(default_factory=StepCost)
    peak_rss: int = 0
    images: int = 1

    @contextmanager
    def measure(self, session: Session, kind: str, label: str) -> Iterator[None]:
        """Meters what happens inside, under `label` in the channel's meter too."""
        traffic = replace(session.channel.meter.total)
        wall, cpu = time.perf_counter(), time.process_time()
        with session.channel.meter.labelled(label):
            yield
        after = session.channel.meter.total
        cost = StepCost(
            time.perf_counter() - wall,
            time.process_time() - cpu,
            after.sent - traffic.sent,
            after.received - traffic.received,
            after.flights - traffic.flights,
        )
        self.by_kind.setdefault(kind, StepCost()).add(cost)
        self.total.add(cost)
        if kind != KEYS:
            self.steps.append(cost)


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
