"""Lookups whose tables follow from a few secret bits or numbers of the sender.

Specifies native/symmetric/gates.hpp. Each equals a plain lookup of `symmetric` with the table
written out; made apart so that the compiled twin can build the tables in registers. No table is
indexed by a secret here: entries are selected by masks.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.kernels.reference.checks import check_bytes, check_range, check_width
from moiety.protocols.kernels.reference.streams import pack
from moiety.protocols.kernels.reference.symmetric import arith_send, lookup_send
from moiety.protocols.kernels.reference.transfers import (
    chosen_fields,
    low_bits,
    receiver_pads,
    sender_pads,
)

__all__ = ["join_send", "leaves_recv", "leaves_send", "mux_client", "mux_server"]


def leaves_send(
    w: U8, delta: U8, k: int, key: U8, shifts: U8, digits: U8, with_eq: bool
) -> tuple[U8, U8]:
    """Compare several secret digits with one digit `j` of the receiver's: XOR shares of lt and eq.

    w, delta, k, key, shifts: as in `lookup_send`; digits: `uint8 (count, n)` below `2^k`, count
    1..32. A message is one field of `count * (1 + with_eq)` bits: count bits `digit < j`, then (if
    `with_eq`) count bits `digit == j`. Returns (messages, share `uint8 (count, n)` with lt in bit 0
    and eq in bit 1).
    """
    count = _check_count(digits, len(w))
    check_width(k)
    options = np.arange(1 << k, dtype=np.uint8)
    place = np.arange(count, dtype=np.uint64)[:, None, None]
    table = ((digits[:, :, None] < options).astype(np.uint64) << place).sum(axis=0, dtype=np.uint64)
    if with_eq:
        equal = (digits[:, :, None] == options).astype(np.uint64) << (place + np.uint64(count))
        table |= equal.sum(axis=0, dtype=np.uint64)
    bits = count * (1 + bool(with_eq))
    fields = (sender_pads(w, delta, k, key, shifts) ^ table) & low_bits(bits)
    share = fields[:, 0]
    return pack((fields[:, 1:] ^ share[:, None]).reshape(-1), bits), _spread(share, count, with_eq)


def leaves_recv(
    v: U8, k: int, key: U8, choices: U8, u: U8, count: int, with_eq: bool, messages: U8
) -> U8:
    """The receiver's XOR shares of `leaves_send`'s answers, `uint8 (count, n)`.

    v, k, key, choices, u: as in `lookup_recv`; count: 1..32; messages: the sender's.
    """
    check_range("count", count, 1, 32)
    bits = count * (1 + bool(with_eq))
    pads = receiver_pads(v, k, key, choices, u)
    chosen = chosen_fields(messages, k, bits, choices)
    return _spread((chosen ^ pads) & low_bits(bits), count, with_eq)


def join_send(
    w: U8, delta: U8, k: int, key: U8, shifts: U8, own: U8, function: U8, bits: int
) -> tuple[U8, U8]:
    """XOR lookup of a public function of XOR-shared bits: `table[i, j] = function[own[i] ^ j]`.

    As `lookup_send`; own: the sender's shares, `uint8 (n,)` below `2^k`; function: `uint8 (2^k,)`.
    """
    check_width(k)
    check_bytes("function", function, 1 << k)
    argument = own[:, None] ^ np.arange(1 << k, dtype=np.uint8)
    table = np.zeros_like(argument)
    for value, result in enumerate(function):
        table |= (argument == value).astype(np.uint8) * result
    return lookup_send(w, delta, k, key, shifts, table, bits)


def mux_server(
    w: U8, delta: U8, key: U8, shifts: U8, x: U64, gate: U8, flip: U8, bits: int, out_bits: int
) -> tuple[U8, U64]:
    """The server's half of the multiplexer with extension: a 1-of-4 additive lookup on (d1, m1).

    The protocol is protocols/compare/relu. w, delta, key, shifts: as in `arith_send` with k = 2;
    x: the server's shares, `uint64 (n,)` below `2^bits`; gate: its shares of the gate, flip: 1
    where the gate opens for negative values, both `uint8 (n,)`; bits: 2..64; out_bits: 1..64. Entry
    `d1 + 2*m1` is `gate ^ d1` times the signed lift of x, plus `2^bits * (m0 & m1)` or, where
    flipped, minus `2^bits * (~m0 & ~m1)`, modulo `2^out_bits`.

    Returns (messages, share `uint64 (n,)`).
    """
    lift, m0 = _lift(x, bits), (x >> np.uint64(bits - 1)) & np.uint64(1)
    top = np.uint64(1 << bits) if bits < 64 else np.uint64(0)
    masks = -flip.astype(np.uint64)
    table = np.empty((x.size, 4), np.uint64)
    for j in range(4):
        d1, m1 = np.uint8(j & 1), np.uint64(j >> 1)
        positive = lift + top * (m0 & m1)
        negative = lift - top * ((m0 ^ np.uint64(1)) & (m1 ^ np.uint64(1)))
        # Both candidates are computed and one is masked in: no branch on the secret flip.
        table[:, j] = (positive ^ ((positive ^ negative) & masks)) * (gate ^ d1)
    return arith_send(w, delta, 2, key, shifts, table & low_bits(out_bits), out_bits)


def mux_client(
    w: U8, delta: U8, key: U8, shifts: U8, x: U64, gate: U8, bits: int, out_bits: int
) -> tuple[U8, U64]:
    """The client's half of the multiplexer: a 1-of-2 additive lookup on d0.

    As `mux_server` with k = 1 and the client's shares. The entry is `gate ^ d0` times the signed
    lift of x, modulo `2^out_bits`.
    """
    lift = _lift(x, bits)
    table = np.stack([lift * gate, lift * (gate ^ np.uint8(1))], axis=1)
    return arith_send(w, delta, 1, key, shifts, table & low_bits(out_bits), out_bits)


def _check_count(digits: U8, n: int) -> int:
    if digits.ndim != 2 or not 1 <= digits.shape[0] <= 32 or digits.shape[1] != n:
        raise ValueError(
            f"digits must have shape (count, {n}) with count in 1..32, got {digits.shape}"
        )
    return digits.shape[0]


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
