"""Prepared transfers: the pads of a whole run are made beforehand, cut to the bits that will be
used, and kept as plain streams of bytes; the run answers by XOR or addition with them.

On the wire such transfers are those on demand without their draws: choices hidden by a stored u
that is used once, or sent when the run was prepared (ot/early), and answers under stored pads that
are used once. Streams are read in the order of the
demand alone (ot/demand): a batch that is not the next one, of another size, or a second answer, is
refused before a byte is sent, and so is a run that ends before its pads do.

Three streams, of which the store knows no more than their names: u in the order of the openings, k
bits each, every row whole in bytes, of early choices these themselves; the pads of either direction
in the order of the answers, as `kernels.pads_send` and `kernels.pads_recv` make them, of products
the shares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.channel import Channel
from moiety.protocols.cost import packed
from moiety.protocols.errors import ContractViolation
from moiety.protocols.ot.batches import Given, Pads, ReceivedBatch, SentBatch
from moiety.protocols.ot.demand import Answer, Form, OneWay, Opening
from moiety.protocols.ot.early import EarlyReceiver, EarlySender, Late, no_shifts
from moiety.protocols.parallel import Workers

CHOICES, SENT, RECEIVED = STREAMS = ("choices", "sent", "received")
"""The streams' names: u, the pads of a party's answers, the pads of the answers that it opens."""


class Sink(Protocol):
    """Where a preparation goes: streams by name, each written in order."""

    def write(self, name: str, data: U8) -> None:
        """More of a stream, uint8 `(n,)`."""
        ...


class Source(Protocol):
    """Where a prepared run takes from: streams by name, each read in order and once."""

    def read(self, name: str, nbytes: int) -> U8:
        """The next bytes of a stream, uint8 `(nbytes,)`."""
        ...


@dataclass
class _Taking:
    """One direction's pads, taken in the order of its demand: `each` reads how many fields an
    element has, of k.
    """

    way: OneWay
    source: Source
    stream: str
    all_options: bool
    openings: int = 0
    answers: int = 0

    def opened(self, opening: Opening) -> Sequence[Pads]:
        """The pads of the next batches. Raises `ContractViolation` where these are not the next."""
        due = self.way.openings[self.openings : self.openings + 1]
        if due != (opening,):
            raise ContractViolation(f"prepared transfers: {opening} is opened, due is {_of(due)}")
        number, self.openings = self.openings, self.openings + 1
        each = opening.kept if self.all_options else 1
        return [_PreparedPads(self, number, row, each) for row in range(opening.rows)]

    def product(self, n: int, bits: int) -> Late:
        """The shares of the next products."""
        (pads,) = self.opened(Opening(1, n, 1, 1, Form.PRODUCT))

        def take() -> U8:
            pads.begin(bits)
            return pads.of(slice(0, n)).blocks

        return take

    def answered(self, answer: Answer) -> None:
        """The next answer begins. Raises `ContractViolation` where this is not the next."""
        due = self.way.answers[self.answers : self.answers + 1]
        if due != (answer,):
            raise ContractViolation(f"prepared transfers: {answer} is begun, due is {_of(due)}")
        self.answers += 1

    def finish(self) -> None:
        """Raises `ContractViolation` where something is left."""
        left = len(self.way.openings) - self.openings, len(self.way.answers) - self.answers
        if left != (0, 0):
            raise ContractViolation(
                f"a prepared run ends with {left[0]} openings and {left[1]} answers to come"
            )


@dataclass
class _PreparedPads:
    """Those of one batch, `each` to an element."""

    taking: _Taking
    opening: int
    row: int
    each: int
    bits: int = 0

    def begin(self, bits: int) -> None:
        self.taking.answered(Answer(self.opening, self.row, bits))
        self.bits = bits

    def of(self, at: slice) -> Given:
        if not self.bits:
            raise ContractViolation("pads are used before their batch is answered")
        nbytes = int(packed((at.stop - at.start) * self.each, self.bits))
        return Given(self.taking.source.read(self.taking.stream, nbytes))


class PreparedSender(EarlySender):
    """Answers with stored pads."""

    def __init__(
        self, channel: Channel, way: OneWay, source: Source, workers: Workers | None = None
    ) -> None:
        """`way` is this direction's demand, the one that `source` was written for."""
        super().__init__(channel, workers)
        self._taking = _Taking(way, source, SENT, all_options=True)

    def finish(self) -> None:
        """The run is over. Raises `ContractViolation` where something is left."""
        self._taking.finish()

    def accept_early(self, n: int, k: int) -> SentBatch:
        (pads,) = self._taking.opened(Opening(1, n, k, 1, Form.EARLY))
        return SentBatch(k=k, group=1, pads=pads, n=n, packed_shifts=no_shifts(n, k))

    def product(self, n: int, y: Callable[[], U64], bits: int) -> Late:
        self._channel.await_flight()
        return self._taking.product(n, bits)

    def _pads(self, rows: int, n: int, k: int, group: int) -> Sequence[Pads]:
        return self._taking.opened(Opening(rows, n, k, group))


class PreparedReceiver(EarlyReceiver):
    """Chooses with stored u, and opens with stored pads."""

    def __init__(
        self, channel: Channel, way: OneWay, source: Source, workers: Workers | None = None
    ) -> None:
        """Arguments as `PreparedSender`'s."""
        super().__init__(channel, workers)
        self._source = source
        self._taking = _Taking(way, source, RECEIVED, all_options=False)

    def finish(self) -> None:
        """As `PreparedSender.finish`."""
        self._taking.finish()

    def choose_early(self, choices: U8, k: int) -> ReceivedBatch:
        (pads,) = self._taking.opened(Opening(1, choices.size, k, 1, Form.EARLY))
        if not np.array_equal(self._row(choices.size, k), choices):
            raise ContractViolation("prepared transfers: these are not the choices that were sent")
        return ReceivedBatch(k=k, group=1, pads=pads, u=choices, choices=choices)

    def product(self, n: int, bits: int) -> tuple[U8, Late]:
        late = self._taking.product(n, bits)
        return self._row(n, 1), late

    def _choices(self, rows: int, n: int, k: int, group: int) -> tuple[U8, Sequence[Pads]]:
        pads = self._taking.opened(Opening(rows, n, k, group))
        return np.stack([self._row(n, k) for _ in range(rows)]), pads

    def _row(self, n: int, k: int) -> U8:
        stream = self._source.read(CHOICES, int(packed(n, k)))
        return kernels.unpack8(stream, n, k, self._threads)


def _of(due: tuple[Opening | Answer, ...]) -> str:
    return str(due[0]) if due else "nothing"
