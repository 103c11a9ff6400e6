"""Who is served next: places and the queue for them.

A client's claims are its sessions in service and its connections that wait. Its first claim belongs
to the first round, its second to the second, and so on; rounds come one after the other, and within
one who came first. So with one connection each it is first come, first served, and no client holds
two places while another waits for its first. Where more than `waiting` wait, the one whose turn is
last gives way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

V = TypeVar("V", bound=Hashable)


@dataclass
class Places(Generic[V]):
    """`sessions` places; visitors that hold one or wait for one, each with its owner."""

    sessions: int
    waiting: int
    open: bool = True
    """Whether places are given at all."""
    _held: dict[V, str] = field(default_factory=dict)
    _queue: dict[V, str] = field(default_factory=dict)

    def enter(self, visitor: V, owner: str) -> V | None:
        """`visitor` waits from now on; who gives way for it, perhaps itself."""
        self._queue[visitor] = owner
        last = self.order()[-1]
        if self.ahead(last) <= self.waiting:
            return None
        del self._queue[last]
        return last

    def leave(self, visitor: V) -> None:
        """From its place, or from the queue; whoever is in neither is as welcome to leave."""
        self._held.pop(visitor, None)
        self._queue.pop(visitor, None)

    def pass_on(self, visitor: V, other: V) -> None:
        """`other` holds the place of `visitor` from now on, for the same owner."""
        self._held[other] = self._held.pop(visitor)

    def grant(self) -> V | None:
        """Who gets a free place now; None if there is none, or nobody waits."""
        if not self.open or self.free <= 0 or not self._queue:
            return None
        visitor = self.order()[0]
        self._held[visitor] = self._queue.pop(visitor)
        return visitor

    @property
    def free(self) -> int:
        return self.sessions - len(self._held)

    @property
    def served(self) -> int:
        return len(self._held)

    def order(self) -> list[V]:
        """Those who wait, whose turn is first first."""
        claims = Counter(self._held.values())
        rounds: dict[V, int] = {}
        for visitor, owner in self._queue.items():
            rounds[visitor] = claims[owner]
            claims[owner] += 1
        return sorted(self._queue, key=rounds.__getitem__)  # stable: first come, first served

    def ahead(self, visitor: V) -> int:
        """How many sessions must end before the one of `visitor`, which waits, begins."""
        return max(0, self.order().index(visitor) + 1 - self.free)
