"""Shared values times integers that the client knows: one direction of Gilboa's multiplication
(CRYPTO 1999).

Functionality: shares of x in `Z_{2^bits}` and the client's integers w in `[0, 2^weight_bits)` to
shares of `w*x` modulo 2^bits; exact, 1 <= weight_bits <= bits <= 64. The client multiplies its own
share; of the server's it chooses, by bit j of w, between 0 and `2^j * x0`, of which bits - j bits
are sent.

Flights: C S. Bits per value: weight_bits correlations of width 1 and as many choices; `weight_bits
* (2*bits - weight_bits + 1) / 2` of entries. Nothing leaks: the server sees choices masked by
correlations, the client entries masked by pads.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U64
from moiety.protocols.cost import Cost, Size, Work, cost_of, local
from moiety.protocols.ot.transfers import answer_cost, choose_cost
from moiety.protocols.session import Session

PASSES = 3
"""Over the values of one place, by both parties: entries or bits, shares, their sum."""


def weigh(session: Session, x: U64, bits: int, weight_bits: int, weights: U64 | None = None) -> U64:
    """This party's share of the weighted values, uint64 `(n,)`, of x uint64 `(n,)`. `weights`
    uint64 `(n,)` are the client's, None at the server.
    """
    total = np.zeros_like(x)
    if weights is None:
        nothing = np.zeros(x.size, np.uint8)
        for place, accepted in enumerate(session.sender.accept_rows(weight_bits, x.size, 1)):
            entries = ring.reduce(x, bits - place)
            made = session.sender.multiply(accepted, entries, nothing, bits - place)
            total += made << np.uint64(place)
        return ring.reduce(total, bits)
    places = np.arange(weight_bits, dtype=np.uint64)[:, None]
    choices = (weights >> places & np.uint64(1)).astype(np.uint8)
    for place, chosen in enumerate(session.receiver.choose_rows(choices, 1)):
        total += session.receiver.additive(chosen, bits - place) << np.uint64(place)
    return ring.reduce(weights * x + total, bits)


@cost_of(weigh)
def weigh_cost(n: Size, bits: int, weight_bits: int) -> Cost:
    """Of n values."""
    total = local("pass", PASSES * weight_bits * n) + choose_cost("C", n, 1, weight_bits)
    made, read = (Work("mux_send", n),), (Work("open_1", n),)
    for place in range(weight_bits):
        total = total + answer_cost("S", n, 1, bits - place, made, read)
    return total
