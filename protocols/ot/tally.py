"""What either party keeps of all silent correlations that were handed out, until they are checked.

A sender that deviates in a refill gives the receiver trees that are wrong for some places of the
noise and right for others; whether anything went wrong then says where the noise is, and enough of
that is the receiver's u. So the rows that were used are compared: one random sum of all w, and that
of all v with u times delta, in the field of 2^128 elements (Ferret, CCS 2020, and Wolverine, S&P
2021, compare the leaves instead, each of which would have to be made once more; a row that nobody
takes need not be right). Rows are hashed as they are, not column by column as SoftSpoken's: here
the one who checks is the one who has u, and shows the peer honest sums of it, so there is nothing
to choose for who deviates but its rows, before it knows the coefficients (ot/consistency).

The receiver needs the sender's word, which may come late: until then the sender sees of all that
depends on v what is masked by a fresh u, or by a pad of the other direction, whatever v is. It must
come before anything is opened. One comparison serves all rows since the one before it
(`protocols/settlement`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.ot.consistency import Chain, hash_of
from moiety.protocols.parallel import Workers, pieces

WIDTH = 4
"""Bits of an element of F_16."""
NONE = np.zeros(0, np.uint8)
_MASKED = np.array([2] + 15 * [0], np.uint8)
"""The point z, at which the coefficients of 128 rows are a basis: sums of random u are uniform."""


@dataclass
class Tally:
    """Of one generator in one direction, at one party. `sums`, uint8 `(1 + WIDTH, 16)`: of the
    rows, and a receiver's of the coefficients of the rows whose u has each bit. `chain`: as the
    peer's; the challenge for rows follows from the sender's answers so far. `width`: bits of u.
    """

    chain: Chain
    workers: Workers
    width: int = WIDTH
    sums: U8 = field(init=False)
    owes: bool = False

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """What there was has been compared."""
        self.sums = np.zeros((1 + WIDTH, 16), np.uint8)
        self.owes = False

    def refilled(self, code: U8, answer: bytes) -> None:
        """The sender has answered, with messages of this hash."""
        self.chain.add(code.tobytes(), answer)

    def add(self, rows: U8, elements: U8 = NONE) -> None:
        """Rows that are handed out, uint8 `(n,16)`, and a receiver's u of them, uint8 `(n,)`."""
        self.owes = True
        self.chain.add(len(rows).to_bytes(8, "little"))
        parts = pieces(len(rows))
        width = self.width if elements.size else 0

        def summed(job: tuple[slice, U8]) -> U8:
            at, point = job
            return kernels.row_hash(rows[at], elements[at], width, point)

        jobs = list(zip(parts, self.chain.points(len(parts)), strict=True))
        for sums in self.workers.map(summed, jobs):
            self.sums[: 1 + width] ^= sums


def masked(tallies: Sequence[Tally], rows: U8, elements: U8 = NONE) -> U8:
    """The sums of both tallies and of 128 rows, uint8 `(1 + WIDTH, 16)`; a sender's of the rows
    alone.
    """
    width = WIDTH if elements.size else 0
    mask = np.zeros((1 + WIDTH, 16), np.uint8)
    mask[: 1 + width] = kernels.row_hash(rows, elements, width, _MASKED)
    return np.bitwise_xor.reduce(np.stack([mask, *(tally.sums for tally in tallies)]))


def of_delta(shown: U8, delta: U8) -> U8:
    """What a receiver's sums, uint8 `(WIDTH, 16)`, add to those of the rows: each times
    `X^b*delta`.
    """
    powers = np.zeros((WIDTH, 16), np.uint8)
    kernels.add_multiples(powers, delta, np.uint8(1) << np.arange(WIDTH, dtype=np.uint8))
    products = [
        kernels.row_hash(row[None], NONE, 0, s)[0] for row, s in zip(powers, shown, strict=True)
    ]
    return np.bitwise_xor.reduce(np.stack(products))


def answer_hash(messages: list[U8]) -> bytes:
    """Of a refill's answer in pieces, or in one."""
    return hash_of(np.concatenate([message.reshape(-1) for message in messages]))
