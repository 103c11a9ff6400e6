"""ReLU with a secret per-element threshold, sign and extension into a wider ring, in one multiplexer.

Functionality: for additive shares of x in `Z_{2^bits}`, server's secrets c (threshold) and f (flip), additive shares
in `Z_{2^out_bits}` of
`z = [x + c >= 0] * (x + c)` where f = 0 and `z = [x + c < 0] * (x + c)` where f = 1. Exact whenever x + c, as a
signed number, fits `bits` bits.

DReLU is CrypTFlow2's; the multiplexer joins it with the signed extension: with signed lifts X0, X1 of the shares and
their sign bits m0, m1,
`x = X0 + X1 + 2^bits * (m0 & m1)` if x >= 0 and `x = X0 + X1 - 2^bits * (~m0 & ~m1)` if x < 0, and the gate already
tells which of the two it is. One 1-of-4 transfer server -> client on (d1, m1) and one 1-of-2 transfer client ->
server on d0. Flip is a change of the server's share of the gate.

Flights: DReLU's, then C S C. Nothing leaks: both parties see pads, corrections and masked messages only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moiety.protocols import ring
from moiety.protocols.compare import drelu
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
    """Shares of the gated values, uint64 of x's shape, modulo 2^out_bits; `2 <= bits <= out_bits <= 64`.

    `threshold` (uint64, ring elements) and `flip` (uint8 0/1), both broadcastable to x's shape, are the server's;
    the client passes None.
    """
    flat = x.reshape(-1)
    if session.is_server:
        if threshold is not None:
            flat = ring.reduce(x + threshold, bits).reshape(-1)
        flips = (
            np.zeros(x.size, np.uint8) if flip is None else np.broadcast_to(flip, x.shape).reshape(-1).astype(np.uint8)
        )
        z = _server(session, flat, bits, out_bits, flips)
    else:
        z = _client(session, flat, bits, out_bits)
    return z.reshape(x.shape)


def _server(session: Session, x: U64, bits: int, out_bits: int, flip: U8) -> U64:
    gate = drelu(session, x, bits) ^ flip
    from_client = session.sender.accept(x.size, 2)
    to_client = session.receiver.choose(gate, 1)
    lift = ring.to_signed(x, bits).view(np.uint64)
    top = np.uint64(1 << bits) if bits < 64 else np.uint64(0)
    m0 = ring.msb(x, bits)
    table = np.empty((x.size, 4), np.uint64)
    for j in range(4):
        d1, m1 = j & 1, j >> 1
        both, neither = (m0 & m1).astype(np.uint64), ((1 - m0) & (1 - m1)).astype(np.uint64)
        # Both candidates are computed and one is masked in: no branch on the secret flip.
        positive, negative = lift + top * both, lift - top * neither
        open_gate = (gate ^ d1).astype(np.uint64)
        chosen = positive ^ ((positive ^ negative) & -flip.astype(np.uint64))
        table[:, j] = ring.reduce(chosen * open_gate, out_bits)
    own = session.sender.additive(from_client, table, out_bits)
    return ring.reduce(own + session.receiver.additive(to_client, out_bits), out_bits)


def _client(session: Session, x: U64, bits: int, out_bits: int) -> U64:
    gate = drelu(session, x, bits)
    to_server = session.receiver.choose(gate | (ring.msb(x, bits) << 1), 2)
    from_server = session.sender.accept(x.size, 1)
    theirs = session.receiver.additive(to_server, out_bits)
    lift = ring.to_signed(x, bits).view(np.uint64)
    table = np.stack([lift * gate, lift * (1 - gate)], axis=1)
    own = session.sender.additive(from_server, ring.reduce(table, out_bits), out_bits)
    return ring.reduce(own + theirs, out_bits)
