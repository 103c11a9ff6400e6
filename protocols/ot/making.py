"""How the pads of a run are made beforehand: either party's part of one direction. Correlations are
drawn in long runs of one width (protocols/split); a *turn* is such a run and the pieces that it and
those before it are enough for. Both parties take correlations in the order of the answers, piece by
piece; what is in hand is a run of each width, and those that were drawn ahead.

What a batch of early choices or of products sends (ot/early) goes out piece by piece, in the order
of the answers: of choices `choice ^ u`; of a product `m = y + p0 - p1` under its two pads, from
which a receiver with bit u makes `p_u + u*m`, a share of u*y beside the sender's `-p0`. Every m
hides y by a pad that the receiver does not know.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.channel import Channel
from moiety.protocols.cost import packed
from moiety.protocols.ot.demand import Form, OneWay, Piece
from moiety.protocols.ot.early import Known
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.ot.prepared import CHOICES, RECEIVED, SENT, Sink
from moiety.protocols.split import Runs


class Run(NamedTuple):
    """So many correlations of k bits are drawn."""

    size: int
    k: int


class Turn(NamedTuple):
    """A run is drawn, if there is one; then there is enough for these pieces."""

    run: Run | None = None
    pieces: tuple[Piece, ...] = ()


def turns(way: OneWay) -> list[Turn]:
    """All of one direction."""
    total: Counter[int] = Counter()
    for piece in way.pieces():
        total[piece.k] += piece.n
    runs, drawn, made = Runs(total), list[Run](), list[list[Piece]]()
    for piece in way.pieces():
        for size in runs.before(piece.n, piece.k):
            drawn.append(Run(size, piece.k))
            made.append([])
        made[-1].append(piece)
    return [Turn(run, tuple(pieces)) for run, pieces in zip(drawn, made, strict=True)]


class SentPads:
    """What the sender of one direction keeps."""

    def __init__(self, sender: TransferSender, known: Known, sink: Sink) -> None:
        self._sender, self._known, self._sink = sender, known, sink
        self._held = defaultdict[int, _Rows](_Rows)

    def draw(self, run: Run | None) -> None:
        """Hears of a run's correlations."""
        if run is not None:
            self._held[run.k].add(self._sender.draw(*run), run.size)

    def make(self, piece: Piece, channel: Channel) -> None:
        """The pads of a piece. Choices come, and products leave, on `channel`."""
        w = self._held[piece.k].take(piece.n)
        if piece.form is Form.EARLY:
            shifts = channel.recv(int(packed(piece.n, piece.k)))
            w = self._sender.turned(w, kernels.unpack8(shifts, piece.n, piece.k))
        for pads in self._sender.pads_of(w, piece.k, piece.group, piece.answer.bits):
            if piece.form is Form.PRODUCT:
                pads = _sent_product(channel, piece, pads, self._known)
            self._sink.write(SENT, pads)


class ReceivedPads:
    """What the receiver keeps: u and pads. Both are taken in the order of the answers, but u is
    written in that of the openings, as soon as all before it are.
    """

    def __init__(self, receiver: TransferReceiver, way: OneWay, known: Known, sink: Sink) -> None:
        self._receiver, self._known, self._sink = receiver, known, sink
        self._us = defaultdict[int, _Hand](_Hand)
        self._vs = defaultdict[int, _Rows](_Rows)
        self._choices = _Choices(way, sink)

    def draw(self, run: Run | None) -> None:
        """Asks for a run's correlations."""
        if run is not None:
            u, late = self._receiver.draw(*run)
            self._us[run.k].add(u)
            self._vs[run.k].add(late, run.size)

    def make(self, piece: Piece, channel: Channel) -> None:
        """The pads of a piece. Choices leave, and products come, on `channel`."""
        u, v = self._us[piece.k].take(piece.n), self._vs[piece.k].take(piece.n)
        if piece.form is Form.EARLY:
            mine = self._known.choices_at(piece.answer.opening, piece.k, piece.start, piece.n)
            channel.send(kernels.pack(mine ^ u, piece.k))
            u = mine
        self._choices.add(piece.answer.opening, piece.answer.row, u)
        for pads in self._receiver.pads_of(v, piece.k, piece.group, piece.answer.bits):
            if piece.form is Form.PRODUCT:
                pads = _received_product(channel, piece, pads, u)
            self._sink.write(RECEIVED, pads)


def _sent_product(channel: Channel, piece: Piece, pads: U8, known: Known) -> U8:
    """Sends m; the sender's shares as a stream."""
    bits = piece.answer.bits
    y = known.products_at(piece.answer.opening, bits, piece.start, piece.n)
    message, share = kernels.product_sent(pads, y, piece.n, bits)
    channel.send(message)
    return share


def _received_product(channel: Channel, piece: Piece, pads: U8, u: U8) -> U8:
    """The receiver's shares, likewise."""
    bits = piece.answer.bits
    message = channel.recv(int(packed(piece.n, bits)))
    return kernels.product_received(pads, message, u, bits)


@dataclass
class _Hand:
    """Values that were drawn and not yet taken, along the first axis."""

    parts: list[U8] = field(default_factory=list)

    def add(self, part: U8) -> None:
        self.parts.append(part)

    def take(self, n: int) -> U8:
        """The next n."""
        taken: list[U8] = []
        while n:
            part = self.parts.pop(0)
            taken.append(part[:n])
            if len(part) > n:
                self.parts.insert(0, part[n:])
            n -= len(taken[-1])
        return taken[0] if len(taken) == 1 else np.concatenate(taken)


@dataclass
class _Rows:
    """Rows that were begun, each run of them made when one of it is first taken."""

    made: _Hand = field(default_factory=_Hand)
    late: deque[tuple[Callable[[], U8], int]] = field(default_factory=deque)
    held: int = 0

    def add(self, late: Callable[[], U8], size: int) -> None:
        self.late.append((late, size))

    def take(self, n: int) -> U8:
        """The next n."""
        while self.held < n:
            late, size = self.late.popleft()
            self.made.add(late())
            self.held += size
        self.held -= n
        return self.made.take(n)


@dataclass
class _Choices:
    """u of all batches, written row by row in the order of the openings."""

    way: OneWay
    sink: Sink
    waiting: dict[tuple[int, int], list[U8]] = field(default_factory=lambda: defaultdict(list))
    due: tuple[int, int] = (0, 0)

    def add(self, opening: int, row: int, u: U8) -> None:
        """More of a row."""
        self.waiting[opening, row].append(u)
        while self._whole(self.due):
            number, at = self.due
            of = self.way.openings[number]
            self.sink.write(CHOICES, kernels.pack(np.concatenate(self.waiting.pop(self.due)), of.k))
            self.due = (number, at + 1) if at + 1 < of.rows else (number + 1, 0)

    def _whole(self, row: tuple[int, int]) -> bool:
        if row not in self.waiting:
            return False
        return sum(map(len, self.waiting[row])) == self.way.openings[row[0]].n
