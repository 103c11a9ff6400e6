"""Boolean to additive shares: the B2A of CrypTFlow2 (CCS 2020), as a lookup in place of a
correlated transfer.

Functionality: XOR shares of a bit to additive shares of it modulo 2^bits, exact, 1 <= bits <= 64.
One 1-of-2 transfer, server -> client: the client's choice is its share, entry j is
`j ^ server's share`. Flights C S: per element a correlation of width 1 and a 1-bit choice, then
`bits` bits. Nothing leaks.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.cost import Cost, Size, Work, cost_of, local
from moiety.protocols.ot.transfers import Lookup, lookups_cost
from moiety.protocols.session import Session


def bit_to_ring(session: Session, bit: U8, bits: int) -> U64:
    """Additive shares modulo 2^bits of an XOR-shared bit, uint8 `(n,)` -> uint64 `(n,)`."""
    if session.is_server:
        accepted = session.sender.accept(bit.size, 1)
        table = (bit[:, None] ^ np.arange(2, dtype=np.uint8)).astype(np.uint64)
        return session.sender.additive(accepted, table, bits)
    chosen = session.receiver.choose(bit, 1)
    return ring.reduce(session.receiver.additive(chosen, bits), bits)


@cost_of(bit_to_ring)
def bit_to_ring_cost(n: Size, bits: Size) -> Cost:
    """Of n bits."""
    table = (Work("bit_table", n), Work("arith_send_1", n))
    return lookups_cost([Lookup(n, 1, bits, table, (Work("open_1", n),))]) + local("pass", n)
