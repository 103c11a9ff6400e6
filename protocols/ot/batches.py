"""Opened batches of transfers: what either party keeps between the choices and the answer.

Elements in *groups* share a correlation, and so a choice: the sender has as many numbers for one
choice as the group has elements. Their pads are made of different blocks: the place in the group is
added to the correlation's block before it is hashed. That asks no more of the hash than single
elements do, for it is assumed to look random at any blocks `v + j*delta` with known, different v
(docs/security.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.cost import packed
from moiety.protocols.errors import ContractViolation
from moiety.protocols.kernels import Pool
from moiety.protocols.ot.keys import later_key


@dataclass(kw_only=True)
class _Batch:
    """One opened batch of choices of k bits, each for `group` elements in a row. `key` uint8
    `(16,)` is that of its first pads; `spend` makes sure that it is answered once.
    """

    k: int
    key: U8
    group: int
    spent: bool = False

    def key_at(self, element: int) -> U8:
        """The key of the pads from an element on at which a range may begin."""
        return later_key(self.key, element, self.k)

    def spend(self) -> None:
        if self.spent:
            raise ContractViolation("a batch of transfers is answered once")
        self.spent = True

    def _of_elements(self, values: U8, at: slice) -> U8:
        """Those of the choices of some elements, `(n,)` to `(elements,)`."""
        if self.group == 1:
            return values[at]
        choices, places = self._groups_around(at)
        spread = np.repeat(values[choices], places.size)
        return self._cut(spread, at, choices, places)

    def _blocks_of(self, blocks: U8, at: slice) -> U8:
        """The blocks of some elements, uint8 `(n, 16)` to `(elements, 16)`: that of the choice,
        its low half plus (XOR) the place in the group.
        """
        if self.group == 1:
            return blocks[at]
        choices, places = self._groups_around(at)
        halves = np.ascontiguousarray(blocks[choices]).view("<u8")
        spread = np.empty((len(halves), places.size, 2), "<u8")
        spread[:, :, 0] = halves[:, :1] ^ places
        spread[:, :, 1] = halves[:, 1:]
        return self._cut(spread.reshape(-1, 2).view(np.uint8), at, choices, places)

    def _groups_around(self, at: slice) -> tuple[slice, U64]:
        """The choices that some elements have, and the places in their groups: all of them, or
        where there is but one choice those of the elements alone.
        """
        choices = slice(at.start // self.group, -(-at.stop // self.group))
        begin, end = 0, self.group
        if choices.stop - choices.start == 1:
            before = choices.start * self.group
            begin, end = at.start - before, at.stop - before
        return choices, np.arange(begin, end, dtype=np.uint64)

    def _cut(self, spread: U8, at: slice, choices: slice, places: U64) -> U8:
        """The elements alone, of what was made of `_groups_around` them."""
        before = at.start - choices.start * self.group - int(places[0])
        return spread[before : before + at.stop - at.start]


@dataclass(kw_only=True)
class SentBatch(_Batch):
    """Sender's half: w uint8 `(n,16)`; the receiver's shifts as they came, k bits each."""

    w: U8
    packed_shifts: U8

    @property
    def elements(self) -> int:
        """How many are answered."""
        return len(self.w) * self.group

    def blocks(self, at: slice) -> U8:
        """w of the elements of a piece."""
        return self._blocks_of(self.w, at)

    def shifts(self, at: slice, pool: Pool | None = None) -> U8:
        """Of the elements of a piece, uint8 `(n,)`."""
        if self.group > 1:
            shifts = kernels.unpack8(self.packed_shifts, len(self.w), self.k, pool)
            return self._of_elements(shifts, at)
        stream = self.packed_shifts[at.start * self.k // 8 : packed(at.stop, self.k)]
        return kernels.unpack8(stream, at.stop - at.start, self.k, pool)


@dataclass(kw_only=True)
class ReceivedBatch(_Batch):
    """Receiver's half: u, choices uint8 `(n,)`; `v` makes v uint8 `(n,16)`."""

    u: U8
    v: Callable[[], U8]
    choices: U8

    @property
    def elements(self) -> int:
        """How many are answered."""
        return self.choices.size * self.group

    def part(self, v: U8, at: slice) -> tuple[U8, U8, U8]:
        """v, choices and u of the elements of a piece."""
        choices, u = self._of_elements(self.choices, at), self._of_elements(self.u, at)
        return self._blocks_of(v, at), choices, u
