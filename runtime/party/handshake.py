"""The control messages between `moiety infer` and `moiety serve`, and the handshake.

    client                          server
      ══════════════ TLS ═════════════        where the two sides have keys
             ◀──────────────────────  Hello   at once: the client is believed, or refused here
      Hello  ──────────────────────▶          at once; both compare, both refuse in their own words
             ◀──────────────────────  Waiting while another client is served (0 or more)
             ◀──────────────────────  Ready    or Elsewhere, which is the end of this connection
      ═══════ open_session (protocol bytes) ═══════
      Begin  ──────────────────────▶          one per run of one or several images
      ═══════ one inference (protocol bytes) ══════
             ◀──────────────────────  Served  what it cost the server
      GOODBYE, or Begin again; or where runs are prepared ahead (runtime/store), once before them
      Stored ──────────────────────▶          where its store stands, or its offer for a new one
             ◀──────────────────────  Stored  the same; both learn whether either is an older copy
      and then, for each item
      Prepare ─────────────────────▶
             ◀──────────────────────  Prepare it has room for one more
      ═══════ one preparation (protocol bytes) ════
             ◀──────────────────────  Served  its half is on its disk
      and for a run that takes one, between Begin and the inference
             ◀──────────────────────  Stored  the server has marked the item, too
      or where the policy is `aggregate`, once for a cohort
      Aggregate  ──────────────────▶          and the ids of its runs, as protocol bytes
      ═══════ the aggregate (protocol bytes) ══════
             ◀──────────────────────  Served

A server that has workers computes nothing itself: its Elsewhere names the worker of this client and
a ticket that it takes. The client connects there, shows the ticket in its Hello, and all goes on as
above (runtime/party/server/worker_line.py has what worker and server then say to each other).

Every message is one MESSAGE frame of JSON; either side may send ERROR with a `Refusal` instead and
close. Over TLS a client's handshake succeeds before the server has looked at its certificate; that
the server then speaks first tells the client a refusal from a broken network. Unknown fields are
ignored, so that a newer peer can still be told apart by its `protocol` number rather than by a
parse error.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any, Literal, TypeVar

import msgspec

from moiety.protocols import kernels
from moiety.protocols.errors import (
    DeviatingPeer,
    MoietyError,
    NetworkFailure,
    PeerMismatch,
    UntrustedPeer,
)
from moiety.protocols.session import Role
from moiety.runtime.party.framing import Line, PeerAccuses, PeerError, PeerRefused
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Program
from moiety.runtime.program.decoding import UNREADABLE
from moiety.runtime.program.linear_layers import MAX_BATCH

PROTOCOL = 8
HANDSHAKE_SECONDS = 10.0
LONGEST_WAIT = 24 * 3600.0
"""Seconds that a busy server may ask a client to wait."""

# What the two sides' kernels must agree on bit for bit; the backend that computes it may differ.
CRYPTOGRAPHY = {
    "vole": "f16-32: softspoken, regular LPN 870400/81920/850 over F_2 and graded over F_16",
    "hash": "mmo-aes128, keyed by the set-up, 2^10 blocks a key",
    "base_ot": "endemic-edwards25519",
    "confirmation": "x25519 hmac-sha256",
    "checks": "columns over 2^128, sums of silent trees over F_16[y], challenge sha256",
    "rlwe": "hint-1",
}


class Message(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    pass


class Hello(Message, frozen=True, tag="hello", kw_only=True):
    """`batches`, a server's offer: numbers of images that may share a run -> digest of the layouts
    that it has planned for so many (linear_layers.layout_digest). `nonce`: drawn for this
    connection. `ticket`: a client's, at a worker.
    """

    magic: Literal["moiety"] = "moiety"
    protocol: int
    package: str
    role: Literal["server", "client", "worker"]
    program: str
    program_name: str
    rounding: str
    cryptography: dict[str, str]
    ot: str = "auto"
    backend: str = "unknown"
    batches: dict[int, str] = {}
    nonce: str = ""
    ticket: str = ""


class Waiting(Message, frozen=True, tag="waiting", kw_only=True):
    """It is not this client's turn yet: `ahead` sessions end before its own begins, in about
    `seconds` (0: nobody knows), or with 0 the server is still preparing.
    """

    ahead: int
    seconds: float = 0.0


class Ready(Message, frozen=True, tag="ready", kw_only=True):
    """It is this client's turn; `nonce` is that of its Hello, so that a recorded Ready is none.
    `images_left`, `cohorts_left`: how many it may still ask for, of cohorts the aggregates; None:
    there is no limit.
    """

    nonce: str
    images_left: int | None = None
    cohorts_left: int | None = None


class Elsewhere(Message, frozen=True, tag="elsewhere", kw_only=True):
    """It is this client's turn, at the worker that listens there, which takes the `ticket` once;
    `nonce` as of Ready.
    """

    host: str
    port: int
    ticket: str
    nonce: str


class Stored(Message, frozen=True, tag="stored", kw_only=True):
    """Of what was prepared for runs of so many `images` (runtime/store), in hexadecimal digits: the
    `offer` of who has no store and wants one to be founded, or the `position` of a store that is
    there. The server answers with the same, or with `why` it does not; `gone`: it has no store that
    goes with the client's. A new store is one when the client has said where its own stands; until
    then the server keeps the old one. `anew`: the client's user gives up what the server has
    prepared with another store of the client, and with `skip_to` all items before this one.
    """

    images: int = 1
    skip_to: int = 0
    offer: str = ""
    anew: bool = False
    position: str = ""
    why: str = ""
    gone: bool = False


class Prepare(Message, frozen=True, tag="prepare", kw_only=True):
    """The client wants to prepare item `index` for a run of so many images. The server answers with
    the same and the digest `demand` of what such a run asks for, which is the client's, too; or
    with `why` it does not.
    """

    index: int
    images: int = 1
    demand: str = ""
    why: str = ""


class Begin(Message, frozen=True, tag="begin", kw_only=True):
    """The client is about to run its images from number `index` (counted from 0) of this
    connection, `images` of them together. `cohort`: where the policy reveals nothing of them, 32
    hexadecimal digits of the client's choice under which their shares are kept. `item`: what was
    prepared for them, that the client has marked as used, and `position`, where its store then
    stands; the server marks it, too, and says so (`Stored`).
    """

    index: int
    images: int = 1
    cohort: str = ""
    item: int | None = None
    position: str = ""


class Aggregate(Message, frozen=True, tag="aggregate", kw_only=True):
    """The client asks for what is revealed of a cohort, of so many of its `images`; their runs' ids
    follow, 16 bytes each (cohorts.run_ids).
    """

    cohort: str
    images: int


class Served(Message, frozen=True, tag="served", kw_only=True):
    """The server's cost of one run, or of an aggregate: wall and CPU seconds, and the peak resident
    bytes of its process so far.
    """

    seconds: float
    cpu_seconds: float
    peak_rss: int


Reason = Literal["mismatch", "untrusted", "busy", "denied", "stopping", "deviating", "failed"]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an ERROR frame: why the sender ends the connection, in words for the
    peer's user; of a busy server, in how many seconds it may have a place.
    """

    reason: Reason
    message: str
    seconds: float | None = None


