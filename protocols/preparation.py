"""Preparing a run's transfers: what will be asked is written down, pads are made and stored, and a
later run takes from the store (ot/prepared).

Functionality of `prepare`: none but what both parties keep. Each gets random pads and choices as
the run would have drawn them; they depend on no input. Nothing leaks: what is sent is what drawing
correlations sends, and the check of all of them (protocols/settlement) comes before the result
counts. The two directions' draws go in turns, the client's first, and then what was drawn before is
hashed at both: a flight each way or two for every split.RUN correlations.

What is stored is as secret as the run's inputs, and must be used once: the same pads under two
answers give away the difference of their entries, the same u under two choices that of the choices.
Within a run that is seen to here; across runs it is the store's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from moiety.protocols.cost import Cost, Draw, Event, Party, Send, Settle, cost_of, other, packed
from moiety.protocols.errors import ContractViolation
from moiety.protocols.network import Network
from moiety.protocols.ot.demand import Demand, Form, OneWay, Piece
from moiety.protocols.ot.early import Known
from moiety.protocols.ot.making import Run, make_received, make_sent, steps
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.ot.prepared import PreparedReceiver, PreparedSender, Sink, Source
from moiety.protocols.ot.recording import RecordingReceiver, RecordingSender, SilentChannel
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle

T = TypeVar("T")


def record(role: Role, network: Network, body: Callable[[Session], object]) -> Demand:
    """What `body` asks of the transfers of a Session of this role, planned for this network. It
    runs without a peer: what it receives is zeros. Both parties' records are equal.
    """
    return _recorded(role, network, body, keeps=False)[0]


def record_known(
    role: Role, network: Network, body: Callable[[Session], object]
) -> tuple[Demand, Known]:
    """The same of a run whose client's shares are known (compare/masked), and what this party knows
    of its choices and products: whatever it would receive, they are the same.
    """
    return _recorded(role, network, body, keeps=True)


def _recorded(
    role: Role, network: Network, body: Callable[[Session], object], keeps: bool
) -> tuple[Demand, Known]:
    channel = SilentChannel()
    sender, receiver = RecordingSender(channel, keeps), RecordingReceiver(channel, keeps)
    body(Session(role, channel, Prg.from_os(), sender, receiver, network))
    demand = _by_client(role, sender.record.way(), receiver.record.way())
    return demand, Known(receiver.record.known, sender.record.known)


def prepare(session: Session, demand: Demand, mine: Sink, known: Known | None = None) -> None:
    """Make the pads of a run of this demand, which is the peer's too, and write this party's to
    `mine`. `known`: what `record_known` found, where anything is. Raises `DeviatingPeer`: what was
    written then counts for nothing.
    """
    known = known or Known()
    sender, receiver = session.sender, session.receiver
    if not isinstance(sender, TransferSender) or not isinstance(receiver, TransferReceiver):
        raise ContractViolation("transfers are prepared from a session that draws on demand")
    to_peer, from_peer = _ways(session.role, demand)
    makers: list[Iterator[None]] = [
        make_sent(sender, session.channel, to_peer, known, mine),
        make_received(receiver, session.channel, from_peer, known, mine),
    ]
    if not session.is_server:
        makers.reverse()
    for _ in _rounds(makers):
        session.channel.flush()
    settle(session)


def _rounds(makers: Sequence[Iterator[T]]) -> Iterator[T]:
    """The makers' steps: those of all that draw, then those of all that make what was drawn
    before, until they are over.
    """
    left = list(makers)
    while left:
        for maker in tuple(left):
            try:
                yield next(maker)
            except StopIteration:
                left.remove(maker)


@cost_of(prepare)
def prepare_cost(demand: Demand) -> Cost:
    """Its draws and what is sent between them, in order, and their check."""
    both = [_events("C", demand.to_client), _events("S", demand.to_server)]
    return Cost((*(event for step in _rounds(both) for event in step), Settle()))


def _events(receiver: Party, way: OneWay) -> Iterator[list[Event]]:
    """Of one direction, step by step."""
    for step in steps(way):
        if isinstance(step, Run):
            yield [Draw(receiver, *step)]
        else:
            yield [event for piece in step for event in _sent_beforehand(receiver, piece)]


def _sent_beforehand(receiver: Party, piece: Piece) -> list[Event]:
    match piece.form:
        case Form.EARLY:
            return [Send(receiver, packed(piece.n, piece.k))]
        case Form.PRODUCT:
            return [Send(other(receiver), packed(piece.n, piece.answer.bits))]
        case Form.LATE:
            return []


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
