"""Truncate-and-reduce: from `Z_{2^l}` to `Z_{2^(l-s)}`, dropping the low s bits.

*exact* is SIRNN's TR (S&P 2021, Algorithm 3 style): the carry of the low parts comes from one
s-bit comparison. *stochastic* is local: its rounding bit depends on the shares, and the
functionality it securely computes is the one with exactly this share-dependent bit (Li et al.,
ePrint 2023/909, on why that has to be said).
"""

from __future__ import annotations

import numpy as np

from moiety.protocols import ring
from moiety.protocols.compare.convert import bit_to_ring
from moiety.protocols.compare.millionaires import wrap
from moiety.protocols.ring import U64
from moiety.protocols.session import Session


def truncate_exact(session: Session, x: U64, bits_in: int, shift: int) -> U64:
    """Shares of `floor(x / 2^shift)` modulo 2^(bits_in - shift), uint64 of x's
    shape; `0 <= shift < bits_in`.

    `floor(x0/2^s) + floor(x1/2^s) + [low(x0) + low(x1) >= 2^s]`.
    Flights: the comparison's, then C S.
    """
    if shift == 0:
        return x
    bits = bits_in - shift
    carry = wrap(session, (x & ring.mask(shift)).reshape(-1), shift)
    return ring.reduce(
        (x >> np.uint64(shift)) + bit_to_ring(session, carry, bits).reshape(x.shape), bits
    )


def truncate_stochastic(session: Session, x: U64, bits_in: int, shift: int) -> U64:
    """Shares of `floor(x / 2^shift) + B`, `P[B = 1] = (x mod 2^shift) / 2^shift`, modulo
    2^(bits_in - shift). No message.

    Unbiased: the floors of the shares lose `frac + [carry]`, the server's 1 gives back its mean.
    """
    if shift == 0:
        return x
    one = np.uint64(1 if session.is_server else 0)
    return ring.reduce((x >> np.uint64(shift)) + one, bits_in - shift)
