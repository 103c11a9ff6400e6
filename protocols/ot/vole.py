"""Vector oblivious linear evaluation over F_16: the one correlation that every transfer is made
from, as its generators offer it (softspoken, silent, and both in mixed).

An element of F_16^32 is a uint8 `(16,)` block: nibble i is component i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from moiety.protocols.arrays import U8


class VoleReceiver(Protocol):
    """Receiver's half: `w = v + u*delta` with the sender's w and delta."""

    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        """n fresh correlations for k-bit choices: (u uint8 `(n,)` of k bits, v uint8 `(n,16)`)."""
        ...

    def begin(self, n: int, k: int) -> tuple[U8, Callable[[], U8]]:
        """As `extend`, with v still to be asked for: a choice can leave as soon as its u is there,
        and v be made in the time that its answer takes.
        """
        u, v = self.extend(n, k)
        return u, lambda: v

    def show(self) -> None:
        """Begins the check of all rows that wait for one (protocols/settlement)."""
        return None

    def confirm(self) -> None:
        """Reads the sender's word, and ends it. Raises `DeviatingPeer`."""
        return None


class VoleSender(Protocol):
    """Sender's half. `delta`: uint8 `(16,)`, the same for all correlations of a session and
    direction.
    """

    delta: U8

    def extend(self, n: int, k: int) -> U8:
        """w uint8 `(n,16)` of the receiver's call with the same arguments."""
        ...

    def begin(self, n: int, k: int) -> Callable[[], U8]:
        """As `extend`, with w still to be asked for: what the peer waits for leaves first."""
        w = self.extend(n, k)
        return lambda: w

    def hear(self) -> None:
        """What the receiver shows."""
        return None

    def tell(self) -> None:
        """Answers it."""
        return None
