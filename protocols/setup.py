"""Opening a session: base transfers and punctured trees, in both directions, and the proof that
both parties have seen the same messages.

Functionality: both directions of transfer get a fresh delta, known to the direction's sender alone,
and the trees that SoftSpoken expands (ot/base_ot, ot/softspoken). Both parties also get the
connection's public keys, which follow from all messages (ot/keys). Nothing else is learned: invalid
group elements are refused, and trees that do not fit together.

Three flights, S C S, 13440 bytes each way. The server's `delta` (direction server -> client) is
fixed by its base transfer choices in flight 1, the client's in flight 2; each is answered in the
next flight. A party begins with a fresh share of a secret, and ends its last flight with a tag over
all messages (ot/confirmation): bytes of another connection, or changed ones, end the set-up before
the server has answered, or the client has used, any of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from moiety.protocols.arrays import U8
from moiety.protocols.channel import Channel
from moiety.protocols.cost import Cost, cost_of
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot import base_ot, confirmation
from moiety.protocols.ot.confirmation import SHARE_BYTES, TAG_BYTES, Secret, tag_of
from moiety.protocols.ot.consistency import Chain
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.ot.keys import HashKeys, Transcript
from moiety.protocols.ot.mixed import mixed_receiver, mixed_sender
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.ot.softspoken import (
    PUNCTURE_BYTES,
    TRANSFERS,
    TREES,
    SoftSpokenReceiver,
    SoftSpokenSender,
    delta_bits,
    full_trees,
    punctured_trees,
)
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session

_TO_CLIENT, _TO_SERVER = b"server->client", b"client->server"
_TREES, _REFILLS, _PADS, _CHECKS = b" trees", b" refills", b" pads", b" checks"
"""What a direction's keys are for."""

OPENING_BYTES = base_ot.receiver_bytes(TRANSFERS)


def open_session(
    role: Role,
    channel: Channel,
    prg: Prg | None = None,
    silent_from: int = NEVER_SILENT,
    workers: Workers | None = None,
    network: Network = LAN,
    binding: bytes = bytes(32),
) -> Session:
    """Run the set-up with the peer and return this party's Session. `prg` is this party's
    randomness; the operating system's when None. Choices of at least `silent_from` bits take silent
    correlations, and comparisons are cut into digits for `network`; both must be the peer's, too.
    `workers` are this party's threads (None: one). `binding` is a hash of who the parties are and
    of all that they agreed on before; with `silent_from` it goes into every key.

    Raises `NetworkFailure` when the peer is gone or sends invalid group elements, `UntrustedPeer`
    when it has not seen the same messages and `binding`, `DeviatingPeer` for inconsistent trees.
    """
    prg, workers = prg or Prg.from_os(), workers or Workers()
    context = hashlib.sha256(binding + silent_from.to_bytes(4, "little")).digest()
    transcript, secret = Transcript(context), Secret.fresh(prg)
    with channel.meter.labelled("setup"):
        if role is Role.SERVER:
            _send(secret.share, channel, transcript)
            start, delta = _puncture(_TO_CLIENT + context, channel, prg, transcript)
            shared = secret.shared(_recv(SHARE_BYTES, channel, transcript))
            trees = _punctured(start, delta, channel, transcript)
            asked = _recv(OPENING_BYTES, channel, transcript)
            _check(Role.CLIENT, shared, channel, transcript)
            leaves = trees()
            whole = _grow(_TO_SERVER + context, asked, channel, prg, transcript)
            _confirm(Role.SERVER, shared, channel, transcript)
        else:
            shared = secret.shared(_recv(SHARE_BYTES, channel, transcript))
            asked = _recv(OPENING_BYTES, channel, transcript)
            _send(secret.share, channel, transcript)
            whole = _grow(_TO_CLIENT + context, asked, channel, prg, transcript)
            start, delta = _puncture(_TO_SERVER + context, channel, prg, transcript)
            _confirm(Role.CLIENT, shared, channel, transcript)
            trees = _punctured(start, delta, channel, transcript)
            _check(Role.SERVER, shared, channel, transcript)
            leaves = trees()
        channel.flush()

    def keys(tag: bytes, use: bytes) -> HashKeys:
        return HashKeys(transcript.keys(tag + use, 1)[0])

    def chain(tag: bytes, use: bytes = b"") -> Chain:
        return Chain(transcript.keys(tag + _CHECKS + use, 2).tobytes())

    def chains(tag: bytes) -> list[Chain]:
        return [chain(tag, use) for use in (b" bits", b" nibbles")]

    out, back = (_TO_CLIENT, _TO_SERVER) if role is Role.SERVER else (_TO_SERVER, _TO_CLIENT)
    sender = SoftSpokenSender(channel, leaves, chain(out), delta, workers)
    receiver = SoftSpokenReceiver(channel, whole, chain(back), workers)
    # Both generators of a direction start from its one set-up, and so have the same delta.
    mixed_s = mixed_sender(
        channel, sender, prg.fork(), keys(out, _REFILLS), silent_from, chains(out), workers
    )
    mixed_r = mixed_receiver(
        channel, receiver, prg.fork(), keys(back, _REFILLS), silent_from, chains(back), workers
    )
    to_peer = TransferSender(channel, mixed_s, keys(out, _PADS), workers)
    from_peer = TransferReceiver(channel, mixed_r, keys(back, _PADS), workers)
    return Session(role, channel, prg, to_peer, from_peer, network, workers)


