"""What a worker and the server that it works for, its front, tell each other of one client:
messages of JSON over TLS with the vendor's one key at both ends.

    client              front                        worker
      Hello ───────────▶                                          as with any server: admitted, and
            ◀─────────── Waiting ... Elsewhere                    a place is given: worker, ticket
      Hello, ticket ─────────────────────────────────▶
                              ◀──────────────────────  Hello, Redeem
                        Redeemed  ───────────────────▶            the ticket is void from now on
            ◀─────────────────────────────────────────  Ready
                              ◀──────────────────────  Take       before each run: counted, written
                        Taken     ───────────────────▶            to the audit log, or denied
                              ◀──────────────────────  Failed     a check of what the client sent
                        Taken     ───────────────────▶            has failed: counted, written
                              ◀──────────────────────  Told       Began, Done of each run; Ended

So who may ask, how much, and what has happened is known in one place, the front, and a worker that
cannot ask it runs nothing.
"""

from __future__ import annotations

import msgspec

from moiety.runtime.party.handshake import Hello, Message
from moiety.runtime.party.server.reports import Began, Done, Ended


class Redeem(Message, frozen=True, tag="redeem", kw_only=True):
    """A client with this certificate (None: none) has shown this ticket."""

    ticket: str
    fingerprint: str | None


class Redeemed(Message, frozen=True, tag="redeemed", kw_only=True):
    """The ticket was good; what the client is called, and how many images and cohorts it may still
    ask for (None: no limit). Or why it is `denied`.
    """

    name: str | None = None
    images_left: int | None = None
    cohorts: int | None = None
    denied: str = ""


class Take(Message, frozen=True, tag="take", kw_only=True):
    """The client is about to run so many images together."""

    images: int


class Reveal(Message, frozen=True, tag="reveal", kw_only=True):
    """The aggregate of a cohort of so many images is about to be revealed; answered by Taken."""

    cohort: str
    images: int


class Failed(Message, frozen=True, tag="failed", kw_only=True):
    """A check of what the client sent has failed; answered by Taken."""

    why: str


class Taken(Message, frozen=True, tag="taken", kw_only=True):
    """It is counted, and written down; or why it is `denied`."""

    denied: str = ""


class Told(Message, frozen=True, tag="told", kw_only=True):
    """What has happened at the worker."""

    report: Began | Done | Ended


AnyMessage = Hello | Redeem | Redeemed | Take | Reveal | Failed | Taken | Told
DECODER: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)
