"""Products of a bit and a number that are made before a run under masks (ot/making).

Specifies native/symmetric/masked.hpp: no cryptography, but memory is passed over once. Numbers are
modulo `2^bits`, in streams as `pack` writes them; spare bits of a last byte are zero.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.kernels.reference.checks import check_bytes, check_range
from moiety.protocols.kernels.reference.pool import Pool
from moiety.protocols.kernels.reference.streams import pack, unpack

__all__ = ["product_received", "product_sent"]


def product_sent(pads: U8, y: U8, n: int, bits: int, pool: Pool | None = None) -> tuple[U8, U8]:
    """Products of bits of the receiver's and known y: the message `y + p_0 - p_1`, the share
    `-p_0`.

    pads: a stream of `2n` numbers, p_0 and p_1 of each element; y: one of `n`, at most 2^47; bits:
    1..64. Both results are streams of `n`.
    """
    check_range("n", n, 0, 2**47)
    check_range("bits", bits, 1, 64)
    check_bytes("y", y, _size(n, bits))
    first, second = unpack(pads, 2 * n, bits).reshape(n, 2).T
    return pack(unpack(y, n, bits) + first - second, bits), pack(np.uint64(0) - first, bits)


def product_received(pads: U8, message: U8, u: U8, bits: int, pool: Pool | None = None) -> U8:
    """The receiver's share of `u * y`, of what `product_sent` gives: `p_u + u * message`.

    pads, message: streams of n numbers; u: bits, `uint8 (n,)`; bits: 1..64. The result is a stream.
    """
    check_range("bits", bits, 1, 64)
    check_bytes("u", u, None)
    n = len(u)
    return pack(unpack(pads, n, bits) + (unpack(message, n, bits) & _ones(u)), bits)


def _size(n: int, bits: int) -> int:
    return (n * bits + 7) // 8


def _ones(bit: U8) -> U64:
    """All bits of a word that is to be kept, none of one that is not."""
    return np.negative(bit.astype(np.uint64))