AnyMessage = Hello | Waiting | Ready | Elsewhere | Stored | Prepare | Begin | Aggregate | Served
_M = TypeVar("_M", bound=Message)
_decoder = msgspec.json.Decoder(AnyMessage)


def printable(text: str, length: int = 80) -> str:
    """The peer's words, fit for a log line or a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:length])


def package_version() -> str:
    return metadata.version("moiety")


def hello(
    role: Role,
    program: Program,
    ot: str = "auto",
    batches: Mapping[int, str] | None = None,
    ticket: str = "",
) -> Hello:
    """This side's Hello; `ot` is the generator of correlations that it asks for, `batches` a
    server's offer, `ticket` what a client shows to a worker.
    """
    return Hello(
        protocol=PROTOCOL,
        package=package_version(),
        role="server" if role is Role.SERVER else "client",
        program=program.digest(),
        program_name=program.name[:80],
        rounding=program.rounding,
        cryptography=CRYPTOGRAPHY,
        ot=ot,
        backend=kernels.backend_name(),
        batches=dict(batches or {}),
        nonce=secrets.token_hex(16),
        ticket=ticket,
    )


def meet(channel: TcpChannel, ours: Hello, seconds: float) -> Hello:
    """The peer's Hello, which fits ours; both sides say theirs at once. Raises `PeerMismatch`,
    `NetworkFailure`, and what the peer refused with.
    """
    send(channel, ours)
    with channel.deadline(seconds):
        theirs = receive(channel, Hello)
    compare(ours, theirs)
    return theirs


def binding(line: Line, ours: Hello, theirs: Hello) -> bytes:
    """The hash of who the two sides are and of all that they have told each other, for the session
    to rest on (protocols/setup): what both ends of the TLS connection have, both certificates
    (zeros over plain TCP) and both Hellos, the server's first.
    """
    sides = [(line.own, ours), (line.peer, theirs)]
    hashed = hashlib.sha256(b"moiety binding" + line.exporter)
    for key, hello in sorted(sides, key=lambda side: side[1].role, reverse=True):
        hashed.update(key.digest if key else bytes(32))
        hashed.update(hashlib.sha256(msgspec.json.encode(hello)).digest())
    return hashed.digest()


def check_fresh(ready: Ready | Elsewhere, ours: Hello) -> None:
    """Raises `UntrustedPeer` where the server's word is not for this connection. (The set-up proves
    it; this tells it before the network is measured on recorded bytes.)
    """
    if ready.nonce != ours.nonce:
        raise UntrustedPeer(
            "the server's answer belongs to another connection, as bytes do that somebody has "
            "recorded and plays back; nothing was computed. Try again, over TLS (moiety keys)"
        )


def refusal_of(error: MoietyError) -> Reason:
    """Why this side ends the connection, when it ends by `error`."""
    if isinstance(error, DeviatingPeer):
        return "deviating"
    return "untrusted" if isinstance(error, UntrustedPeer) else "failed"


def compare(ours: Hello, theirs: Hello) -> None:
    """Raises `PeerMismatch` that names the first field in which the two sides must agree and
    do not.
    """
    if theirs.role == ours.role:
        raise PeerMismatch(
            f"both sides are the {ours.role}; connect `moiety infer` to `moiety serve`"
        )
    if "server" not in (ours.role, theirs.role):
        raise PeerMismatch(f"a {theirs.role} does not serve a {ours.role}; connect to its front")
    for what, here, there, advice in _differences(ours, _printable_hello(theirs)):
        raise PeerMismatch(
            f"the two sides differ in {what}: here {here}, at the {theirs.role} {there}; {advice}"
        )


def _printable_hello(hello: Hello) -> Hello:
    """The peer's words, fit for a message to this side's user."""
    names = ("package", "program", "program_name", "rounding")
    words = {name: printable(getattr(hello, name)) for name in names}
    cryptography = {printable(k): printable(v) for k, v in hello.cryptography.items()}
    return msgspec.structs.replace(hello, **words, cryptography=cryptography)


def _differences(ours: Hello, theirs: Hello) -> Iterator[tuple[str, str, str, str]]:
    """(what, ours, theirs, advice) of all in which the two sides must agree and do not; what tells
    most comes first.
    """
    same_release = "install the same release on both sides"
    if theirs.protocol != ours.protocol:
        here, there = (f"{side.protocol} (moiety {side.package})" for side in (ours, theirs))
        yield "protocol version", here, there, same_release
    if theirs.package != ours.package:
        yield "package version", ours.package, theirs.package, same_release
    for name in sorted(ours.cryptography.keys() | theirs.cryptography.keys()):
        here, there = (side.cryptography.get(name, "absent") for side in (ours, theirs))
        if here != there:
            yield f"the parameter '{name}'", here, there, same_release
    if theirs.program != ours.program:
        here, there = (f"'{side.program_name}' {side.program[:16]}..." for side in (ours, theirs))
        unchanged = (
            "the hospital must use the file that this server's `moiety compile` wrote, unchanged"
        )
        yield "the Program", here, there, unchanged
    if theirs.ot != ours.ot and "auto" not in (theirs.ot, ours.ot):
        either = "leave --ot away on one side, or ask for the same"
        yield "the generator of correlations", ours.ot, theirs.ot, either
    if theirs.rounding != ours.rounding:
        yield "rounding", ours.rounding, theirs.rounding, "use one Program on both sides"


def batch_sizes(
    offer: Mapping[int, str], most: int, layout: Callable[[int], str]
) -> tuple[int, ...]:
    """The numbers of images that a client may put into one run, largest first, 1 always among them:
    what the server offers, up to `most`. `layout` is this side's digest for a number of images.

    Raises `PeerMismatch` where the two sides have planned differently.
    """
    sizes = sorted((size for size in offer if 1 < size <= min(most, MAX_BATCH)), reverse=True)
    for size in sizes:
        if layout(size) != offer[size]:
            raise PeerMismatch(
                f"the two sides plan runs of {size} images differently; "
                "install the same release on both sides, or run images one by one with --batch 1"
            )
    return (*sizes, 1)


def send(channel: TcpChannel, message: Message) -> None:
    channel.send_message(msgspec.json.encode(message))


def receive(
    channel: TcpChannel,
    *expected: type[_M],
    decoder: msgspec.json.Decoder[Any] = _decoder,
) -> _M:
    """The next message, one of the `expected` kinds. Raises what the peer refused with,
    or `NetworkFailure`.
    """
    try:
        payload = channel.receive_message()
    except PeerError as error:
        raise refused(error) from error
    try:
        message = decoder.decode(payload)
    except UNREADABLE as error:
        raise NetworkFailure(
            f"{channel.peer} sent a control message that is not understood: "
            f"{printable(str(error), 200)}"
        ) from error
    if not isinstance(message, expected):
        wanted = " or ".join(kind.__name__ for kind in expected)
        raise NetworkFailure(
            f"{channel.peer} is out of step: "
            f"it sent {type(message).__name__} where {wanted} was due"
        )
    return message


def refuse(channel: TcpChannel, reason: Reason, message: str, seconds: float | None = None) -> None:
    """Tell the peer why, and close."""
    refusal = Refusal(reason=reason, message=message[:4000], seconds=seconds)
    channel.close(error=msgspec.json.encode(refusal))


def refused(error: PeerError) -> MoietyError:
    """The exception that stands for the peer's ERROR frame on this side."""
    try:
        refusal = msgspec.json.decode(error.payload, type=Refusal)
    except UNREADABLE:
        return NetworkFailure("the peer ended the connection with an unreadable error message")
    text = printable(refusal.message, 2000)
    if refusal.reason == "mismatch":
        return PeerMismatch(f"the peer refuses: {text}")
    if refusal.reason == "untrusted":
        return UntrustedPeer(f"the peer refuses: {text}")
    if refusal.reason == "deviating":
        return PeerAccuses(f"the peer refuses: {text}")
    return PeerRefused(f"the peer ended the connection: {text}", refusal.reason, _wait_of(refusal))


def _wait_of(refusal: Refusal) -> float | None:
    """The seconds that it names; None where nobody would wait for so long, or could."""
    sensible = refusal.seconds is not None and 0 <= refusal.seconds <= LONGEST_WAIT
    return refusal.seconds if sensible else None
