"""Who a client is and what it is told, where that takes more than a line."""

from __future__ import annotations

from moiety.runtime.party.endpoints import Incoming
from moiety.runtime.party.framing import Line
from moiety.runtime.party.server.admission import Caller


def caller_of(incoming: Incoming, line: Line) -> Caller:
    """Who the client is, as far as its address and its key tell."""
    key = line.peer.digest.hex() if line.peer else None
    return Caller(incoming.address, incoming.port, key, line.name or None)


def named(line: Line) -> str:
    """Over what a client is connected, and who it is, as far as its key tells."""
    if line.peer is None:
        return " over plain TCP"
    return f" over TLS, key {line.peer}" + (f" of '{line.name}'" if line.name else "")


def busy_words(seconds: float) -> str:
    """For the user of a client that finds all places taken, and all places to wait in."""
    if seconds <= 0:
        return "the server is busy, and no more may wait for it; try again later"
    return f"the server is busy, and no more may wait for it; try again in about {in_time(seconds)}"


def item_lost_words(index: int | None) -> str:
    """For the user of a client whose run has met an item that this side cannot use."""
    return (
        f"prepared item {index} cannot be used at the server, and is lost; a new connection goes "
        "on with the next one"
    )


def in_time(seconds: float) -> str:
    """Seconds for people, rounded up."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{-(-seconds // 60):.0f} min"