@cost_of(open_session)
def open_session_cost() -> Cost:
    """The base transfers of each direction, and the trees that come with their answer."""
    answer = base_ot.SENDER_BYTES + PUNCTURE_BYTES
    return Cost.of(
        ("S", SHARE_BYTES + OPENING_BYTES),
        ("C", SHARE_BYTES + answer + OPENING_BYTES + TAG_BYTES),
        ("S", answer + TAG_BYTES),
    )


def _send(message: bytes, channel: Channel, transcript: Transcript) -> None:
    channel.send(message)
    transcript.add(message)


def _recv(nbytes: int, channel: Channel, transcript: Transcript) -> bytes:
    message = channel.recv(nbytes).tobytes()
    transcript.add(message)
    return message


def _confirm(role: Role, shared: bytes, channel: Channel, transcript: Transcript) -> None:
    """Prove to the peer that this party, `role`, has seen all messages so far."""
    _send(tag_of(role, shared, transcript.digest()), channel, transcript)


def _check(role: Role, shared: bytes, channel: Channel, transcript: Transcript) -> None:
    """The peer's proof. Raises `UntrustedPeer` when it has not seen this party's messages."""
    expected = tag_of(role, shared, transcript.digest())
    confirmation.check(expected, _recv(TAG_BYTES, channel, transcript))


def _puncture(
    tag: bytes, channel: Channel, prg: Prg, transcript: Transcript
) -> tuple[base_ot.BaseReceiver, U8]:
    """The coming transfer sender asks for all leaves but delta's: it is the base transfers'
    receiver. Returns what finishes them, and delta uint8 `(16,)`.
    """
    delta = prg.bytes(16)
    start = base_ot.BaseReceiver.start(tag, 1 - delta_bits(delta).reshape(-1), prg)
    _send(start.message, channel, transcript)
    return start, delta


def _punctured(
    start: base_ot.BaseReceiver,
    delta: U8,
    channel: Channel,
    transcript: Transcript,
) -> Callable[[], U8]:
    """It takes the answer. Returns what gives its leaves, or raises `DeviatingPeer`: to be called
    once the peer has confirmed that these are its messages.
    """
    answer = _recv(base_ot.SENDER_BYTES, channel, transcript)
    doubling = transcript.keys(start.tag + _TREES, 2)
    message = _recv(PUNCTURE_BYTES, channel, transcript)
    return partial(punctured_trees, delta, message, start.finish(answer), doubling)


def _grow(
    tag: bytes,
    asked: bytes,
    channel: Channel,
    prg: Prg,
    transcript: Transcript,
) -> U8:
    """The coming transfer receiver grows whole trees, and answers the peer's opening as the base
    transfers' sender. Returns its leaves.
    """
    answer, keys = base_ot.send(tag, asked, prg)
    _send(answer, channel, transcript)
    doubling = transcript.keys(tag + _TREES, 2)
    message, leaves = full_trees(prg.bytes(16 * TREES).reshape(TREES, 16), keys, doubling)
    _send(message, channel, transcript)
    return leaves
