"""Randomness for secrets: a 128-bit seed from the operating system, expanded with AES-128-CTR."""

from __future__ import annotations

import os

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.errors import ContractViolation

BLOCK = 16


class Prg:
    """A stream of pseudo-random bytes. Every call consumes fresh blocks; a stream is
    never rewound.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != BLOCK:
            raise ContractViolation(f"a PRG seed has {BLOCK} bytes, not {len(seed)}")
        self._key = np.frombuffer(seed, np.uint8)
        self._counter = 0

    @classmethod
    def from_os(cls) -> Prg:
        """A stream with a fresh seed from the operating system's CSPRNG."""
        return cls(os.urandom(BLOCK))

    def bytes(self, n: int) -> U8:
        """`n` bytes as uint8 `(n,)`."""
        if n == 0:
            return np.zeros(0, np.uint8)
        # Taken before they are made: an exception in between must not leave the next call the same
        # blocks.
        start = self._counter
        self._counter += -(-n // BLOCK)
        return kernels.aes_ctr(self._key, start, n)

    def uint64(self, n: int, bits: int = 64) -> U64:
        """`n` independent uniform values in `[0, 2^bits)` as uint64 `(n,)`, 1 <= bits <= 64."""
        values = self.bytes(8 * n).view(np.uint64)
        return values if bits == 64 else values & np.uint64((1 << bits) - 1)

    def fork(self) -> Prg:
        """An independent stream, seeded from this one."""
        return Prg(self.bytes(BLOCK).tobytes())
