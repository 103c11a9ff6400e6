"""Preparing a run: what it will ask of its transfers is known (protocols/recording), their pads are
made and stored beside what its linear layers leave, and a later run takes from the store
(ot/prepared, linear/split).

Functionality of `prepare`: none but what both parties keep. Each gets random pads and choices as
the run would have drawn them, and shares of the layers of the client's masks; nothing depends on
an input. Nothing leaks: what is sent is what drawing correlations sends and what the homomorphic
layers send, and the check of all correlations (protocols/settlement) comes before the result
counts.

What is stored is as secret as the run's inputs, and must be used once: the same pads under two
answers give away the difference of their entries, the same u under two choices that of the choices.
Within a run that is seen to here; across runs it is the store's affair.

Flights. A preparation has *rounds*: in each a run of correlations is drawn in both directions
(ot/making), a flight each way, and a party sends at once what the peer needs to go on. All that
takes long, the pads of earlier rounds and the layers, is computed after this party's flight has
left, while the peer's is on its way; its messages are letters (protocols/letters) that leave with
the next flight. So neither waits for the other as long as both have as much to do. The client knows
its choices and products when the layers before them have been evaluated, and no sooner, so a layer
is due in the first round of whose pieces one may depend on it:

    flight  client                                server
    r       requests of the layers due in r
    r + 1                                         their answers
    r + 3   choices and products of round r       (reads them, and makes its pads)

The client opens answers and makes the pads of round r after flight r + 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from typing import NamedTuple, TypeVar

from moiety.protocols.cost import Cost, Draw, Event, Party, Send, Settle, cost_of, other, packed
from moiety.protocols.errors import ContractViolation
from moiety.protocols.letters import Letters
from moiety.protocols.linear.cost import offline_answer_cost, offline_request_cost
from moiety.protocols.linear.spec import LinearSpec, download_bytes, upload_bytes
from moiety.protocols.linear.split import OfflineClient, OfflineServer
from moiety.protocols.ot.demand import Demand, Form, OneWay, Piece
from moiety.protocols.ot.early import Known
from moiety.protocols.ot.making import ReceivedPads, SentPads, Turn, turns
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.ot.prepared import PreparedReceiver, PreparedSender, Sink, Source
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle

L = TypeVar("L", OfflineClient, OfflineServer)

LATER = 3
"""Flights after which the client's letters of a round follow its draws."""
TOGETHER = 1 << 24
"""Bytes, both ways, of the layers of a round: of more than one layer no more. Others go before."""


# --- rounds ---------------------------------------------------------------------------------------


class Layer(NamedTuple):
    """A linear layer of the run, by its number in the model, and how many transfers to the client
    and to the server are opened before it: they do not depend on it.
    """

    number: int
    spec: LinearSpec
    before: tuple[int, int] = (0, 0)

    @property
    def nbytes(self) -> int:
        """Of its messages."""
        return upload_bytes(self.spec) + download_bytes(self.spec)


class Round(NamedTuple):
    """What is drawn together, and the layers on which its pieces may be the first to depend."""

    to_client: Turn = Turn()
    to_server: Turn = Turn()
    layers: tuple[Layer, ...] = ()

    @property
    def numbers(self) -> list[int]:
        """Of its layers."""
        return [layer.number for layer in self.layers]

    @property
    def upload(self) -> int:
        """Bytes of their requests."""
        return sum(upload_bytes(layer.spec) for layer in self.layers)

    @property
    def download(self) -> int:
        """Bytes of the answers."""
        return sum(download_bytes(layer.spec) for layer in self.layers)

    def letters(self) -> list[Send]:
        """What the client sends of the pieces, in order."""
        to_client = (_beforehand("C", piece) for piece in self.to_client.pieces)
        to_server = (_beforehand("S", piece) for piece in self.to_server.pieces)
        sent = [send for send in (*to_client, *to_server) if send is not None]
        if any(send.sender != "C" for send in sent):
            raise ContractViolation("only the client knows a part of a run beforehand")
        return sent


def _beforehand(receiver: Party, piece: Piece) -> Send | None:
    match piece.form:
        case Form.EARLY:
            return Send(receiver, packed(piece.n, piece.k))
        case Form.PRODUCT:
            return Send(other(receiver), packed(piece.n, piece.answer.bits))
        case Form.LATE:
            return None


def rounds(demand: Demand, layers: Sequence[Layer] = ()) -> list[Round]:
    """Of a preparation; layers in order."""
    ways = zip_longest(turns(demand.to_client), turns(demand.to_server), fillvalue=Turn())
    made, left = [Round(*both) for both in ways] or [Round()], list(layers)
    for at, each in enumerate(made):
        opened = [
            1 + max((piece.answer.opening for piece in turn.pieces), default=-1)
            for turn in (each.to_client, each.to_server)
        ]
        due = 0
        while due < len(left) and any(
            count > before for count, before in zip(opened, left[due].before, strict=True)
        ):
            due += 1
        if at == len(made) - 1:
            due = len(left)
        made[at] = each._replace(layers=tuple(left[:due]))
        del left[:due]
    return _spread(made)


