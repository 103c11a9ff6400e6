"""What either party keeps of all silent correlations that were handed out, until they are checked.

A sender that deviates in a refill gives the receiver trees that are wrong for some places of the
noise and right for others; whether anything went wrong then says where the noise is, and enough of
that is the receiver's u. So the rows that were used are compared, by hashes of their columns as
SoftSpoken's are (ot/consistency): that of all w, and that of all v with the hash of u times delta
(Ferret, CCS 2020, and Wolverine, S&P 2021, compare the leaves instead, each of which would have to
be made once more; a row that nobody takes need not be right).

The one who compares is the receiver, so one that lies about its hash of u is not noticed, and gets
a digest of what it knows plus its lie times delta. Column by column that is the product of delta
with a vector over F_16, for any but zero a bijection of delta: a digest of 128 unknown bits. (With
rows as elements of the field of 2^128 elements, half the work, it is a sum of four products in that
field, of `delta`, `X*delta`, .., and lies exist for which it has 32 unknown bits and so is found by
trying: tests/attacks/test_lying_in_settling.)

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
from moiety.protocols.ot.consistency import PLANE_BYTES, Chain, hash_of, planes_of, summed
from moiety.protocols.parallel import Workers, pieces

WIDTH = 4
"""Bits of an element of F_16."""
NONE = np.zeros(0, np.uint8)
COLUMNS = 128


@dataclass
class Tally:
    """Of one generator in one direction, at one party. `rows`, uint8 `(128, 16)`: the hash of its
    rows; `elements`, uint8 `(WIDTH, 16)`: a receiver's of u. `chain`: as the peer's; the challenge
    for rows follows from the sender's answers so far.
    """

    chain: Chain
    workers: Workers
    rows: U8 = field(init=False)
    elements: U8 = field(init=False)
    owes: bool = False

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """What there was has been compared."""
        self.rows = np.zeros((COLUMNS, PLANE_BYTES), np.uint8)
        self.elements = np.zeros((WIDTH, PLANE_BYTES), np.uint8)
        self.owes = False

    def refilled(self, code: U8, answer: bytes) -> None:
        """The sender has answered, with messages of this hash."""
        self.chain.add(code.tobytes(), answer)

    def add(self, rows: U8, elements: U8 = NONE) -> None:
        """Rows that are handed out, uint8 `(n,16)`, and a receiver's u of them, uint8 `(n,)`."""
        self.owes = True
        self.chain.add(len(rows).to_bytes(8, "little"))
        parts = pieces(len(rows))

        def hashed(job: tuple[slice, U8]) -> tuple[U8, U8]:
            at, point = job
            return (
                kernels.column_hash(rows[at], point),
                kernels.column_hash(elements[at][:, None], point)[:WIDTH],
            )

        jobs = list(zip(parts, self.chain.points(len(parts)), strict=True))
        for of_rows, of_elements in self.workers.map(hashed, jobs):
            self.rows ^= of_rows
            self.elements ^= of_elements


def masked_rows(tallies: Sequence[Tally], mask: U8) -> U8:
    """The hash of the rows of both tallies and of 128 more, uint8 `(128, 16)`."""
    return summed([tally.rows for tally in tallies], mask)


def masked_elements(tallies: Sequence[Tally], mask: U8) -> U8:
    """The hash of a receiver's u, likewise, uint8 `(WIDTH, 16)`: it is shown."""
    bare = np.bitwise_xor.reduce(np.stack([tally.elements for tally in tallies]))
    return bare ^ planes_of(mask[:, None])[:WIDTH]


def answer_hash(messages: list[U8]) -> bytes:
    """Of a refill's answer in pieces, or in one."""
    return hash_of(np.concatenate([message.reshape(-1) for message in messages]))
