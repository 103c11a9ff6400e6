"""Linear layers prepared on a session of their own, all in two flights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from moiety.protocols.arrays import U64
from moiety.protocols.linear.server import ServerLinear
from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.linear.split import (
    SEED_BYTES,
    ClientMaterial,
    OfflineClient,
    OfflineServer,
    ServerMaterial,
)
from moiety.protocols.session import Session


def offline_server(session: Session, layers: Sequence[ServerLinear]) -> ServerMaterial:
    """The server's part of these layers."""
    seed = session.prg.bytes(SEED_BYTES).tobytes()
    part = OfflineServer({layer.layer: layer for layer in layers}, seed)
    part.answer(session, list(part.layers))
    session.channel.flush()
    return part.material()


def offline_client(
    session: Session,
    specs: Mapping[int, LinearSpec],
    public_seed: bytes,
    seed: bytes | None = None,
    known: Callable[[int], U64 | None] = lambda _: None,
) -> ClientMaterial:
    """The client's part, with this seed of its masks or a new one."""
    seed = seed or session.prg.bytes(SEED_BYTES).tobytes()
    part = OfflineClient(specs, public_seed, seed, known)
    part.request(session, list(specs))
    part.open(session, list(specs))
    return part.material()
