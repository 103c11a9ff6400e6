"""Vector oblivious linear evaluation over F_16: the one correlation
that every transfer is made from.

Two generators have the same two halves, and a session uses one of them per direction.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Blocks = npt.NDArray[np.uint8]


class VoleReceiver(Protocol):
    """Receiver's half: `w = v + u*delta` with the sender's w and delta."""

    def shift_bits(self, k: int) -> int:
        """Bits of u in a correlation that serves a k-bit choice."""
        ...

    def extend(self, n: int, k: int) -> tuple[Blocks, Blocks]:
        """n fresh correlations for k-bit choices: (u uint8 `(n,)`, v uint8 `(n,16)`)."""
        ...


class VoleSender(Protocol):
    """Sender's half."""

    @property
    def delta(self) -> Blocks:
        """uint8 `(16,)`, nibble i is component i in F_16."""
        ...

    def shift_bits(self, k: int) -> int: ...

    def extend(self, n: int, k: int) -> Blocks:
        """w uint8 `(n,16)` of the receiver's call with the same arguments."""
        ...
