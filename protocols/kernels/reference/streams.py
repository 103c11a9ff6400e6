"""Bit streams. Bit `t` of a stream is bit `t % 8` of byte `t // 8`, and a value's lowest bit comes
first: a stream is the number `sum_i v_i * 2^(i*bits)` in little-endian bytes.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.kernels.reference.checks import check_array, check_bytes, check_range
from moiety.protocols.kernels.reference.pool import Pool

__all__ = ["pack", "unpack", "unpack8"]


def pack(values: U8 | U64, bits: int, pool: Pool | None = None) -> U8:
    """Write the low `bits` bits of each value as a bit stream, `uint8 (ceil(n*bits/8),)`.

    values: uint8 or uint64 `(n,)`; bits: 1..8 for uint8, 1..64 for uint64. Spare bits of the last
    byte are zero.
    """
    words = isinstance(values, np.ndarray) and values.dtype == np.uint64
    check_array("values", values, np.uint64 if words else np.uint8, None)
    check_range("bits", bits, 1, 8 * values.itemsize)
    little_endian = values.astype(values.dtype.newbyteorder("<"))
    octets = little_endian.view(np.uint8).reshape(len(values), values.itemsize)
    stream = np.unpackbits(octets[:, : (bits + 7) // 8], axis=1, bitorder="little", count=bits)
    return np.packbits(stream.reshape(-1), bitorder="little")


def unpack(data: U8, n: int, bits: int, pool: Pool | None = None) -> U64:
    """Read `n` values of `bits` bits (1..64) from a bit stream, `uint64 (n,)`.

    data: `uint8`, exactly `(ceil(n*bits/8),)`; n: at most 2^48.
    """
    check_range("n", n, 0, 2**48)
    check_range("bits", bits, 1, 64)
    check_bytes("data", data, (n * bits + 7) // 8)
    octets = np.zeros((n, 8), np.uint8)
    stream = np.unpackbits(data, bitorder="little", count=n * bits).reshape(n, bits)
    octets[:, : (bits + 7) // 8] = np.packbits(stream, axis=1, bitorder="little")
    return octets.view("<u8").reshape(n).astype(np.uint64)


def unpack8(data: U8, n: int, bits: int, pool: Pool | None = None) -> U8:
    """Read `n` values of `bits` bits (1..8) from a bit stream, `uint8 (n,)`; as `unpack`."""
    check_range("bits", bits, 1, 8)
    return unpack(data, n, bits).astype(np.uint8)
