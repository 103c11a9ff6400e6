"""ReLU with a secret per-channel threshold, sign and extension into a wider ring; and its two
halves for sharing comparisons.

Functionality of `relu`: for additive shares of x in `Z_{2^bits}` and the server's secrets c
(threshold) and f (flip), additive shares in `Z_{2^out_bits}` of `z = [x + c >= 0] * (x + c)` where
f = 0 and `z = [x + c < 0] * (x + c)` where f = 1. Exact whenever x + c, as a signed number, fits
`bits` bits; 2 <= bits <= out_bits <= 64.

*Gates* is DReLU (CrypTFlow2, CCS 2020, Algorithm 2) of one client input against K thresholds of the
server at once: `msb(x + c_k) = msb(x0 + c_k) ^ msb(x1) ^ carry_k`, and the client's side of all K
comparisons is the same number, so one transfer per digit answers them all.

*Multiplex* joins the multiplexer with the signed extension: with signed lifts X0, X1 of the shares
and their sign bits m0, m1, `x = X0 + X1 + 2^bits * (m0 & m1)` if x >= 0 and
`x = X0 + X1 - 2^bits * (~m0 & ~m1)` if x < 0, and the gate already tells which of the two it is.
One 1-of-4 transfer server -> client on (d1, m1) and one 1-of-2 transfer client -> server on d0.
Flip is a change of the server's share of the gate, which the client cannot see.

Flights: gates as a comparison of bits - 1 bits, multiplex C S C. Bits of the multiplexer per
element: a correlation of width 2 and 2 bits from the client; a correlation of width 1, 1 bit and 3
entries of out_bits from the server; one such entry from the client. Nothing leaks: both parties see
pads, corrections and masked messages only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.digits import DigitPlan
from moiety.protocols.compare.millionaires import less_than, less_than_cost
from moiety.protocols.cost import Cost, Size, Work, cost_of, local
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.transfers import answer_cost, choose_cost
from moiety.protocols.session import Session


@dataclass(frozen=True)
class GateSecrets:
    """What the server alone knows of a gate `[x + c >= 0]`, both broadcastable to x's shape.

    threshold: the c, uint64, ring elements. flip: uint8, 1 where the gate opens for `x + c < 0`.
    """

    threshold: U64
    flip: U8

    def of(self, at: slice) -> GateSecrets:
        """Of some elements, where both are `(n,)`."""
        return GateSecrets(self.threshold[at], self.flip[at])


def relu(
    session: Session, x: U64, bits: int, out_bits: int, secrets: GateSecrets | None = None
) -> U64:
    """Shares of the gated values, uint64 of x's shape, modulo 2^out_bits;
    `2 <= bits <= out_bits <= 64`. `secrets` are the server's; None at the client, and for a
    plain ReLU.
    """
    gate = gates(session, x, bits, 1, None if secrets is None else secrets.threshold[None])
    return multiplex(session, x, gate[0], bits, out_bits, secrets)


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


def drelu(session: Session, values: U64, bits: int, count: int = 1) -> U8:
    """XOR shares of `[x_k >= 0]`, uint8 `(count, n)`, for additive shares in `Z_{2^bits}`, 2 <=
    bits <= 64. Exact.

    `values` uint64: the server's shares `(count, n)`; the client's, the same for all k, `(1, n)`.
    `msb(x) = msb(x0) ^ msb(x1) ^ carry`, `carry = [2^(bits-1) - 1 - low(x0) < low(x1)]`
    (CrypTFlow2, Algorithm 2).
    """
    low = values & ring.mask(bits - 1)
    sign = ring.msb(values, bits)
    if session.is_server:
        return less_than(session, ring.mask(bits - 1) - low, bits - 1, count) ^ sign ^ np.uint8(1)
    return less_than(session, low, bits - 1, count) ^ sign


def multiplex(
    session: Session,
    x: U64,
    gate: U8,
    bits: int,
    out_bits: int,
    secrets: GateSecrets | None = None,
) -> U64:
    """Shares of the gated values as in `relu`, from XOR shares `gate` of `[x + c >= 0]`, uint8 of
    x's shape.
    """
    if session.is_server:
        shifted = x if secrets is None else ring.reduce(x + secrets.threshold, bits)
        flips = np.zeros(1, np.uint8) if secrets is None else secrets.flip
        flip = np.ascontiguousarray(np.broadcast_to(flips, x.shape)).reshape(-1)
        opens = gate.reshape(-1) ^ flip
        z = _multiplex_server(session, shifted.reshape(-1), opens, flip, bits, out_bits)
    else:
        z = _multiplex_client(session, x.reshape(-1), gate.reshape(-1), bits, out_bits)
    return z.reshape(x.shape)


def _multiplex_server(
    session: Session, x: U64, gate: U8, flip: U8, bits: int, out_bits: int
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


# --- declared costs -------------------------------------------------------------------------------


@cost_of(drelu)
def drelu_cost(n: Size, bits: int, count: Size = 1, network: Network | DigitPlan = LAN) -> Cost:
    """Of n client values with `count` server values each."""
    split = local("pass", 2 * n, "C") + local("pass", 2 * n * count, "S")
    compared = less_than_cost(n, bits - 1, count, network)
    return split + compared + local("bit_pass", 2 * n * count)


@cost_of(gates)
def gates_cost(n: Size, bits: int, count: Size = 1, network: Network | DigitPlan = LAN) -> Cost:
    """Of n elements for `count` thresholds each."""
    return local("pass", 2 * n * count, "S") + drelu_cost(n, bits, count, network)


@cost_of(multiplex)
def multiplex_cost(n: Size, out_bits: Size) -> Cost:
    """Gate and extend n elements."""
    prepared = local("pass", 2 * n, "C") + local("pass", 2 * n, "S") + local("bit_pass", n)
    opened = choose_cost("C", n, 2) + choose_cost("S", n, 1)
    server = answer_cost("S", n, 2, out_bits, (Work("mux_server", n),), (Work("open_2", n),))
    client = answer_cost("C", n, 1, out_bits, (Work("mux_client", n),), (Work("open_1", n),))
    return prepared + opened + server + client + local("pass", 2 * n)


@cost_of(relu)
def relu_cost(n: Size, bits: int, out_bits: Size, network: Network | DigitPlan = LAN) -> Cost:
    """DReLU, then the multiplexer with extension; the same with and without secret thresholds."""
    return gates_cost(n, bits, 1, network) + multiplex_cost(n, out_bits)
