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
    """The ticket was good, and the client is called so; or why it is `denied`."""

    name: str | None = None
    denied: str = ""


class Take(Message, frozen=True, tag="take", kw_only=True):
    """The client is about to run so many images together."""

    images: int


class Taken(Message, frozen=True, tag="taken", kw_only=True):
    """They are counted; or why they are `denied`."""

    denied: str = ""


class Told(Message, frozen=True, tag="told", kw_only=True):
    """What has happened at the worker."""

    report: Began | Done | Ended


DECODER: msgspec.json.Decoder[Hello | Redeem | Redeemed | Take | Taken | Told] = (
    msgspec.json.Decoder(Hello | Redeem | Redeemed | Take | Taken | Told)
)
