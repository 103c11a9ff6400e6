"""Signed extension of shares into a wider ring (SIRNN, S&P 2021, section III).

Functionality: additive shares of x in `Z_{2^bits}` to additive shares in `Z_{2^out_bits}` of the
same signed value, 1 <= bits <= out_bits <= 64. Exact for every x. With `y = x + 2^(bits-1)`
unsigned, `y = y0 + y1 - 2^bits * wrap`; the wrap bit is needed modulo 2^(out_bits - bits) only.
Flights and bits: those of a comparison of `bits` bits and of a bit conversion to out_bits - bits
(S C), which begins in the comparison's last flight and ends in one that the client goes on in; none
where the widths are equal. Nothing leaks.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U64
from moiety.protocols.compare.convert import bit_to_ring, bit_to_ring_cost
from moiety.protocols.compare.digits import DigitPlan
from moiety.protocols.compare.millionaires import wrap, wrap_cost
from moiety.protocols.cost import Cost, Size, cost_of, local
from moiety.protocols.network import LAN, Network
from moiety.protocols.session import Session


def extend(session: Session, x: U64, bits: int, out_bits: int) -> U64:
    """Shares modulo 2^out_bits of the signed value of x, uint64 of x's shape."""
    if bits == out_bits:
        return x
    half = np.uint64(1 << (bits - 1))
    y = ring.reduce(x + half, bits) if session.is_server else x
    carry = bit_to_ring(session, wrap(session, y.reshape(-1), bits), out_bits - bits)
    lifted = y - (carry.reshape(x.shape) << np.uint64(bits))
    return ring.reduce(lifted - half if session.is_server else lifted, out_bits)


@cost_of(extend)
def extend_cost(n: Size, bits: int, out_bits: Size, network: Network | DigitPlan = LAN) -> Cost:
    """Of n values."""
    if bits == out_bits:
        return Cost()
    carry = wrap_cost(n, bits, network) + bit_to_ring_cost(n, out_bits - bits)
    return local("pass", 2 * n) + carry + local("pass", 4 * n)
