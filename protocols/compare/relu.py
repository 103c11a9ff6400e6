"""ReLU with a secret per-channel threshold, sign and extension into a wider ring; and its two
halves for sharing comparisons.

Functionality of `relu`: for additive shares of x in `Z_{2^bits}` and the server's secrets c
(threshold) and f (flip), additive shares in `Z_{2^out_bits}` of `z = [x + c >= 0] * (x +
c)` where f = 0 and `z = [x + c < 0] * (x + c)` where f = 1. Exact whenever x + c, as a
signed number, fits `bits` bits.

*Gates* is DReLU (CrypTFlow2, CCS 2020, Algorithm 2) of one client input against K thresholds of the
server at once: `msb(x + c_k) = msb(x0 + c_k) ^ msb(x1) ^ carry_k`, and the client's side of all K
comparisons is the same number, so one transfer per digit answers them all.

*Multiplex* joins the multiplexer with the signed extension: with signed lifts X0, X1 of the shares
and their sign bits m0, m1, `x = X0 + X1 + 2^bits * (m0 & m1)` if x >= 0 and `x = X0 + X1 - 2^bits *
(~m0 & ~m1)` if x < 0, and the gate already tells which of the two it is. One 1-of-4 transfer
server -> client on (d1, m1) and one 1-of-2 transfer client -> server on d0. Flip is a change of the
server's share of the gate, which the client cannot see.

Flights: gates CS per comparison round, multiplex C S C. Nothing leaks: both parties see pads,
corrections and masked messages only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moiety.protocols import ring
from moiety.protocols.compare.millionaires import drelu
from moiety.protocols.ring import U64
from moiety.protocols.session import Session

U8 = npt.NDArray[np.uint8]


def relu(
    session: Session,
    x: U64,
    bits: int,
    out_bits: int,
    threshold: U64 | None = None,
    flip: U8 | None = None,
) -> U64:
    """Shares of the gated values, uint64 of x's shape, modulo 2^out_bits;
    `2 <= bits <= out_bits <= 64`.

    `threshold` (uint64, ring elements) and `flip` (uint8 0/1), both broadcastable to x's shape, are
    the server's; the client passes None.
    """
    gate = gates(session, x, bits, 1, None if threshold is None else threshold[None])
    return multiplex(session, x, gate[0], bits, out_bits, threshold, flip)


def gates(session: Session, x: U64, bits: int, count: int, thresholds: U64 | None = None) -> U8:
    """XOR shares of `[x + c_k >= 0]`, uint8 of 0/1, `(count, *x.shape)`.

    `thresholds` uint64, ring elements, broadcastable to `(count, *x.shape)`, are the server's (None
    for zeros); count <= digits.MAX_THRESHOLDS.
    """
    if session.is_server:
        shifted = x[None] if thresholds is None else ring.reduce(x + thresholds, bits)
        values = np.broadcast_to(shifted, (count, *x.shape)).reshape(count, -1)
    else:
        values = x.reshape(1, -1)
    return drelu(session, values, bits, count).reshape(count, *x.shape)


def multiplex(
    session: Session,
    x: U64,
    gate: U8,
    bits: int,
    out_bits: int,
    threshold: U64 | None = None,
    flip: U8 | None = None,
) -> U64:
    """Shares of the gated values as in `relu`, from XOR shares `gate` of `[x +
    threshold >= 0]`, uint8 of x's shape.
    """
    if session.is_server:
        shifted = x if threshold is None else ring.reduce(x + threshold, bits)
        flips = np.zeros(1, np.uint8) if flip is None else flip
        flat_flips = np.ascontiguousarray(np.broadcast_to(flips, x.shape)).reshape(-1)
        z = _multiplex_server(
            session, shifted.reshape(-1), gate.reshape(-1) ^ flat_flips, bits, out_bits, flat_flips
        )
    else:
        z = _multiplex_client(session, x.reshape(-1), gate.reshape(-1), bits, out_bits)
    return z.reshape(x.shape)


def _multiplex_server(
    session: Session, x: U64, gate: U8, bits: int, out_bits: int, flip: U8
) -> U64:
    from_client = session.sender.accept(x.size, 2)
    to_client = session.receiver.choose(gate, 1)
    own = session.sender.multiplex_4(from_client, x, gate, flip, bits, out_bits)
    return ring.reduce(own + session.receiver.additive(to_client, out_bits), out_bits)


def _multiplex_client(session: Session, x: U64, gate: U8, bits: int, out_bits: int) -> U64:
    to_server = session.receiver.choose(gate | (ring.msb(x, bits) << np.uint8(1)), 2)
    from_server = session.sender.accept(x.size, 1)
    theirs = session.receiver.additive(to_server, out_bits)
    own = session.sender.multiplex_2(from_server, x, gate, bits, out_bits)
    return ring.reduce(own + theirs, out_bits)
