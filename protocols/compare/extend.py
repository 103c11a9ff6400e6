"""Signed extension of shares into a wider ring (SIRNN, S&P 2021, section III)."""

from __future__ import annotations

import numpy as np

from moiety.protocols import ring
from moiety.protocols.compare.convert import bit_to_ring
from moiety.protocols.compare.millionaires import wrap
from moiety.protocols.ring import U64
from moiety.protocols.session import Session


def extend(session: Session, x: U64, bits: int, out_bits: int) -> U64:
    """Shares modulo 2^out_bits of the signed value of x, uint64 of x's shape;
    `bits <= out_bits <= 64`. Exact.

    With `y = x + 2^(bits-1)` unsigned, `y = y0 + y1 - 2^bits * wrap`; the wrap bit is needed modulo
    2^(out_bits - bits) only. Flights: the comparison's, then C S.
    """
    if bits == out_bits:
        return x
    half = np.uint64(1 << (bits - 1))
    y = ring.reduce(x + half, bits) if session.is_server else x
    carry = bit_to_ring(session, wrap(session, y.reshape(-1), bits), out_bits - bits).reshape(
        x.shape
    )
    lifted = y - (carry << np.uint64(bits))
    return ring.reduce(lifted - half if session.is_server else lifted, out_bits)