def _spread(due: Sequence[Round]) -> list[Round]:
    """The same where no round has more layers than may be together."""
    made: list[Round] = []
    waiting: list[Layer] = []
    for each in reversed(due):
        waiting = [*each.layers, *waiting]
        made.append(each._replace(layers=_last(waiting)))
    while waiting:
        made.append(Round(layers=_last(waiting)))
    return made[::-1]


def _last(waiting: list[Layer]) -> tuple[Layer, ...]:
    """Takes away the last layers, as many as may be together, one at least."""
    held, start = 0, len(waiting)
    while start:
        held += waiting[start - 1].nbytes
        if held > TOGETHER and start < len(waiting):
            break
        start -= 1
    taken = tuple(waiting[start:])
    del waiting[start:]
    return taken


def prepare(
    session: Session,
    demand: Demand,
    mine: Sink,
    known: Known | None = None,
    layers: Sequence[Layer] = (),
    linear: OfflineClient | OfflineServer | None = None,
) -> None:
    """Make the pads of a run of this demand, and evaluate its linear layers; both are the peer's
    too. This party's pads go to `mine`, its part of the layers is `linear`. `known`: what this
    party knows beforehand, where anything is. Raises `DeviatingPeer`: what was written then counts
    for nothing.
    """
    sender, receiver = session.sender, session.receiver
    if not isinstance(sender, TransferSender) or not isinstance(receiver, TransferReceiver):
        raise ContractViolation("transfers are prepared from a session that draws on demand")
    _, from_peer = _ways(session.role, demand)
    sent = SentPads(sender, known or Known(), mine)
    received = ReceivedPads(receiver, from_peer, known or Known(), mine)
    party = _Party(session, rounds(demand, layers), sent, received)
    if session.is_server:
        party.serve(linear if isinstance(linear, OfflineServer) else None)
    else:
        party.ask(linear if isinstance(linear, OfflineClient) else None)
    party.close()
    settle(session)


class _Party:
    """One party of a preparation."""

    def __init__(
        self, session: Session, planned: Sequence[Round], sent: SentPads, received: ReceivedPads
    ) -> None:
        self._channel = session.channel
        self._planned = planned
        self._sent, self._received = sent, received
        self._letters = Letters()
        self._writing = replace(session, channel=self._letters)

    def close(self) -> None:
        """All is said. Raises `ContractViolation` where letters are left."""
        self._letters.close()

    def _at(self, number: int) -> Round:
        within = 0 <= number < len(self._planned)
        return self._planned[number] if within else Round()

    def ask(self, linear: OfflineClient | None) -> None:
        """The client's part."""

        def request(number: int) -> None:
            if layers := self._at(number).numbers:
                _given(linear).request(self._writing, layers)

        def leave(number: int) -> None:
            self._letters.post(self._channel)
            self._received.draw(self._at(number).to_client.run)
            self._channel.flush()

        request(0)
        leave(0)
        request(1)
        for number in range(len(self._planned) + LATER - 1):
            before = self._at(number - 1)
            self._letters.collect(self._channel, before.download)
            self._sent.draw(self._at(number).to_server.run)
            leave(number + 1)
            if before.numbers:
                _given(linear).open(self._writing, before.numbers)
            request(number + 2)
            self._make(before, self._received, self._sent)

    def serve(self, linear: OfflineServer | None) -> None:
        """The server's part."""
        for number in range(len(self._planned) + LATER):
            each, before = self._at(number), self._at(number - LATER)
            come = sum(int(send.nbytes) for send in before.letters())
            self._letters.collect(self._channel, each.upload + come)
            self._sent.draw(each.to_client.run)
            self._letters.post(self._channel)
            self._received.draw(each.to_server.run)
            self._channel.flush()
            if each.numbers:
                _given(linear).answer(self._writing, each.numbers)
            self._make(before, self._sent, self._received)

    def _make(
        self, each: Round, to_client: SentPads | ReceivedPads, to_server: SentPads | ReceivedPads
    ) -> None:
        for piece in each.to_client.pieces:
            to_client.make(piece, self._letters)
        for piece in each.to_server.pieces:
            to_server.make(piece, self._letters)


def _given(linear: L | None) -> L:
    if linear is None:
        raise ContractViolation("a run with linear layers is prepared without their other half")
    return linear


@cost_of(prepare)
def prepare_cost(demand: Demand, layers: Sequence[Layer] = ()) -> Cost:
    """Its draws and letters in order, and their check."""
    planned, events = rounds(demand, layers), list[Event]()
    blank = Round()
    delayed = [*([blank] * LATER), *planned]
    for each, before, answered in zip_longest(planned, delayed, [blank, *planned], fillvalue=blank):
        for layer in each.layers:
            events += offline_request_cost(layer.spec).events
        events += before.letters()
        events += _drawn("C", each.to_client)
        for layer in answered.layers:
            events += offline_answer_cost(layer.spec).events
        events += _drawn("S", each.to_server)
    return Cost((*events, Settle()))


def _drawn(receiver: Party, turn: Turn) -> list[Event]:
    return [Draw(receiver, *turn.run)] if turn.run is not None else []


# --- the run --------------------------------------------------------------------------------------


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
