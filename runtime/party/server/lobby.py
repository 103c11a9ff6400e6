"""Connections that have not said a word: they cost a descriptor each, and no process until they do.

Port scanners, health checks of load balancers and whoever wants to tie the server up stay here. It
takes a bound on all, and a bound on each address, to keep room for the others; where one is
reached, the oldest goes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from moiety.runtime.party.endpoints import Incoming


@dataclass
class Lobby:
    """At most `places` connections, `per_address` of one address, for `seconds` each."""

    places: int
    per_address: int
    seconds: float
    _since: dict[Incoming, float] = field(default_factory=dict)

    def enter(self, incoming: Incoming) -> list[Incoming]:
        """Who has to go for it."""
        alike = [other for other in self._since if other.address == incoming.address]
        leaving = alike[:1] if len(alike) >= self.per_address else []
        if not leaving and len(self._since) >= self.places:
            leaving = [self.oldest()]
        for each in leaving:
            del self._since[each]
        self._since[incoming] = time.monotonic()
        return leaving

    def leave(self, incoming: Incoming) -> None:
        del self._since[incoming]

    def overdue(self) -> list[Incoming]:
        """Those whose time is over; they have left."""
        until = time.monotonic() - self.seconds
        leaving = [incoming for incoming, since in self._since.items() if since < until]
        for each in leaving:
            del self._since[each]
        return leaving

    def oldest(self) -> Incoming:
        """Raises StopIteration where nobody is."""
        return next(iter(self._since))

    def __contains__(self, incoming: Incoming) -> bool:
        return incoming in self._since

    def __len__(self) -> int:
        return len(self._since)
