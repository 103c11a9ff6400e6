"""Opening a shared value to the client.

Functionality: additive shares modulo 2^bits, 1 <= bits <= 64, to the ring elements at the client,
nothing at the server; exact. The client learns the value, which is the purpose; n values of `bits`
bits in one flight, S, before which all silent correlations are settled (protocols/settlement).
"""

from __future__ import annotations

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import U64
from moiety.protocols.cost import Cost, Size, cost_of, packed
from moiety.protocols.session import Session
from moiety.protocols.settlement import settle, settle_cost


def reveal_to_client(session: Session, x: U64, bits: int) -> U64 | None:
    """The client gets the ring elements, uint64 of x's shape, the server None. Raises
    `DeviatingPeer`.
    """
    settle(session)
    if session.is_server:
        session.channel.send(kernels.pack(x.reshape(-1), bits))
        session.channel.flush()
        return None
    theirs = kernels.unpack(session.channel.recv(packed(x.size, bits)), x.size, bits)
    return ring.reduce(x + theirs.reshape(x.shape), bits)


@cost_of(reveal_to_client)
def reveal_to_client_cost(n: Size, bits: Size) -> Cost:
    """Of n values."""
    return settle_cost() + Cost.of(("S", packed(n, bits)))
