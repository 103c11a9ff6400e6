"""What the lookups of `symmetric` and `gates` share: the pads of both sides, and the fields of a
message. A lookup is a 1-of-2^k transfer whose messages are a table's entries.

`shifts = choices ^ u` is public: the receiver sends it. The sender's pad of option `j` is
`H(w_i + (j ^ shift_i)*delta)`, the receiver's is `H(v_i)`, the pad of its choice; `H` is
`blocks.mmo`, whose keys count up from `key`. The sender's share is chosen so that the message of
option 0 is zero and is not sent.

Of a pad, as many bits are used as a field has. They can be made beforehand, by `pads_send` and
`pads_recv`, and then come as a stream in the place of w or v, with no delta and no key.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.kernels.reference.blocks import mmo
from moiety.protocols.kernels.reference.checks import check_bytes, check_range, check_width
from moiety.protocols.kernels.reference.field import multiples
from moiety.protocols.kernels.reference.streams import unpack


def sender_pads(w: U8, delta: U8, k: int, key: U8, shifts: U8, bits: int) -> U64:
    """Pads of all options in the receiver's order, `uint64 (n, 2^k)`; the low `bits` bits count.

    w: `uint8 (n, 16)`; delta: `uint8 (16,)`; key: `uint8 (16,)`; shifts: `uint8 (n,)` below `2^k`.
    Prepared: w is a stream of `pads_send` of as many bits, delta and key are empty.
    """
    options = 1 << k
    n = transfers(w, shifts, k)
    check_bytes("shifts", shifts, n)
    if n and int(shifts.max()) >= options:
        raise ValueError(f"shifts must be below 2^{k}, the largest is {int(shifts.max())}")
    order = np.arange(options, dtype=np.uint8) ^ shifts[:, None]
    if prepared(w):
        check_bytes("delta", delta, 0)
        check_bytes("key", key, 0)
        return np.take_along_axis(unpack(w, n << k, bits).reshape(n, options), order, axis=1)
    return option_pads(w, delta, k, key, order)


def receiver_pads(v: U8, k: int, key: U8, choices: U8, u: U8, bits: int) -> U64:
    """Pads of the choices, `uint64 (n,)`, of which the low `bits` count.

    v: `uint8 (n, 16)`; key: `uint8 (16,)`; choices, u: `uint8 (n,)` below `2^k`. `u` has done its
    work in the shifts: here only its shape is checked. Prepared: v is a stream of `pads_recv` of as
    many bits, key is empty.
    """
    n = transfers(v, choices, k)
    check_bytes("choices", choices, n)
    check_bytes("u", u, n)
    if prepared(v):
        check_bytes("key", key, 0)
        return unpack(v, n, bits)
    return hashed(v, k, key)


def transfers(blocks: U8, public: U8, k: int) -> int:
    """How many there are: one for each block or, where pads were prepared, for each element of
    `public`.
    """
    check_width(k)
    if prepared(blocks):
        check_bytes("shifts or choices", public, None)
        return len(public)
    check_bytes("blocks", blocks, None, 16)
    return len(blocks)


def prepared(blocks: U8) -> bool:
    """Whether a stream of pads stands in the place of the blocks."""
    return isinstance(blocks, np.ndarray) and blocks.ndim == 1


def option_pads(w: U8, delta: U8, k: int, key: U8, order: U8) -> U64:
    """Low 64 bits of `H(w_i + order_ij * delta)`, `uint64 (n, 2^k)`; order: `uint8 (n, 2^k)`."""
    check_bytes("delta", delta, 16)
    return hashed(w[:, None, :] ^ multiples(delta, k)[order], k, key)


def hashed(blocks: U8, k: int, key: U8) -> U64:
    """Low 64 bits of `H(x)` for blocks `uint8 (n, .., 16)`, `uint64 (n, ..)`."""
    check_bytes("key", key, 16)
    return _low_half(mmo(blocks, key, k))


def _low_half(blocks: U8) -> U64:
    return np.ascontiguousarray(blocks[..., :8]).view("<u8")[..., 0].astype(np.uint64)


def chosen_fields(messages: U8, k: int, bits: int, choices: U8) -> U64:
    """Field `choices[i]` of every element, `uint64 (n,)`, from the message of `2^k - 1` fields.

    Field 0 is not on the wire and is zero. Every option is read and masked.
    """
    n, options = len(choices), 1 << k
    fields = unpack(messages, n * (options - 1), bits).reshape(n, options - 1)
    chosen = np.zeros(n, np.uint64)
    for j in range(1, options):
        chosen ^= fields[:, j - 1] & -(choices == j).astype(np.uint64)
    return chosen


def low_bits(bits: int) -> np.uint64:
    """`2^bits - 1`, for 1 to 64 bits."""
    check_range("bits", bits, 1, 64)
    return np.uint64((1 << bits) - 1)
