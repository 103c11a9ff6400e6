"""Arithmetic modulo 2^bits on uint64 arrays. Elements are always kept reduced:
`0 <= v < 2^bits`, 1 <= bits <= 64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import I64, U8, U64


def mask(bits: int) -> np.uint64:
    """`2^bits - 1`."""
    return np.uint64((1 << bits) - 1)


def reduce(x: U64, bits: int) -> U64:
    """`x mod 2^bits`."""
    return x & mask(bits)


def from_signed(x: npt.ArrayLike, bits: int) -> U64:
    """Two's complement of integers, modulo 2^bits."""
    return np.asarray(x, np.int64).view(np.uint64) & mask(bits)


def to_signed(x: U64, bits: int) -> I64:
    """The representative in `[-2^(bits-1), 2^(bits-1))`."""
    shift = np.uint64(64 - bits)
    return (x << shift).view(np.int64) >> np.int64(64 - bits)


def msb(x: U64, bits: int) -> U8:
    """Bit `bits-1`, 0 or 1."""
    return (x >> np.uint64(bits - 1)).astype(np.uint8)
