"""Opening a shared value to one party."""

from __future__ import annotations

from moiety.protocols import kernels, ring
from moiety.protocols.ot.transfers import packed_bytes
from moiety.protocols.ring import U64
from moiety.protocols.session import Session


def reveal_to_client(session: Session, x: U64, bits: int) -> U64 | None:
    """The server sends its share; the client gets the ring elements, the server None. Flight S."""
    if session.is_server:
        session.channel.send(kernels.pack(x.reshape(-1), bits))
        session.channel.flush()
        return None
    theirs = kernels.unpack(session.channel.recv(packed_bytes(x.size, bits)), x.size, bits)
    return ring.reduce(x + theirs.reshape(x.shape), bits)
