"""Boolean to additive shares (B2A)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moiety.protocols import ring
from moiety.protocols.ring import U64
from moiety.protocols.session import Session


def bit_to_ring(session: Session, bit: npt.NDArray[np.uint8], bits: int) -> U64:
    """Additive shares modulo 2^bits of an XOR-shared bit, uint8 `(n,)` -> uint64 `(n,)`.

    One 1-of-2 transfer server -> client: choice is the client's share, entry j is `j
    ^ server's share`. Flights CS.
    """
    if session.is_server:
        batch = session.sender.accept(bit.size, 1)
        table = (bit[:, None] ^ np.arange(2, dtype=np.uint8)).astype(np.uint64)
        return session.sender.additive(batch, table, bits)
    batch_ = session.receiver.choose(bit, 1)
    return ring.reduce(session.receiver.additive(batch_, bits), bits)
