"""ReLU with a secret per-channel threshold, sign and extension into a wider ring; and its two
halves for sharing comparisons.

Functionality of `relu`: for additive shares of x in `Z_{2^bits}` and the server's secrets c
(threshold) and f (flip), additive shares in `Z_{2^out_bits}` of `z = [x + c >= 0] * (x + c)` where
f = 0 and `z = [x + c < 0] * (x + c)` where f = 1. Exact whenever x + c, as a signed number, fits
`bits` bits; 2 <= bits <= out_bits <= 64.

*Gates* is DReLU (CrypTFlow2, CCS 2020, Algorithm 2) of one client input against K thresholds of the
server at once: `msb(x + c_k) = msb(x0 + c_k) ^ msb(x1) ^ carry_k`, and the client's side of all K
comparisons is the same number, so one transfer per digit answers them all.

*Multiplex* multiplies by the gate in the narrow ring and then extends, in the knowledge of the
sign. With d = d0 ^ d1 the gate, the server's d0 turned by its f, and y = x + c:

1. `z = d*y = d*y0 + d*y1` modulo 2^bits: a 1-of-2 transfer server -> client chosen by d1, entry j
   is `(d0 ^ j) * y0`, and one client -> server chosen by d0, entry j is `(j ^ d1) * y1`.
2. Where out_bits > bits. The server takes f off its share, so that z >= 0 where f = 0 and z < 0
   where f = 1. With signed lifts Z0, Z1 of the shares and their sign bits m0, m1, `z = Z0 + Z1 +
   2^bits * (m0 & m1)` if z >= 0 and `z = Z0 + Z1 - 2^bits * (~m0 & ~m1)` if z < 0. With `j = m0 ^
   f` both are `Z0 + Z1 + 2^bits * (j*m1 - (f & j))`: a 1-of-2 transfer client -> server chosen by j
   with entries 0 and m1, whatever f is. The server gives f back.

The second of these holds for -2^(bits-1) - 1 too, which is not in the ring: its shares have one
sign. So -2^(bits-1) passes a flipped gate as it is (docs/protocols.md has the proof).

Flights: gates as a comparison of bits - 1 bits; multiplex S C S C, the last of which is that in
which the client goes on; S C S where out_bits = bits. Bits
of the multiplexer per element, beside three correlations of width 1: out_bits + 1 from the client,
bits + 2 from the server; where out_bits = bits, beside two, bits + 1 from either.
Nothing leaks: both parties see choices masked by correlations and entries masked by pads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.digits import DigitPlan, plan_digits
from moiety.protocols.compare.millionaires import (
    carry_digits,
    compare,
    less_than_cost,
)
from moiety.protocols.cost import Cost, Size, Work, cost_of, local
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.transfers import answer_cost, choose_cost
from moiety.protocols.parallel import Workers
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
    rows = threshold_rows(session.is_server, x.shape, count, thresholds)
    return drelu(session, x.reshape(-1), bits, count, rows).reshape(count, *x.shape)


def threshold_rows(
    server: bool, shape: tuple[int, ...], count: int, thresholds: U64 | None
) -> U64 | None:
    """What `drelu` takes for the thresholds of `gates`: the server's, uint64 `(count, n)`; None
    where there is nothing to add.
    """
    if not server or (thresholds is None and count == 1):
        return None
    given = np.zeros((), np.uint64) if thresholds is None else thresholds
    return np.broadcast_to(given, (count, *shape)).reshape(count, -1)


def drelu(
    session: Session,
    x: U64,
    bits: int,
    count: int = 1,
    thresholds: U64 | None = None,
    early: bool = False,
) -> U8:
    """XOR shares of `[x + c_k >= 0]`, uint8 `(count, n)`, for additive shares x uint64 `(n,)` in
    `Z_{2^bits}`, 2 <= bits <= 64, and the server's `thresholds` c, uint64 `(count, n)`. Exact.

    `msb(y) = msb(y0) ^ msb(y1) ^ carry` of the bits below (CrypTFlow2, Algorithm 2); the sign is
    cut off as one more digit. `early` as in `millionaires.share_digits`.
    """
    made = plan_digits(bits - 1, count, session.sharing_flights(x.size), session.network)
    sizes = (1, *made.digits)
    sign, *low = carry_digits(session.workers, session.is_server, x, 0, sizes, thresholds)
    return compare(session, made, count, low, early) ^ sign


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
        y, flip = gated(session.workers, x, bits, secrets)
        z = _multiplex_server(session, y, gate.reshape(-1) ^ flip, flip, bits, out_bits)
    else:
        z = _multiplex_client(session, x.reshape(-1), gate.reshape(-1), bits, out_bits)
    return z.reshape(x.shape)


def gated(workers: Workers, x: U64, bits: int, secrets: GateSecrets | None) -> tuple[U64, U8]:
    """The server's share of what is gated, and the gates' directions, flat."""
    if secrets is None:
        return x.reshape(-1), np.zeros(x.size, np.uint8)
    given, y = x.reshape(-1), np.empty(x.size, np.uint64)
    threshold = np.broadcast_to(secrets.threshold, x.shape).reshape(-1)
    workers.fill(y, lambda at: ring.reduce(given[at] + threshold[at], bits))
    return y, np.ascontiguousarray(np.broadcast_to(secrets.flip, x.shape)).reshape(-1)


def _multiplex_server(
    session: Session, y: U64, gate: U8, flip: U8, bits: int, out_bits: int
) -> U64:
    if out_bits == bits:
        flip = np.zeros_like(flip)  # the gate is turned already; only an extension needs the sign
    chosen = session.receiver.choose(gate, 1)
    accepted = session.sender.accept(y.size, 1)
    theirs = session.receiver.additive(chosen, bits)
    z, sign = session.sender.multiply_adding(accepted, y, gate, theirs, flip, bits)
    if out_bits == bits:
        return z
    return session.receiver.widen(session.receiver.choose(sign, 1), z, flip, bits, out_bits)


def _multiplex_client(session: Session, y: U64, gate: U8, bits: int, out_bits: int) -> U64:
    accepted = session.sender.accept(y.size, 1)
    chosen = session.receiver.choose(gate, 1)
    own = session.sender.multiply(accepted, y, gate, bits)
    theirs = session.receiver.additive(chosen, bits)
    if out_bits == bits:
        z = np.empty_like(y)
        session.workers.fill(z, lambda at: ring.reduce(own[at] + theirs[at], bits))
        return z
    return session.sender.widen(session.sender.accept(y.size, 1), own, theirs, bits, out_bits)


# --- declared costs -------------------------------------------------------------------------------


@cost_of(drelu)
def drelu_cost(
    n: Size, bits: int, count: Size = 1, network: Network | DigitPlan = LAN, early: bool = False
) -> Cost:
    """Of n client values with `count` server values each."""
    sign = local("digit", n, "C") + local("digit", n * count, "S")
    compared = less_than_cost(n, bits - 1, count, network, early)
    return sign + compared + local("bit_pass", n * count)


@cost_of(gates)
def gates_cost(n: Size, bits: int, count: Size = 1, network: Network | DigitPlan = LAN) -> Cost:
    """Of n elements for `count` thresholds each."""
    return drelu_cost(n, bits, count, network)


@cost_of(multiplex)
def multiplex_cost(n: Size, bits: Size, out_bits: Size) -> Cost:
    """Gate n elements, and extend them where out_bits is not bits."""
    prepared = local("pass", 2 * n, "S") + local("bit_pass", 2 * n, "S")
    chosen = choose_cost("S", n, 1) + choose_cost("C", n, 1)
    opened = (Work("open_1", n),)
    client = answer_cost("C", n, 1, bits, (Work("mux_send", n),), opened)
    server = answer_cost("S", n, 1, bits, (Work("mux_send_adding", n),), opened)
    product = prepared + chosen + client + server
    if out_bits == bits:
        return product + local("pass", 2 * n, "C")
    widened = (Work("widen_send", n),), (Work("widen_recv", n),)
    return product + choose_cost("S", n, 1) + answer_cost("C", n, 1, out_bits - bits, *widened)


@cost_of(relu)
def relu_cost(n: Size, bits: int, out_bits: Size, network: Network | DigitPlan = LAN) -> Cost:
    """DReLU, then the multiplexer with extension; the same with and without secret thresholds."""
    return gates_cost(n, bits, 1, network) + multiplex_cost(n, bits, out_bits)
