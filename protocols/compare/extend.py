"""Signed extension of shares into a wider ring (SIRNN, S&P 2021, section III): of any value by a
comparison, of one with a headroom bit by one transfer.

Functionality: additive shares of x in `Z_{2^bits}` to additive shares in `Z_{2^out_bits}` of the
same signed value, bits <= out_bits <= 64. Nothing is sent where the widths are equal. Nothing
leaks: both parties see choices masked by correlations and entries masked by pads.

`extend`, 1 <= bits. Exact for every x. With `y = x + 2^(bits-1)` unsigned, `y = y0 + y1 - 2^bits *
wrap`; the wrap bit is needed modulo 2^(out_bits - bits) only. Flights and bits: those of a
comparison of `bits` bits and of a bit conversion to out_bits - bits, which is as one joining round
more.

`extend_with_headroom`, 2 <= bits. Exact for every x in `[-2^(bits-2), 2^(bits-2))`. Then `y = x +
2^(bits-2)` is in `[0, 2^(bits-1))`, and a value whose sign is known is extended as at the end of a
multiplexer (relu): by the product of the two shares' top bits, a 1-of-2 transfer client -> server.
Flights: S C, the last of which is that in which the client goes on. Bits per element, beside one
correlation of width 1: 1 from the server, out_bits - bits from the client.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U64
from moiety.protocols.compare.convert import carry_to_ring, carry_to_ring_cost
from moiety.protocols.compare.digits import DigitPlan
from moiety.protocols.cost import Cost, Size, Work, cost_of, local
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.transfers import answer_cost, choose_cost
from moiety.protocols.session import Session


def extend(session: Session, x: U64, bits: int, out_bits: int) -> U64:
    """Shares modulo 2^out_bits of the signed value of x, uint64 of x's shape."""
    if bits == out_bits:
        return x
    half = np.uint64(1 << (bits - 1))
    y = ring.reduce(x + half, bits) if session.is_server else x
    carry = carry_to_ring(session, y.reshape(-1), bits, out_bits - bits)
    lifted = y - (carry.reshape(x.shape) << np.uint64(bits))
    return ring.reduce(lifted - half if session.is_server else lifted, out_bits)


def extend_with_headroom(session: Session, x: U64, bits: int, out_bits: int) -> U64:
    """As `extend`, for values in the inner half of their ring."""
    if bits == out_bits:
        return x
    flat, quarter = x.reshape(-1), np.uint64(1 << (bits - 2))
    if session.is_server:
        y = ring.reduce(flat + quarter, bits)
        positive = np.zeros(y.size, np.uint8)
        sign = (y >> np.uint64(bits - 1)).astype(np.uint8)
        chosen = session.receiver.choose(sign, 1)
        wide = session.receiver.widen(chosen, y, positive, bits, out_bits)
        return ring.reduce(wide - quarter, out_bits).reshape(x.shape)
    accepted = session.sender.accept(flat.size, 1)
    nothing = np.zeros_like(flat)
    return session.sender.widen(accepted, flat, nothing, bits, out_bits).reshape(x.shape)


# --- declared costs -------------------------------------------------------------------------------


@cost_of(extend)
def extend_cost(n: Size, bits: int, out_bits: Size, network: Network | DigitPlan = LAN) -> Cost:
    """Of n values."""
    if bits == out_bits:
        return Cost()
    carry = carry_to_ring_cost(n, bits, out_bits - bits, network)
    return local("pass", 2 * n) + carry + local("pass", 4 * n)


@cost_of(extend_with_headroom)
def extend_with_headroom_cost(n: Size, bits: Size, out_bits: Size) -> Cost:
    """Of n values."""
    if bits == out_bits:
        return Cost()
    widened = (Work("widen_send", n),), (Work("widen_recv", n),)
    transfer = choose_cost("S", n, 1) + answer_cost("C", n, 1, out_bits - bits, *widened)
    return local("pass", 3 * n, "S") + transfer + local("pass", 2 * n, "S")
