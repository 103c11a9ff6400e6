"""Transfers that only write down what is asked of them, for a run without a peer: shares are zeros,
nothing is hashed, and what is sent goes nowhere (protocols/recording).

There is no second list of what protocols do: they run as they are, on these endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import numpy.typing as npt

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.channel import Channel
from moiety.protocols.cost import packed
from moiety.protocols.errors import ContractViolation
from moiety.protocols.ot.batches import NONE, Given, Opened, Pads, ReceivedBatch, SentBatch
from moiety.protocols.ot.demand import Answer, Form, OneWay, Opening
from moiety.protocols.ot.early import EarlyReceiver, EarlySender, Late, no_shifts
from moiety.protocols.ot.transfers import answer_bytes

R = TypeVar("R")
S = TypeVar("S", np.uint8, np.uint64)

_NOTHING = slice(0, 0)


class SilentChannel(Channel):
    """Has no peer: what is sent is dropped, what is received is zeros. Flights and lanes are those
    of any channel.
    """

    silent: ClassVar[bool] = True

    def _write(self, data: memoryview) -> None:
        return None

    def _read(self, nbytes: int) -> memoryview:
        return np.zeros(nbytes, np.uint8).data


@dataclass
class Record:
    """What one direction was asked for so far. `known`: what this party knew of it, packed, by the
    number of the opening; only where it `keeps` that.
    """

    keeps: bool = False
    openings: list[Opening] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    known: dict[int, U8] = field(default_factory=dict)

    def opened(self, opening: Opening) -> Sequence[Pads]:
        """The batches' pads, which say when they are used."""
        self.openings.append(opening)
        number = len(self.openings) - 1
        return [_RecordedPads(self, number, row) for row in range(opening.rows)]

    def knew(self, values: U8 | U64, bits: int) -> None:
        """Of the opening that was recorded last."""
        if self.keeps:
            self.known[len(self.openings) - 1] = kernels.pack(values, bits)

    def product(self, n: int, bits: int) -> Late:
        """What takes the shares of products."""
        (pads,) = self.opened(Opening(1, n, 1, 1, Form.PRODUCT))

        def take() -> U8:
            pads.begin(bits)
            return np.zeros(int(packed(n, bits)), np.uint8)

        return take

    def way(self) -> OneWay:
        """Raises `ContractViolation` where a batch was opened and not answered."""
        batches = sum(each.rows for each in self.openings)
        if len(self.answers) != batches:
            raise ContractViolation(
                f"{batches} batches of transfers are opened, {len(self.answers)} are answered"
            )
        return OneWay(tuple(self.openings), tuple(self.answers))


@dataclass(frozen=True)
class _RecordedPads:
    record: Record
    opening: int
    row: int

    def begin(self, bits: int) -> None:
        self.record.answers.append(Answer(self.opening, self.row, bits))

    def of(self, at: slice) -> Given:
        return Given(NONE)


class RecordingSender(EarlySender):
    """Answers with nothing."""

    def __init__(self, channel: Channel, keeps: bool = False) -> None:
        super().__init__(channel, None)
        self.record = Record(keeps)

    def accept_early(self, n: int, k: int) -> SentBatch:
        (pads,) = self.record.opened(Opening(1, n, k, 1, Form.EARLY))
        return SentBatch(k=k, group=1, pads=pads, n=n, packed_shifts=no_shifts(n, k))

    def product(self, n: int, y: Callable[[], U64], bits: int) -> Late:
        self._channel.await_flight()
        late = self.record.product(n, bits)
        if self.record.keeps:
            self.record.knew(y(), bits)
        return late

    def _pads(self, rows: int, n: int, k: int, group: int) -> Sequence[Pads]:
        return self.record.opened(Opening(rows, n, k, group))

    def _answers(
        self, batch: SentBatch, bits: int, kernel: Callable[[Given, U8, slice], tuple[U8, R]]
    ) -> list[R]:
        batch.spend()
        batch.pads.begin(bits)
        _, made = kernel(batch.pads.of(_NOTHING), NONE, _NOTHING)
        self._channel.send(np.zeros(answer_bytes(batch.elements, batch.k, bits), np.uint8))
        return [cast(R, _zeros_like(made, batch.elements))]


class RecordingReceiver(EarlyReceiver):
    """Opens nothing."""

    def __init__(self, channel: Channel, keeps: bool = False) -> None:
        super().__init__(channel, None)
        self.record = Record(keeps)

    def choose_early(self, choices: U8, k: int) -> ReceivedBatch:
        (pads,) = self.record.opened(Opening(1, choices.size, k, 1, Form.EARLY))
        self.record.knew(choices, k)
        return ReceivedBatch(k=k, group=1, pads=pads, u=choices, choices=choices)

    def product(self, n: int, bits: int) -> tuple[U8, Late]:
        return np.zeros(n, np.uint8), self.record.product(n, bits)

    def _choices(self, rows: int, n: int, k: int, group: int) -> tuple[U8, Sequence[Pads]]:
        u = np.zeros((rows, n), np.uint8)
        return u, self.record.opened(Opening(rows, n, k, group))

    def _opened(
        self,
        batch: ReceivedBatch,
        bits: int,
        kernel: Callable[[Opened, U8, slice], npt.NDArray[S]],
    ) -> npt.NDArray[S]:
        batch.spend()
        self._channel.await_flight()
        batch.pads.begin(bits)
        self._channel.recv(answer_bytes(batch.elements, batch.k, bits))
        made = kernel(Opened(batch.pads.of(_NOTHING), NONE, NONE), NONE, _NOTHING)
        return cast("npt.NDArray[S]", _zeros_like(made, batch.elements))


def _zeros_like(made: Any, elements: int) -> Any:
    """What a kernel makes of no elements, made of so many: they lie along the last axis."""
    if isinstance(made, tuple):
        return tuple(_zeros_like(each, elements) for each in made)
    return np.zeros((*made.shape[:-1], elements), made.dtype)
