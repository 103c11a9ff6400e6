"""What the server and the process of a connection tell each other, as lines of JSON over a pair of
sockets that the two share from birth.

    process of a connection         server
      Wants  ──────────────────────▶          handshake done, the client may ask
             ◀──────────────────────  Place   0 or more: how many sessions end before its own begins
             ◀──────────────────────  Go      or Busy, which is the end of it
      Began, Done  ────────────────▶          of each run
      Ended  ──────────────────────▶          and exit

`Phase` and `Lost` the server says of itself and of a process that ended without a word; they go to
the Recorder alone, as do all reports.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from moiety.protocols import errors
from moiety.protocols.errors import MoietyError


class Word(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    pass


class Wants(Word, frozen=True, kw_only=True):
    """The client of this fingerprint (None: no certificate) wants a place."""

    fingerprint: str | None
    name: str | None


class Began(Word, frozen=True, kw_only=True):
    """A run that may take so many seconds has begun."""

    images: int
    limit: float


class Done(Word, frozen=True, kw_only=True):
    """A run is done, at this cost."""

    images: int
    seconds: float
    cpu_seconds: float
    sent: int
    received: int
    peak_rss: int


Outcome = Literal["finished", "failed", "refused", "dropped", "stopped"]


class Ended(Word, frozen=True, kw_only=True):
    """The connection is over. finished, or failed in service; refused in words, or dropped without,
    before it came to that; stopped at any time with the server. `wire_bytes`: everything, both
    ways.
    """

    outcome: Outcome
    why: str = ""
    reason: str = ""
    images: int = 0
    wire_bytes: int = 0


class Lost(Word, frozen=True, kw_only=True):
    """A connection's process is gone without saying so: killed, out of memory, crashed."""

    why: str
    served: bool


class Phase(Word, frozen=True, kw_only=True):
    phase: Literal["preparing", "ready", "stopping"]


class Failed(Word, frozen=True, kw_only=True):
    """The process failed: the name of an exception of protocols/errors, its message."""

    error: str
    message: str

    @classmethod
    def of(cls, error: MoietyError) -> Failed:
        return cls(error=type(error).__name__, message=str(error))

    def exception(self) -> MoietyError:
        """The same again, in another process."""
        return getattr(errors, self.error, errors.ContractViolation)(self.message)


class Place(Word, frozen=True, kw_only=True):
    """So many sessions end before this client's begins, in about so many seconds."""

    ahead: int
    seconds: float


class Go(Word, frozen=True, kw_only=True):
    """A place is free: begin."""


class Busy(Word, frozen=True, kw_only=True):
    """There is no place to wait in; there may be one in about so many seconds."""

    seconds: float


Report = Wants | Go | Began | Done | Ended | Lost | Phase
Spoken = Wants | Began | Done | Ended | Failed
Order = Place | Go | Busy
