"""What either party keeps of all silent correlations that were handed out, until they are checked.

A sender that deviates in a refill gives the receiver trees that are wrong for some places of the
noise and right for others; whether anything went wrong then says where the noise is, and enough of
that is the receiver's u. So the rows that were used are compared: hashed columns of `w`, and those
of `v` with u times delta (ot/consistency; Ferret, CCS 2020, and Wolverine, S&P 2021, compare the
leaves instead, each of which would have to be made once more; a row that nobody takes need not be
right). The receiver is the one who checks, and it needs the sender's word, which may come late:
until then the sender sees of all that depends on v what is masked by a fresh u, or by a pad of the
other direction, whatever v is. It must come before anything is opened. One comparison serves all
rows since the one before it (`protocols/settlement`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.ot.consistency import Chain, hash_of
from moiety.protocols.parallel import Workers, pieces

WIDTH = 4
"""Bits of an element of F_16: hashes of u have as many planes."""


@dataclass
class Tally:
    """Of one generator in one direction, at one party. `rows`: hashes of the columns of v, or of w;
    `elements`: a receiver's, of u. `chain`: as the peer's; the challenge for rows follows from the
    sender's answers so far.
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
        self.rows = np.zeros((128, 16), np.uint8)
        self.elements = np.zeros((WIDTH, 16), np.uint8)
        self.owes = False

    def refilled(self, code: U8, answer: bytes) -> None:
        """The sender has answered, with messages of this hash."""
        self.chain.add(code.tobytes(), answer)

    def add(self, rows: U8, elements: U8 | None = None) -> None:
        """Rows that are handed out, uint8 `(n,16)`, and a receiver's u of them, uint8 `(n,)`."""
        self.owes = True
        self.chain.add(len(rows).to_bytes(8, "little"))
        parts = pieces(len(rows))
        points = self.chain.points(len(parts))
        pairs = list(zip(parts, points, strict=True))
        self.rows ^= self._hashed(rows, pairs)
        if elements is not None:
            self.elements ^= self._hashed(elements[:, None], pairs)[:WIDTH]

    def _hashed(self, rows: U8, pairs: list[tuple[slice, U8]]) -> U8:
        of_parts = self.workers.map(partial(_hash, rows), pairs)
        return np.bitwise_xor.reduce(np.stack(list(of_parts)))


def _hash(rows: U8, pair: tuple[slice, U8]) -> U8:
    at, point = pair
    return kernels.column_hash(np.ascontiguousarray(rows[at]), point)


def answer_hash(messages: list[U8]) -> bytes:
    """Of a refill's answer in pieces, or in one."""
    return hash_of(np.concatenate([message.reshape(-1) for message in messages]))
