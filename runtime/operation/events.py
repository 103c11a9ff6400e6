"""What happens at a party, in the words that the audit log keeps and the metrics count.

An event is one small JSON object: `msgspec.json.encode` of it is also what a process that serves a
client may tell the process that started it.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Peer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The other side of a connection. `fingerprint`: SHA-256 of its certificate, hexadecimal, none
    over plain TCP; `name`: what this side calls it.
    """

    address: str
    fingerprint: str | None = None
    name: str | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One image of the hospital's, told to its own log alone: by hash, never by name."""

    file_sha256: str
    pixel_sha256: str | None = None
    verdict: str = "accepted"


class Event(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=str.lower, omit_defaults=True
):
    """All that follow. The address of a peer has its port, and tells its sessions apart."""


class Started(Event, frozen=True, kw_only=True):
    """The command begins its work: a server prepares, a client will connect."""

    release: str


class Ready(Event, frozen=True, kw_only=True):
    """Clients are served from now on."""


class Stopping(Event, frozen=True, kw_only=True):
    """No client is accepted any more."""

    reason: str = ""


class Queue(Event, frozen=True, kw_only=True):
    """So many clients wait for a place. Of the moment: no audit log keeps it."""

    waiting: int


class Refused(Event, frozen=True, kw_only=True):
    """A client that asked and never got a session. `reason` is one word of a small set."""

    peer: Peer
    reason: str
    message: str = ""


class Dropped(Event, frozen=True, kw_only=True):
    """A connection that ended before anybody knew what it wanted: a port scanner, a silent socket.
    Counted alone, as `Queue` is.
    """

    peer: Peer
    reason: str


class Joined(Event, frozen=True, kw_only=True):
    """A session begins: the peer is known, and has its place."""

    peer: Peer


class Begun(Event, frozen=True, kw_only=True):
    """A run is about to start; with quotas it has been counted. `images` has as many as there are
    `count`ed at the hospital, and is empty at the vendor, who knows no more than their number.
    """

    peer: Peer
    count: int
    images: tuple[Image, ...] = ()


class Finished(Event, frozen=True, kw_only=True):
    """The run that was begun last in this session is complete. Bytes are this side's."""

    peer: Peer
    count: int
    seconds: float
    sent: int
    received: int


class Deviated(Event, frozen=True, kw_only=True):
    """A consistency check of what the peer sent has failed; the connection is over. `failures`: how
    many of this client's by now, 0 where nobody counts.
    """

    peer: Peer
    failures: int
    reason: str


class Aggregated(Event, frozen=True, kw_only=True):
    """The aggregate of a cohort of so many images is about to be revealed; once for a cohort."""

    peer: Peer
    cohort: str
    images: int


End = Literal["done", "failed", "denied", "stopped"]


class Left(Event, frozen=True, kw_only=True):
    """A session ends. `images` were finished in it; `sent` and `received` is all that it took."""

    peer: Peer
    end: End
    images: int
    sent: int
    received: int
    reason: str = ""


AnyEvent = (
    Started
    | Ready
    | Stopping
    | Queue
    | Refused
    | Dropped
    | Joined
    | Begun
    | Finished
    | Deviated
    | Aggregated
    | Left
)

COUNTED_ALONE = (Queue, Dropped)
"""What no audit log keeps."""
