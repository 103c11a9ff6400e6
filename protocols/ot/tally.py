"""What either party keeps of all silent correlations that were made, until they are checked.

A sender that deviates in a refill gives the receiver trees that are wrong for some places of the
noise and right for others; whether anything went wrong then says where the noise is, and enough of
that is the receiver's u. So what decides about every tree whose rows were made, sums of its nodes
(ot/tree_checks), is compared: the sender says what the hash of all v is, which it has from that of
all w and, times delta, that of all u. The rows of this file are these sums. (Ferret, CCS 2020, and
Wolverine, S&P 2021, compare the leaves, of which there are twenty times as many.)

The hash H is of rows as polynomials over F_16 with random coefficients over F_2, not reduced
(kernels.polynomial_hash). Two facts of it, and both rest on F_16[y] having no zero divisors:

* By what the rows are wrong is fixed, for each noise that the receiver may have, before the
  coefficients are known. Which of these errors a sender bets on it may say last, by its word. Two
  errors have one hash with probability 2^-125: of one coefficient, all others fixed, a single value
  is bad. So a word fits what it bets on, and with q * 2^-125 another error, where q counts the
  answers that the sender tries and the errors that it hashes.
* `H(w) = H(v) + U(y)*delta(y^4)`, where U, the receiver's sum of coefficients times u, is shown.
  Who compares is the receiver, so one that lies about U by L is not noticed, and gets a digest of
  what it knows plus `L(y)*delta(y^4)`. That is injective in delta for any L but zero: a digest of
  128 unknown bits. (With rows as elements of the field of 2^128 elements, whose product is not that
  of F_16, lies exist for which it has 32, found by trying: tests/attacks/test_lying_in_settling.)

U has 128 coefficients. What is shown is `U + sum_k y^k*u_k`, the sum over 128 rows of SoftSpoken's
that nobody else uses, whose u_k are uniform, and so is what is shown; H takes `sum_k y^k*v_k(y^4)`
with it.

The key of the coefficients follows from the sender's answers so far, the last of which is to the
refill that the latest rows come from: rows of earlier ones were fixed before. It lasts until the
next answer, and no coefficient is used twice. Which rows meet which coefficients follows from the
calls alone.

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
from moiety.protocols.ot.consistency import PLANE_BYTES, Chain, hash_of, planes_of

WIDTH = 4
"""Bits of an element of F_16."""
NONE = np.zeros(0, np.uint8)
HASH_BYTES = 32
"""Of a plane of a hash of rows; one of elements has PLANE_BYTES."""
BLOCK = 16
"""Rows that four coefficients are for."""
AT_ONCE = 64
"""Trees that wait for a call of the hash that takes them together."""


@dataclass
class Tally:
    """Of one generator in one direction, at one party. `chain`: as the peer's, of the sender's
    answers so far.
    """

    chain: Chain
    owes: bool = False
    _rows: U8 = field(init=False)
    _elements: U8 = field(init=False)
    _key: U8 = field(init=False)
    _counter: int = 0  # the next coefficient
    _waiting: list[tuple[U8, U8]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._key = self.chain.key()
        self.clear()

    def clear(self) -> None:
        """What there was has been compared."""
        self._rows = np.zeros((WIDTH, HASH_BYTES), np.uint8)
        self._elements = np.zeros((WIDTH, PLANE_BYTES), np.uint8)
        self._waiting.clear()
        self.owes = False

    def refilled(self, code: U8, answer: bytes) -> None:
        """The sender has answered, with messages of this hash."""
        self._hash()
        self.chain.add(code.tobytes(), answer)
        self._key, self._counter = self.chain.key(), 0

    def used(self) -> None:
        """Rows were handed out. Also where their trees were compared before, both sides settle
        again, so that what a query sends does not depend on those before it.
        """
        self.owes = True

    def add(self, rows: U8, elements: U8 = NONE) -> None:
        """What some trees are checked by, uint8 `(t, checks, 16)`, and a receiver's u of it, uint8
        `(t, checks)`.
        """
        self._waiting.append((rows, elements))
        if sum(len(waiting) for waiting, _ in self._waiting) >= AT_ONCE:
            self._hash()

    def hashes(self) -> tuple[U8, U8]:
        """(rows uint8 `(WIDTH, HASH_BYTES)`, a receiver's u `(WIDTH, PLANE_BYTES)`), of all."""
        self._hash()
        return self._rows, self._elements

    def _hash(self) -> None:
        """What waits."""
        if not self._waiting:
            return
        rows = np.concatenate([waiting for waiting, _ in self._waiting]).reshape(-1, 16)
        elements = np.concatenate([of_rows.reshape(-1) for _, of_rows in self._waiting])
        made = kernels.polynomial_hash(rows, elements, self._key, self._counter)
        self._counter += -(-len(rows) // BLOCK) * 4
        self._waiting.clear()
        self._rows ^= made[0]
        self._elements ^= made[1]


def masked_rows(tallies: Sequence[Tally], mask: U8) -> U8:
    """The hash of the rows of both tallies and `sum_k y^k*mask_k(y^4)`, mask uint8 `(128, 16)`, as
    uint8 `(WIDTH, HASH_BYTES)`.
    """
    components = np.stack([mask & np.uint8(15), mask >> np.uint8(4)], axis=2).reshape(len(mask), 32)
    summed = np.zeros(8 * HASH_BYTES, np.uint8)
    for i in range(32):
        summed[4 * i : 4 * i + len(mask)] ^= components[:, i]
    bits = summed >> np.arange(WIDTH, dtype=np.uint8)[:, None] & np.uint8(1)
    bare = np.bitwise_xor.reduce(np.stack([tally.hashes()[0] for tally in tallies]))
    return bare ^ np.packbits(bits, axis=1, bitorder="little")


def masked_elements(tallies: Sequence[Tally], mask: U8) -> U8:
    """The hash of a receiver's u, likewise, uint8 `(WIDTH, PLANE_BYTES)`: it is shown."""
    bare = np.bitwise_xor.reduce(np.stack([tally.hashes()[1] for tally in tallies]))
    return bare ^ planes_of(mask[:, None])[:WIDTH]


def expected_rows(tallies: Sequence[Tally], mask: U8, shown: U8, delta: U8) -> U8:
    """What a sender says that the receiver's `masked_rows` are, from its own, w of the rows that
    mask, and what it was shown: `y^k` times the coefficient u of what is shown stands for a row
    `u*delta`, as every row that masks does.
    """
    bits = np.unpackbits(shown, axis=1, bitorder="little")
    coefficients = np.bitwise_or.reduce(bits << np.arange(WIDTH, dtype=np.uint8)[:, None])
    rows = mask.copy()
    kernels.add_multiples(rows, delta, coefficients)
    return masked_rows(tallies, rows)


def answer_hash(messages: list[U8]) -> bytes:
    """Of a refill's answer in pieces, or in one."""
    return hash_of(np.concatenate([message.reshape(-1) for message in messages]))
