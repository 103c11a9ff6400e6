"""Lookups whose tables follow from a few secret bits or numbers of the sender.

Specifies native/symmetric/gates.hpp. Each equals a plain lookup of `symmetric` with the table
written out; made apart so that the compiled twin can build the tables in registers. No table is
indexed by a secret here: entries are selected by masks.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.kernels.reference.checks import (
    check_array,
    check_bytes,
    check_range,
)
from moiety.protocols.kernels.reference.pool import Pool
from moiety.protocols.kernels.reference.streams import pack
from moiety.protocols.kernels.reference.symmetric import arith_recv, arith_send, lookup_send
from moiety.protocols.kernels.reference.transfers import (
    chosen_fields,
    low_bits,
    receiver_pads,
    sender_pads,
    transfers,
)

__all__ = [
    "join_send",
    "leaves_recv",
    "leaves_send",
    "mux_send",
    "mux_send_adding",
    "widen_recv",
    "widen_send",
]


def leaves_send(
    w: U8,
    delta: U8,
    k: int,
    key: U8,
    shifts: U8,
    digits: U8,
    with_eq: bool,
    pool: Pool | None = None,
) -> tuple[U8, U8]:
    """Compare several secret digits with one digit `j` of the receiver's: XOR shares of lt and eq.

    w, delta, k, key, shifts: as in `lookup_send`; digits: `uint8 (count, n)` below `2^k`, count
    1..32. A message is one field of `count * (1 + with_eq)` bits: count bits `digit < j`, then (if
    `with_eq`) count bits `digit == j`. Returns (messages, share `uint8 (count, n)` with lt in bit 0
    and eq in bit 1).
    """
    count = _check_count(digits, transfers(w, shifts, k))
    options = np.arange(1 << k, dtype=np.uint8)
    place = np.arange(count, dtype=np.uint64)[:, None, None]
    table = ((digits[:, :, None] < options).astype(np.uint64) << place).sum(axis=0, dtype=np.uint64)
    if with_eq:
        equal = (digits[:, :, None] == options).astype(np.uint64) << (place + np.uint64(count))
        table |= equal.sum(axis=0, dtype=np.uint64)
    bits = count * (1 + bool(with_eq))
    fields = (sender_pads(w, delta, k, key, shifts, bits) ^ table) & low_bits(bits)
    share = fields[:, 0]
    return pack((fields[:, 1:] ^ share[:, None]).reshape(-1), bits), _spread(share, count, with_eq)


def leaves_recv(
    v: U8,
    k: int,
    key: U8,
    choices: U8,
    u: U8,
    count: int,
    with_eq: bool,
    messages: U8,
    pool: Pool | None = None,
) -> U8:
    """The receiver's XOR shares of `leaves_send`'s answers, `uint8 (count, n)`.

    v, k, key, choices, u: as in `lookup_recv`; count: 1..32; messages: the sender's.
    """
    check_range("count", count, 1, 32)
    bits = count * (1 + bool(with_eq))
    pads = receiver_pads(v, k, key, choices, u, bits)
    chosen = chosen_fields(messages, k, bits, choices)
    return _spread((chosen ^ pads) & low_bits(bits), count, with_eq)


def join_send(
    w: U8,
    delta: U8,
    k: int,
    key: U8,
    shifts: U8,
    own: U8,
    function: U8,
    bits: int,
    pool: Pool | None = None,
) -> tuple[U8, U8]:
    """XOR lookup of a public function of XOR-shared bits: `table[i, j] = function[own[i] ^ j]`.

    As `lookup_send`; own: the sender's shares, `uint8 (n,)` below `2^k`; function: `uint8 (2^k,)`.
    """
    check_bytes("own", own, transfers(w, shifts, k))
    check_bytes("function", function, 1 << k)
    argument = own[:, None] ^ np.arange(1 << k, dtype=np.uint8)
    table = np.zeros_like(argument)
    for value, result in enumerate(function):
        table |= (argument == value).astype(np.uint8) * result
    return lookup_send(w, delta, k, key, shifts, table, bits)


def mux_send(
    w: U8, delta: U8, key: U8, shifts: U8, x: U64, gate: U8, bits: int, pool: Pool | None = None
) -> tuple[U8, U64]:
    """Times an XOR-shared bit, sender: shares modulo `2^bits` of `x * (gate ^ choice)`.

    The protocol is protocols/compare/relu. w, delta, key, shifts: as in `arith_send` with k = 1;
    x: `uint64 (n,)` below `2^bits`; gate: `uint8 (n,)` of 0 and 1; bits: 1..64. Returns (messages,
    share `uint64 (n,)`).
    """
    _check_values(transfers(w, shifts, 1), x=x, gate=gate)
    table = np.stack([x * gate, x * (gate ^ np.uint8(1))], axis=1)
    return arith_send(w, delta, 1, key, shifts, table, bits)


def mux_send_adding(
    w: U8,
    delta: U8,
    key: U8,
    shifts: U8,
    x: U64,
    gate: U8,
    theirs: U64,
    flip: U8,
    bits: int,
    pool: Pool | None = None,
) -> tuple[U8, U64, U8]:
    """`mux_send`, with the sender's share of the other party's product, `theirs`, added to its own.

    theirs: `uint64 (n,)` below `2^bits`; flip: `uint8 (n,)` of 0 and 1, taken off. Returns
    (messages, z `uint64 (n,)`, sign `uint8 (n,)`): the sum modulo `2^bits` and `msb(z) ^ flip`.
    """
    _check_values(transfers(w, shifts, 1), theirs=theirs, flip=flip)
    messages, share = mux_send(w, delta, key, shifts, x, gate, bits)
    z = (share + theirs - flip) & low_bits(bits)
    return messages, z, (z >> np.uint64(bits - 1)).astype(np.uint8) ^ flip


def widen_send(
    w: U8,
    delta: U8,
    key: U8,
    shifts: U8,
    own: U64,
    theirs: U64,
    bits: int,
    out_bits: int,
    pool: Pool | None = None,
) -> tuple[U8, U64]:
    """Extension of a value whose sign the receiver knows, sender: a 1-of-2 lookup in `(0, msb(x))`.

    The protocol is protocols/compare/relu. w, delta, key, shifts: as in `arith_send` with k = 1,
    of fields of out_bits - bits bits; x, the sender's share of the value, is `own + theirs` modulo
    `2^bits`, both `uint64 (n,)` below `2^bits`; 1 <= bits < out_bits <= 64. Returns (messages,
    share modulo `2^out_bits`, `uint64 (n,)`): the signed lift of x, and `2^bits` times the share of
    the entry.
    """
    _check_widths(bits, out_bits)
    _check_values(transfers(w, shifts, 1), own=own, theirs=theirs)
    x = (own + theirs) & low_bits(bits)
    sign = x >> np.uint64(bits - 1)
    table = np.stack([np.zeros_like(sign), sign], axis=1)
    messages, carry = arith_send(w, delta, 1, key, shifts, table, out_bits - bits)
    return messages, (_lift(x, bits) + (carry << np.uint64(bits))) & low_bits(out_bits)


def widen_recv(
    v: U8,
    key: U8,
    choices: U8,
    u: U8,
    x: U64,
    flip: U8,
    bits: int,
    out_bits: int,
    messages: U8,
    pool: Pool | None = None,
) -> U64:
    """Extension of a value whose sign the receiver knows, receiver: its share modulo `2^out_bits`.

    v, key, choices, u, messages: as in `arith_recv` with k = 1; x: the receiver's share of the
    value, of which `flip` was taken off, `uint64 (n,)` below `2^bits`; flip: `uint8 (n,)`, 1 where
    the value less 1 is negative, 0 where the value is not; choices: `msb(x) ^ flip`. Gives `flip`
    back.
    """
    _check_widths(bits, out_bits)
    _check_values(transfers(v, choices, 1), x=x, flip=flip)
    opened = arith_recv(v, 1, key, choices, u, out_bits - bits, messages)
    carry = opened - (flip & choices)
    return (_lift(x, bits) + (carry << np.uint64(bits)) + flip) & low_bits(out_bits)


def _check_count(digits: U8, n: int) -> int:
    check_bytes("digits", digits, None, n)
    check_range("the number of rows of digits", len(digits), 1, 32)
    return len(digits)


def _check_values(n: int, **values: U8 | U64) -> None:
    """A number or a bit (`gate`, `flip`) of every transfer."""
    for name, array in values.items():
        dtype = np.uint8 if name in ("gate", "flip") else np.uint64
        check_array(name, array, dtype, n)


def _check_widths(bits: int, out_bits: int) -> None:
    check_range("bits", bits, 1, 63)
    check_range("out_bits", out_bits, bits + 1, 64)


def _spread(fields: U64, count: int, with_eq: bool) -> U8:
    """Bit k, and bit count + k above it, of every field: `uint64 (n,)` to `uint8 (count, n)`."""
    place = np.arange(count, dtype=np.uint64)[:, None]
    out = (fields >> place) & np.uint64(1)
    if with_eq:
        out |= ((fields >> (place + np.uint64(count))) & np.uint64(1)) << np.uint64(1)
    return out.astype(np.uint8)


def _lift(x: U64, bits: int) -> U64:
    shift = np.uint64(64 - bits)
    return ((x << shift).view(np.int64) >> np.int64(64 - bits)).view(np.uint64)
