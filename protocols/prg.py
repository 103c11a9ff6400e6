"""Randomness for secrets: a 128-bit seed from the operating system, expanded with AES-128-CTR.

The upper half of the counter blocks is a secret of 64 random bits in every stream that one party
draws: whoever has tabulated the first blocks of many keys has tabulated none of this one's, and
2^64 streams are no easier to attack than one. Streams that both parties derive from a public seed
leave it zero.
"""

from __future__ import annotations

import hmac
import os

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.errors import ContractViolation

BLOCK = 16
_SEEDED = BLOCK + 8
"""Bytes of a key and of the upper half of the counter."""


class Prg:
    """A stream of pseudo-random bytes. Every call consumes fresh blocks; a stream is
    never rewound.
    """

    def __init__(self, seed: bytes, upper: int = 0) -> None:
        """`seed`: 16 bytes, the AES key; `upper`: the upper 64 bits of every counter block.

        Raises `ContractViolation` for any other length.
        """
        if len(seed) != BLOCK:
            raise ContractViolation(f"a PRG seed has {BLOCK} bytes, not {len(seed)}")
        self._key = np.frombuffer(seed, np.uint8)
        self._upper = upper
        self._counter = 0

    @classmethod
    def from_os(cls) -> Prg:
        """A stream with a fresh seed from the operating system's CSPRNG."""
        return cls._seeded(os.urandom(_SEEDED))

    @classmethod
    def derived(cls, secret: bytes, label: str) -> Prg:
        """The stream of this label under a secret of full entropy, apart from those of all
        others.
        """
        return cls._seeded(hmac.digest(secret, label.encode(), "sha256")[:_SEEDED])

    @classmethod
    def _seeded(cls, drawn: bytes) -> Prg:
        """The stream of `_SEEDED` random bytes."""
        return cls(drawn[:BLOCK], int.from_bytes(drawn[BLOCK:], "little"))

    def bytes(self, n: int) -> U8:
        """`n` bytes as uint8 `(n,)`."""
        if n == 0:
            return np.zeros(0, np.uint8)
        # Taken before they are made: an exception in between must not leave the next call the same
        # blocks.
        start = self._counter
        self._counter += -(-n // BLOCK)
        return kernels.aes_ctr(self._key, start, n, self._upper)

    def uint64(self, n: int, bits: int = 64) -> U64:
        """`n` independent uniform values in `[0, 2^bits)` as uint64 `(n,)`, 1 <= bits <= 64."""
        values = self.bytes(8 * n).view(np.uint64)
        return values if bits == 64 else values & np.uint64((1 << bits) - 1)

    def part(self, n: int) -> Prg:
        """A stream of the next `n` bytes of this one, which goes on after them. Parts of whole
        blocks make up what one call would have drawn.
        """
        part = Prg(self._key.tobytes(), self._upper)
        part._counter = self._counter
        self._counter += -(-n // BLOCK)
        return part

    def fork(self) -> Prg:
        """An independent stream, seeded from this one."""
        return Prg._seeded(self.bytes(_SEEDED).tobytes())
