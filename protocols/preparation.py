"""Preparing a run's transfers: what will be asked is written down, pads are made and stored, and a
later run takes from the store (ot/prepared).

Functionality of `prepare`: none but what both parties keep. Each gets random pads and choices as
the run would have drawn them; they depend on no input. Nothing leaks: what is sent is what drawing
correlations sends, and the check of all of them (protocols/settlement) comes before the result
counts. The two directions' draws go in turns, the client's first: a flight each way for every
split.RUN correlations.

What is stored is as secret as the run's inputs, and must be used once: the same pads under two
answers give away the difference of their entries, the same u under two choices that of the choices.
Within a run that is seen to here; across runs it is the store's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from moiety.protocols.cost import Cost, cost_of
from moiety.protocols.errors import ContractViolation
from moiety.protocols.network import Network
from moiety.protocols.ot.demand import Demand, OneWay
from moiety.protocols.ot.making import make_received, make_sent
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.ot.prepared import PreparedReceiver, PreparedSender, Sink, Source
from moiety.protocols.ot.recording import RecordingReceiver, RecordingSender, SilentChannel
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle
from moiety.protocols.split import in_turns, runs_of


def record(role: Role, network: Network, body: Callable[[Session], object]) -> Demand:
    """What `body` asks of the transfers of a Session of this role, planned for this network. It
    runs without a peer: what it receives is zeros. Both parties' records are equal.
    """
    channel = SilentChannel()
    sender, receiver = RecordingSender(channel), RecordingReceiver(channel)
    body(Session(role, channel, Prg.from_os(), sender, receiver, network))
    return _by_client(role, sender.record.way(), receiver.record.way())


def prepare(session: Session, demand: Demand, mine: Sink) -> None:
    """Make the pads of a run of this demand, which is the peer's too, and write this party's to
    `mine`. Raises `DeviatingPeer`: what was written then counts for nothing.
    """
    sender, receiver = session.sender, session.receiver
    if not isinstance(sender, TransferSender) or not isinstance(receiver, TransferReceiver):
        raise ContractViolation("transfers are prepared from a session that draws on demand")
    to_peer, from_peer = _ways(session.role, demand)
    makers: list[Iterator[None]] = [
        make_sent(sender, to_peer, mine),
        make_received(receiver, from_peer, mine),
    ]
    if not session.is_server:
        makers.reverse()
    while makers:
        for maker in tuple(makers):
            if next(maker, _OVER) is _OVER:
                makers.remove(maker)
            session.channel.flush()
    settle(session)


_OVER = object()


@cost_of(prepare)
def prepare_cost(demand: Demand) -> Cost:
    """Its draws, in the order in which they are made, and their check."""

    def taken(way: OneWay) -> Iterator[tuple[int, int]]:
        return ((piece.n, piece.k) for piece in way.pieces())

    client, server = taken(demand.to_client), taken(demand.to_server)
    return in_turns(runs_of("C", client), runs_of("S", server))


@contextmanager
def answering(demand: Demand, source: Source, session: Session) -> Iterator[Session]:
    """The same session for a run that takes from `source`, which was prepared for this demand: a
    run of this body and no other. Raises `ContractViolation` where the run ends with pads left.
    """
    to_peer, from_peer = _ways(session.role, demand)
    sender = PreparedSender(session.channel, to_peer, source, session.workers)
    receiver = PreparedReceiver(session.channel, from_peer, source, session.workers)
    yield replace(session, sender=sender, receiver=receiver)
    sender.finish()
    receiver.finish()


def _ways(role: Role, demand: Demand) -> tuple[OneWay, OneWay]:
    """What a party of this role sends, and what it receives."""
    ways = demand.to_client, demand.to_server
    return ways if role is Role.SERVER else (ways[1], ways[0])


def _by_client(role: Role, sent: OneWay, received: OneWay) -> Demand:
    return Demand(sent, received) if role is Role.SERVER else Demand(received, sent)
