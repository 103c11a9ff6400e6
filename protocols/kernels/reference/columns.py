"""A universal hash for the checks of correlations: of the columns of a matrix of bits.

Specifies native/symmetric/columns.hpp; conventions are those of the package.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8
from moiety.protocols.kernels.reference.checks import check_bytes

__all__ = ["column_hash"]

BITS = 128
_MODULUS = 0x87
"""Of the field: z^128 + z^7 + z^2 + z + 1, without its highest term."""


def column_hash(rows: U8, point: U8) -> U8:
    """Hash every bit column of `rows`, `uint8 (n, bytes)`, bytes 1 or 16, to 128 bits.

    A column is cut into blocks x_0, x_1, .. of 128 rows (zeros after the last one), each an element
    of the field of 2^128 elements, row t of a block being the coefficient of z^t; its hash is
    `(.. ((x_0*p + x_1)*p + x_2) ..)*p` at the point p, `uint8 (16,)`. Two different columns have
    the same hash at no more than `ceil(n / 128)` points. As one map over F_2 hashes all columns, it
    is linear over F_16 where a row holds vectors over F_16.

    Returns `uint8 (8*bytes, 16)`: column 8*i + j is bit j of byte i.
    """
    check_bytes("rows", rows, None, None)
    if rows.shape[1] not in (1, 16):
        raise ValueError(f"rows must have 1 or 16 bytes, not {rows.shape[1]}")
    check_bytes("point", point, 16)
    blocks = -(-len(rows) // BITS)
    padded = np.zeros((blocks * BITS, rows.shape[1]), np.uint8)
    padded[: len(rows)] = rows
    bits = np.unpackbits(padded, axis=1, bitorder="little").reshape(blocks, BITS, 8 * rows.shape[1])
    times_point = _multiplication(point)
    state = np.zeros(bits.shape[1:], np.uint8)
    for block in bits:
        state = (times_point @ (state ^ block).astype(np.float32)).astype(np.uint8) & np.uint8(1)
    return np.packbits(state.T, axis=1, bitorder="little")


def _multiplication(point: U8) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The matrix over F_2 of the multiplication by a point."""
    power, columns = int.from_bytes(point.tobytes(), "little"), []
    for _ in range(BITS):
        columns.append(np.frombuffer(power.to_bytes(16, "little"), np.uint8))
        carry = power >> (BITS - 1)
        power = (power << 1 & (1 << BITS) - 1) ^ carry * _MODULUS
    bits = np.unpackbits(np.stack(columns), axis=1, bitorder="little")
    return np.ascontiguousarray(bits.T).astype(np.float32)
