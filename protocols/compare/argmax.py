"""The place of the largest of several values.

Functionality: additive shares in `Z_{2^bits}` of `count` values to additive shares, modulo
`2^place_bits(count)`, of the place of the largest; of equal ones the first. Exact for operands in
`[-2^(bits-2), 2^(bits-2))` (one headroom bit); 2 <= count, bits + place_bits(count) <= 64.

A value and its place are one number `x_i * 2^k + (count - 1 - i)`, k = place_bits(count), in a ring
k bits wider, and both parties make their shares of it by themselves. No two of these are equal, so
a max-pool over all of them (maxpool.py, the tree of CrypTFlow2, CCS 2020) leaves the place in the
low k bits of the largest: it needs no multiplexer for places, and no rule for equal values.

Flights: those of one ReLU per level, `ceil(log2(count))` levels; bits: those of one ReLU in the
wide ring per pair, count - 1 pairs. Nothing leaks: not the largest value either.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U64
from moiety.protocols.compare.digits import DigitPlan
from moiety.protocols.compare.maxpool import maxpool, maxpool_cost
from moiety.protocols.cost import Cost, cost_of, local
from moiety.protocols.network import LAN, Network
from moiety.protocols.session import Session

_NO_PADS = (0, 0, 0, 0)


def place_bits(count: int) -> int:
    """Width of a ring whose signed numbers hold every place among `count`."""
    return 1 + (count - 1).bit_length()


def argmax(session: Session, x: U64, bits: int) -> U64:
    """Shares of the places along the first axis, uint64 `(count, n) -> (n,)`, modulo
    `2^place_bits(count)`.
    """
    count = len(x)
    low = place_bits(count)
    wide = bits + low
    numbered = ring.reduce(x << np.uint64(low), wide)
    if session.is_server:
        behind = np.arange(count - 1, -1, -1, dtype=np.uint64)
        numbered = ring.reduce(numbered + behind[:, None], wide)
    rows = np.ascontiguousarray(numbered.T)[:, None]
    largest = maxpool(session, rows, wide, (1, count), (1, 1), _NO_PADS).reshape(-1)
    last = np.uint64(count - 1 if session.is_server else 0)
    return ring.reduce(last - largest, low)


@cost_of(argmax)
def argmax_cost(n: int, count: int, bits: int, network: Network | DigitPlan = LAN) -> Cost:
    """Of n places, each among `count`."""
    wide = bits + place_bits(count)
    levels = maxpool_cost((n, 1, count), wide, (1, count), (1, 1), _NO_PADS, network)
    return argmax_passes(n, count) + levels


def argmax_passes(n: int, count: int) -> Cost:
    """What both parties do by themselves, before the levels and after."""
    return local("pass", 4 * n * count) + local("pass", n)
