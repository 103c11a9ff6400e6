"""Boolean to additive shares: the B2A of CrypTFlow2 (CCS 2020), as a lookup in place of a
correlated transfer.

Functionality: XOR shares of a bit to additive shares of it modulo 2^bits, exact, 1 <= bits <= 64.
One 1-of-2 transfer, client -> server: the server's choice is its share, entry j is `j ^ client's
share`. Flights S C: per element a correlation of width 1 and a 1-bit choice, then `bits` bits. The
choice leaves with the last answer of the comparison that made the bit, and the client, whose share
is set by its pad, goes on in the flight of its answer. Nothing leaks.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.cost import Cost, Size, Work, cost_of, local
from moiety.protocols.ot.transfers import answer_cost, choose_cost
from moiety.protocols.session import Session


def bit_to_ring(session: Session, bit: U8, bits: int) -> U64:
    """Additive shares modulo 2^bits of an XOR-shared bit, uint8 `(n,)` -> uint64 `(n,)`."""
    if session.is_server:
        return session.receiver.additive(session.receiver.choose(bit, 1), bits)
    accepted = session.sender.accept(bit.size, 1)
    return session.sender.multiply(accepted, np.ones(bit.size, np.uint64), bit, bits)


@cost_of(bit_to_ring)
def bit_to_ring_cost(n: Size, bits: Size) -> Cost:
    """Of n bits."""
    made, read = (Work("mux_send", n),), (Work("open_1", n),)
    answered = answer_cost("C", n, 1, bits, made, read)
    return choose_cost("S", n, 1) + local("pass", n, "C") + answered
