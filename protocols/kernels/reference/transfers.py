"""What the lookups of `symmetric` and `gates` share: the pads of both sides, and the fields of a
message. A lookup is a 1-of-2^k transfer whose messages are a table's entries.

`shifts = choices ^ u` is public: the receiver sends it. The sender's pad of option `j` is
`H(w_i + (j ^ shift_i)*delta)`, the receiver's is `H(v_i)`, the pad of its choice; `H` is
`blocks.mmo`, whose keys count up from `key`. The sender's share is chosen so that the message of
option 0 is zero and is not sent.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.kernels.reference.blocks import mmo
from moiety.protocols.kernels.reference.checks import check_bytes, check_range, check_width
from moiety.protocols.kernels.reference.field import multiples
from moiety.protocols.kernels.reference.streams import unpack


def sender_pads(w: U8, delta: U8, k: int, key: U8, shifts: U8) -> U64:
    """Low 64 bits of the pads of all options in the receiver's order: `uint64 (n, 2^k)`.

    w: `uint8 (n, 16)`; delta: `uint8 (16,)`; shifts: `uint8 (n,)` below `2^k`.
    """
    check_width(k)
    check_bytes("w", w, None, 16)
    check_bytes("delta", delta, 16)
    check_bytes("shifts", shifts, len(w))
    check_bytes("key", key, 16)
    options = 1 << k
    if len(w) and int(shifts.max()) >= options:
        raise ValueError(f"shifts must be below 2^{k}, the largest is {int(shifts.max())}")
    order = np.arange(options, dtype=np.uint8) ^ shifts[:, None]
    blocks = w[:, None, :] ^ multiples(delta, k)[order]
    return _low_half(mmo(blocks, key, k))


def receiver_pads(v: U8, k: int, key: U8, choices: U8, u: U8) -> U64:
    """Low 64 bits of the pads of the choices: `uint64 (n,)`.

    v: `uint8 (n, 16)`; choices, u: `uint8 (n,)` below `2^k`. `u` has done its work in the shifts:
    here only its shape is checked.
    """
    check_width(k)
    check_bytes("v", v, None, 16)
    check_bytes("choices", choices, len(v))
    check_bytes("u", u, len(v))
    check_bytes("key", key, 16)
    return _low_half(mmo(v, key, k))


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
