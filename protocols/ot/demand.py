"""What a run asks of the transfers, written down beforehand: which batches are opened, and in which
order they are answered with how many bits.

All of it is public: it follows from the Program and from how comparisons are cut into digits. Both
parties write it down for themselves (protocols/recording) and compare digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

from moiety.protocols.cost import packed
from moiety.protocols.parallel import pieces


class Form(IntEnum):
    """Of a batch: its choices are sent in the run; they are known, and sent, beforehand; or they
    are random, and what comes of them is each times a number that its sender knows beforehand.
    """

    LATE = 0
    EARLY = 1
    PRODUCT = 2


class Opening(NamedTuple):
    """`rows` batches of n 1-of-2^k transfers, each for `group` elements in a row, are opened
    together.
    """

    rows: int
    n: int
    k: int
    group: int
    form: Form = Form.LATE

    @property
    def kept(self) -> int:
        """Fields that a sender keeps for each element: its pads, or of a product its share."""
        return 1 if self.form is Form.PRODUCT else 1 << self.k


class Answer(NamedTuple):
    """Batch `row` of opening number `opening` is answered with entries of `bits` bits."""

    opening: int
    row: int
    bits: int


class Piece(NamedTuple):
    """Some choices of one answer, those from `start` on: n of k bits, each for `group` elements of
    `bits` bits.
    """

    answer: Answer
    n: int
    k: int
    group: int
    form: Form
    start: int


@dataclass(frozen=True)
class OneWay:
    """One direction of transfers. Every batch is answered once."""

    openings: tuple[Opening, ...] = ()
    answers: tuple[Answer, ...] = ()

    def pieces(self) -> Iterator[Piece]:
        """The answers in order, cut where a stream of pads is whole in bytes."""
        for answer in self.answers:
            _, n, k, group, form = self.openings[answer.opening]
            for at in pieces(n):
                yield Piece(answer, at.stop - at.start, k, group, form, at.start)

    @cached_property
    def choice_bytes(self) -> int:
        """Of all u, packed row by row."""
        return sum(int(each.rows * packed(each.n, each.k)) for each in self.openings)

    @cached_property
    def sent_bytes(self) -> int:
        """Of what the sender keeps."""
        return sum(
            self._pads(answer, self.openings[answer.opening].kept) for answer in self.answers
        )

    @cached_property
    def received_bytes(self) -> int:
        """Of what the receiver keeps: one field for each element."""
        return sum(self._pads(answer, 1) for answer in self.answers)

    def _pads(self, answer: Answer, each: int) -> int:
        _, n, _, group, _ = self.openings[answer.opening]
        return int(packed(n * group * each, answer.bits))


@dataclass(frozen=True)
class Demand:
    """Both directions, by who opens the answers: `to_client` is what the server sends."""

    to_client: OneWay = OneWay()
    to_server: OneWay = OneWay()

    def digest(self) -> bytes:
        """32 bytes that are the same at both parties if they have written down the same."""
        hashed = hashlib.sha256(b"moiety demand of transfers 2")
        for way in (self.to_client, self.to_server):
            for numbers in (way.openings, way.answers):
                hashed.update(len(numbers).to_bytes(8, "little"))
                for each in numbers:
                    hashed.update(b"".join(number.to_bytes(8, "little") for number in each))
        return hashed.digest()
