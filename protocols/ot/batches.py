"""Opened batches of transfers: what either party keeps between the choices and the answer, and
where the pads of the answer come from.

Elements in *groups* share a correlation, and so a choice: the sender has as many numbers for one
choice as the group has elements. Their pads are made of different blocks: the place in the group is
added to the correlation's block before it is hashed. That asks no more of the hash than single
elements do, for it is assumed to look random at any blocks `v + j*delta` with known, different v
(docs/security.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.cost import packed
from moiety.protocols.errors import ContractViolation
from moiety.protocols.kernels import Pool
from moiety.protocols.ot.keys import later_key

NONE = np.zeros(0, np.uint8)


class Given(NamedTuple):
    """What a kernel has the pads of some elements from: blocks uint8 `(n,16)`, the sender's delta
    and the first key, uint8 `(16,)`, or else a stream of the pads themselves and nothing more.
    """

    blocks: U8
    delta: U8 = NONE
    key: U8 = NONE


class Pads(Protocol):
    """The pads of one batch."""

    def begin(self, bits: int) -> None:
        """The batch is about to be answered with entries of `bits` bits."""
        ...

    def of(self, at: slice) -> Given:
        """Those of the elements of a piece; pieces follow each other."""
        ...


@dataclass(frozen=True)
class Groups:
    """So many elements in a row have one choice."""

    size: int

    def of_elements(self, values: U8, at: slice) -> U8:
        """Those of the choices of some elements, `(n,)` to `(elements,)`."""
        if self.size == 1:
            return values[at]
        choices, places = self._around(at)
        spread = np.repeat(values[choices], places.size)
        return self._cut(spread, at, choices, places)

    def blocks_of(self, blocks: U8, at: slice) -> U8:
        """The blocks of some elements, uint8 `(n, 16)` to `(elements, 16)`: that of the choice,
        its low half plus (XOR) the place in the group.
        """
        if self.size == 1:
            return blocks[at]
        choices, places = self._around(at)
        halves = np.ascontiguousarray(blocks[choices]).view("<u8")
        spread = np.empty((len(halves), places.size, 2), "<u8")
        spread[:, :, 0] = halves[:, :1] ^ places
        spread[:, :, 1] = halves[:, 1:]
        return self._cut(spread.reshape(-1, 2).view(np.uint8), at, choices, places)

    def _around(self, at: slice) -> tuple[slice, U64]:
        """The choices that some elements have, and the places in their groups: all of them, or
        where there is but one choice those of the elements alone.
        """
        choices = slice(at.start // self.size, -(-at.stop // self.size))
        begin, end = 0, self.size
        if choices.stop - choices.start == 1:
            before = choices.start * self.size
            begin, end = at.start - before, at.stop - before
        return choices, np.arange(begin, end, dtype=np.uint64)

    def _cut(self, spread: U8, at: slice, choices: slice, places: U64) -> U8:
        """The elements alone, of what was made of those `_around` them."""
        before = at.start - choices.start * self.size - int(places[0])
        return spread[before : before + at.stop - at.start]


@dataclass(kw_only=True)
class HashedPads:
    """Pads that are hashed where they are used. `blocks` makes w or v, uint8 `(n,16)`; `key` uint8
    `(16,)` is that of the first pads. A receiver has no `delta`.
    """

    k: int
    key: U8
    group: int
    blocks: Callable[[], U8]
    delta: U8
    _made: U8 | None = None

    def begin(self, bits: int) -> None:
        self._made = self.blocks()

    def of(self, at: slice) -> Given:
        if self._made is None:
            raise ContractViolation("pads are used before their batch is answered")
        blocks = Groups(self.group).blocks_of(self._made, at)
        return Given(blocks, self.delta, self.key_at(at.start))

    def key_at(self, element: int) -> U8:
        """The key of the pads from an element on at which a range may begin."""
        return later_key(self.key, element, self.k)


@dataclass(kw_only=True)
class _Batch:
    """One opened batch of choices of k bits, each for `group` elements in a row. `spend` makes sure
    that it is answered once.
    """

    k: int
    group: int
    pads: Pads
    spent: bool = False

    def spend(self) -> None:
        if self.spent:
            raise ContractViolation("a batch of transfers is answered once")
        self.spent = True


@dataclass(kw_only=True)
class SentBatch(_Batch):
    """Sender's half: the receiver's n shifts as they came, k bits each."""

    n: int
    packed_shifts: U8

    @property
    def elements(self) -> int:
        """How many are answered."""
        return self.n * self.group

    def shifts(self, at: slice, pool: Pool | None = None) -> U8:
        """Of the elements of a piece, uint8 `(n,)`."""
        if self.group > 1:
            shifts = kernels.unpack8(self.packed_shifts, self.n, self.k, pool)
            return Groups(self.group).of_elements(shifts, at)
        stream = self.packed_shifts[at.start * self.k // 8 : packed(at.stop, self.k)]
        return kernels.unpack8(stream, at.stop - at.start, self.k, pool)


class Opened(NamedTuple):
    """What a receiver's kernel is given of the elements of a piece."""

    pads: Given
    choices: U8
    u: U8


@dataclass(kw_only=True)
class ReceivedBatch(_Batch):
    """Receiver's half: u, choices uint8 `(n,)`."""

    u: U8
    choices: U8

    @property
    def elements(self) -> int:
        """How many are answered."""
        return self.choices.size * self.group

    def part(self, at: slice) -> Opened:
        """Of the elements of a piece."""
        groups = Groups(self.group)
        choices, u = groups.of_elements(self.choices, at), groups.of_elements(self.u, at)
        return Opened(self.pads.of(at), choices, u)
