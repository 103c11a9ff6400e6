"""What two parties put on a connection: frames, and the limits they hold each other to.

Frame, little endian: magic `b"MOI"`, kind u8, payload length u32, payload. Kinds:

    DATA       protocol bytes, a stream cut into frames without regard to messages (a protocol
               always knows how much comes next)
    MESSAGE    one JSON control message (runtime/party/handshake.py)
    ERROR      JSON `Refusal`; the sender closes after it
    GOODBYE    empty; an orderly end
    KEEPALIVE  empty; "this process lives", sent by the writer thread whenever nothing else was for
               some seconds
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from moiety.protocols.errors import DeviatingPeer, NetworkFailure
from moiety.runtime.operation.fingerprint import Fingerprint

MAGIC = b"MOI"
HEADER = struct.Struct("<3sBI")


class Frame(IntEnum):
    DATA = 1
    MESSAGE = 2
    ERROR = 3
    GOODBYE = 4
    KEEPALIVE = 5


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes; the defaults suit a run over the internet with steps of some minutes."""

    silence: float = 60.0
    patience: float = 600.0
    keepalive: float = 5.0
    frame_bytes: int = 16 << 20
    message_bytes: int = 64 << 10
    queue_bytes: int = 512 << 20
    socket_buffer: int = 4 << 20


class Stream(Protocol):
    """What frames travel on: as much of a connected socket as a channel needs. `send` may take a
    part, and 0 means that the same bytes are to be given again.
    """

    def fileno(self) -> int: ...

    def send(self, data: memoryview, /) -> int: ...

    def recv_into(self, buffer: memoryview, /) -> int: ...

    def settimeout(self, seconds: float | None, /) -> None: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Line:
    """Between whom a connection is, as far as its line proves it: nobody over plain TCP. `name`: of
    the peer's key in this side's store; `exporter`: what both ends of the TLS connection have, and
    no other.
    """

    own: Fingerprint | None = None
    peer: Fingerprint | None = None
    name: str = ""
    exporter: bytes = bytes(32)


PLAIN = Line()


class PeerError(NetworkFailure):
    """The peer sent an ERROR frame; `payload` is its body, undecoded."""

    def __init__(self, payload: bytes) -> None:
        super().__init__("the peer ended the connection with an error")
        self.payload = payload


class PeerRefused(NetworkFailure):
    """The peer ended the connection and said why: `reason` is that of handshake.Refusal, `seconds`
    after how long it may be asked again. What it denies has an exit code of its own: asking again
    does not help.
    """

    DENIED = 10

    def __init__(self, message: str, reason: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.seconds = seconds
        if reason == "denied":
            self.exit_code = self.DENIED


class PeerAccuses(DeviatingPeer):
    """The peer ended the connection and said that a check of what this side sent has failed. This
    side has found nothing.
    """


class PeerClosed(NetworkFailure):
    """The peer ended the connection; `orderly` when it said goodbye."""

    def __init__(self, message: str, orderly: bool) -> None:
        super().__init__(message)
        self.orderly = orderly


def looks_like(start: bytes) -> str:
    """What those who send these first bytes may be speaking."""
    if start[:4] in (b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"HTTP", b"CONN"):
        return "that is HTTP"
    if start[:1] == b"\x16" and start[1:2] == b"\x03":
        return "that is TLS"
    if start[:4] == b"SSH-":
        return "that is SSH"
    return f"its first bytes are {start.hex(' ')}"
