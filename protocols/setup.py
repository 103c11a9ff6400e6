"""Opening a session: base transfers and punctured trees, in both directions.

Functionality: both directions of transfer get a fresh delta, known to the direction's sender alone,
and the trees that SoftSpoken expands (ot/base_ot, ot/softspoken). Both parties also get the
connection's public keys, which follow from all messages (ot/keys). Nothing else is learned;
semi-honest, and invalid group elements are refused.

Three flights, S C S, 12320 bytes each way. The server's `delta` (direction server -> client) is
fixed by its base transfer choices in flight 1, the client's in flight 2; each is answered in the
next flight.
"""

from __future__ import annotations

from moiety.protocols.arrays import U8
from moiety.protocols.channel import Channel
from moiety.protocols.cost import Cost, cost_of
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot import base_ot
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.ot.keys import HashKeys, Transcript
from moiety.protocols.ot.mixed import mixed_receiver, mixed_sender
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
from moiety.protocols.ot.transfers import TransferReceiver, TransferSender
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session

_TO_CLIENT, _TO_SERVER = b"server->client", b"client->server"
_TREES, _REFILLS, _PADS = b" trees", b" refills", b" pads"
"""What a direction's keys are for."""


def open_session(
    role: Role,
    channel: Channel,
    prg: Prg | None = None,
    silent_from: int = NEVER_SILENT,
    workers: Workers | None = None,
    network: Network = LAN,
) -> Session:
    """Run the set-up with the peer and return this party's Session. `prg` is this party's
    randomness; the operating system's when None. Choices of at least `silent_from` bits take silent
    correlations, and comparisons are cut into digits for `network`; both must be the peer's, too.
    `workers` are this party's threads (None: one).

    Raises `NetworkFailure` when the peer is gone or sends invalid group elements.
    """
    prg, workers, transcript = prg or Prg.from_os(), workers or Workers(), Transcript()
    with channel.meter.labelled("setup"):
        if role is Role.SERVER:
            start, delta = _puncture(_TO_CLIENT, channel, prg, transcript)
            sender = _punctured(start, delta, channel, transcript, workers)
            receiver = _grow(_TO_SERVER, channel, prg, transcript, workers)
        else:
            receiver = _grow(_TO_CLIENT, channel, prg, transcript, workers)
            start, delta = _puncture(_TO_SERVER, channel, prg, transcript)
            sender = _punctured(start, delta, channel, transcript, workers)
        channel.flush()

    def keys(tag: bytes, use: bytes) -> HashKeys:
        return HashKeys(transcript.keys(tag + use, 1)[0])

    out, back = (_TO_CLIENT, _TO_SERVER) if role is Role.SERVER else (_TO_SERVER, _TO_CLIENT)
    # Both generators of a direction start from its one set-up, and so have the same delta.
    mixed_s = mixed_sender(channel, sender, prg.fork(), keys(out, _REFILLS), silent_from, workers)
    mixed_r = mixed_receiver(
        channel, receiver, prg.fork(), keys(back, _REFILLS), silent_from, workers
    )
    to_peer = TransferSender(channel, mixed_s, keys(out, _PADS), workers)
    from_peer = TransferReceiver(channel, mixed_r, keys(back, _PADS), workers)
    return Session(role, channel, prg, to_peer, from_peer, network, workers)


@cost_of(open_session)
def open_session_cost() -> Cost:
    """The base transfers of each direction, and the trees that come with their answer."""
    opening = base_ot.receiver_bytes(TRANSFERS)
    answer = base_ot.SENDER_BYTES + PUNCTURE_BYTES
    return Cost.of(("S", opening), ("C", answer + opening), ("S", answer))


def _puncture(
    tag: bytes, channel: Channel, prg: Prg, transcript: Transcript
) -> tuple[base_ot.BaseReceiver, U8]:
    """The coming transfer sender asks for all leaves but delta's: it is the base transfers'
    receiver. Returns what finishes them, and delta uint8 `(16,)`.
    """
    delta = prg.bytes(16)
    start = base_ot.BaseReceiver.start(tag, 1 - delta_bits(delta).reshape(-1), prg)
    channel.send(start.message)
    transcript.add(start.message)
    return start, delta


def _punctured(
    start: base_ot.BaseReceiver,
    delta: U8,
    channel: Channel,
    transcript: Transcript,
    workers: Workers,
) -> SoftSpokenSender:
    """It takes the answer, and has its generator."""
    answer = channel.recv(base_ot.SENDER_BYTES).tobytes()
    transcript.add(answer)
    doubling = transcript.keys(start.tag + _TREES, 2)
    message = channel.recv(PUNCTURE_BYTES).tobytes()
    transcript.add(message)
    leaves = punctured_trees(delta, message, start.finish(answer), doubling)
    return SoftSpokenSender(channel, leaves, delta, workers)


def _grow(
    tag: bytes, channel: Channel, prg: Prg, transcript: Transcript, workers: Workers
) -> SoftSpokenReceiver:
    """The coming transfer receiver grows whole trees, and answers as the base transfers' sender."""
    asked = channel.recv(base_ot.receiver_bytes(TRANSFERS)).tobytes()
    transcript.add(asked)
    answer, keys = base_ot.send(tag, asked, prg)
    transcript.add(answer)
    doubling = transcript.keys(tag + _TREES, 2)
    message, leaves = full_trees(prg.bytes(16 * TREES).reshape(TREES, 16), keys, doubling)
    transcript.add(message)
    channel.send(answer)
    channel.send(message)
    return SoftSpokenReceiver(channel, leaves, workers)
