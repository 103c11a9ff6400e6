"""Products of a bit and a number that are made before a run (ot/making), and their values under
masks in the run (compare/fixing).

Specifies native/symmetric/masked.hpp: no cryptography, but memory is passed over once. Numbers are
modulo `2^bits`, in streams as `pack` writes them; spare bits of a last byte are zero.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.kernels.reference.checks import check_array, check_bytes, check_range
from moiety.protocols.kernels.reference.pool import Pool
from moiety.protocols.kernels.reference.streams import pack, unpack

__all__ = ["masked_receive", "masked_send", "product_received", "product_sent"]


def product_sent(pads: U8, y: U8, n: int, bits: int, pool: Pool | None = None) -> tuple[U8, U8]:
    """Products of the receiver's bits and known y: the message `y + p_0 - p_1`, the share `-p_0`.

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


def masked_send(
    x: U64,
    shift: int,
    y: U64 | None,
    bit: U8,
    share: U8,
    e: U8,
    mask: U64,
    bits: int,
    pool: Pool | None = None,
) -> U8:
    """A share of a value less its mask, packed: `(x >> shift) + bit*y + (1-2e)*a - mask`.

    x, mask: `uint64 (n,)`, any; shift: 0..63; y: likewise, None for ones; bit, e: bits, `uint8
    (n,)`; share: a, a stream of n numbers; bits: 1..64. The result is a stream.
    """
    own = _share(x, shift, share, e, bits)
    n = len(x)
    check_bytes("bit", bit, n)
    check_array("mask", mask, np.uint64, n)
    if y is None:
        return pack(own + bit - mask, bits)
    check_array("y", y, np.uint64, n)
    return pack(own + (y & _ones(bit)) - mask, bits)


def masked_receive(
    x: U64,
    shift: int,
    bit: U8,
    share: U8,
    e: U8,
    message: U8,
    bits: int,
    pool: Pool | None = None,
) -> U64:
    """The peer's share of the value when its mask is off: `(x >> shift) - bit + (1-2e)*a + m`.

    message: a stream of m, as `masked_send` gives it; the others as there. Modulo `2^bits`, `uint64
    (n,)`.
    """
    own = _share(x, shift, share, e, bits)
    check_bytes("bit", bit, len(x))
    return (own - bit + unpack(message, len(x), bits)) & np.uint64(2**bits - 1)


def _share(x: U64, shift: int, share: U8, e: U8, bits: int) -> U64:
    """`(x >> shift) + (1-2e)*a` modulo 2^64."""
    check_range("shift", shift, 0, 63)
    check_range("bits", bits, 1, 64)
    check_array("x", x, np.uint64, None)
    check_bytes("e", e, len(x))
    return (x >> np.uint64(shift)) + ((unpack(share, len(x), bits) ^ _ones(e)) - _ones(e))


def _size(n: int, bits: int) -> int:
    return (n * bits + 7) // 8


def _ones(bit: U8) -> U64:
    """All bits of a word that is to be kept, none of one that is not."""
    return np.negative(bit.astype(np.uint64))
