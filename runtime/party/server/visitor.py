"""A connection and its process, as the server's own process sees them."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field

from moiety.runtime.party.endpoints import Incoming
from moiety.runtime.party.server import processes
from moiety.runtime.party.server.admission import Caller

GRACE = 10.0
"""Seconds that a process has to end by itself: after its deadline, and again after SIGTERM."""


@dataclass(eq=False)
class Visitor:
    """`until`: when it is overdue, None for a client that waits for its turn."""

    incoming: Incoming
    child: processes.Child
    until: float | None
    caller: Caller
    begun: float = field(default_factory=time.monotonic)
    shaking_hands: bool = True
    served: bool = False
    ended: bool = False
    told: bool = False

    def allow(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds + GRACE

    def hurry(self) -> None:
        """It is overdue: asked to end, and the next time made to."""
        self.child.signal(signal.SIGKILL if self.told else signal.SIGTERM)
        self.told = True
        self.until = time.monotonic() + GRACE
