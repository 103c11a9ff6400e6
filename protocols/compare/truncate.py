"""Truncate-and-reduce: from `Z_{2^l}` to `Z_{2^(l-s)}`, dropping the low s bits.

*exact* is SIRNN's TR (S&P 2021, Algorithm 3 style): `floor(x / 2^s) = floor(x0 / 2^s) + floor(x1 /
2^s) + [low(x0) + low(x1) >= 2^s]`, and the carry of the low parts comes from one s-bit comparison.
Flights and bits: those of the comparison and of a bit conversion to l - s bits, which is as one
joining round more; none for s = 0. Exact.

*stochastic* is local: its rounding bit depends on the shares, and the functionality it securely
computes is the one with exactly this share-dependent bit (Li et al., ePrint 2023/909, on why that
has to be said). Off by less than one, without bias. No message.

Both for every x and `0 <= shift < bits_in <= 64`. Nothing leaks.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U64
from moiety.protocols.compare.convert import carry_to_ring, carry_to_ring_cost
from moiety.protocols.compare.digits import DigitPlan
from moiety.protocols.cost import Cost, Size, cost_of, local
from moiety.protocols.network import LAN, Network
from moiety.protocols.parallel import Workers
from moiety.protocols.session import Session


def truncate_exact(session: Session, x: U64, bits_in: int, shift: int) -> U64:
    """Shares of `floor(x / 2^shift)` modulo 2^(bits_in - shift), uint64 of x's shape."""
    if shift == 0:
        return x
    flat = x.reshape(-1)
    carry = carry_to_ring(session, flat, shift, bits_in - shift)
    return with_carry(session.workers, flat, bits_in, shift, carry).reshape(x.shape)


def with_carry(workers: Workers, x: U64, bits_in: int, shift: int, carry: U64) -> U64:
    """This party's share of the truncated values from that of their carries, all uint64 `(n,)`."""
    y = np.empty_like(x)
    workers.fill(
        y, lambda at: ring.reduce((x[at] >> np.uint64(shift)) + carry[at], bits_in - shift)
    )
    return y


@cost_of(truncate_exact)
def truncate_exact_cost(
    n: Size, bits_in: Size, shift: int, network: Network | DigitPlan = LAN
) -> Cost:
    """Of n values."""
    if shift == 0:
        return Cost()
    carry = carry_to_ring_cost(n, shift, bits_in - shift, network)
    return carry + local("pass", 3 * n)


def truncate_stochastic(session: Session, x: U64, bits_in: int, shift: int) -> U64:
    """Shares of `floor(x / 2^shift) + B`, `P[B = 1] = (x mod 2^shift) / 2^shift`, modulo
    2^(bits_in - shift), uint64 of x's shape.

    Unbiased: of x - 1, the floors of the shares lose `(x - 1 mod 2^shift) / 2^shift + [carry]`; the
    server's 1 and the 1 that it took off first give back the mean.
    """
    return stochastic_share(session.is_server, x, bits_in, shift)


def stochastic_share(server: bool, x: U64, bits_in: int, shift: int) -> U64:
    """What a party makes of its share."""
    if shift == 0:
        return x
    one = np.uint64(1 if server else 0)
    lowered = ring.reduce(x - one, bits_in)
    return ring.reduce((lowered >> np.uint64(shift)) + one, bits_in - shift)


@cost_of(truncate_stochastic)
def truncate_stochastic_cost(n: Size, bits_in: Size, shift: int) -> Cost:
    """Of n values: local work."""
    return local("pass", 5 * n)
