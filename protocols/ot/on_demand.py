"""Transfers on demand: correlations are drawn when a batch is opened, and hashed to pads when it is
answered. Also where pads that are made beforehand come from (protocols/preparation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.channel import Channel
from moiety.protocols.ot.batches import NONE, HashedPads, Pads
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.transfers import Receiver, Sender
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.parallel import Workers, pieces


class TransferSender(Sender):
    """Draws correlations when a batch is opened, and hashes them when it is answered."""

    def __init__(
        self, channel: Channel, vole: VoleSender, keys: HashKeys, workers: Workers | None = None
    ) -> None:
        """`keys` are this direction's, at the same count as the peer's."""
        super().__init__(channel, workers)
        self._vole = vole
        self._keys = keys

    def hear(self) -> None:
        self._vole.hear()

    def tell(self) -> None:
        self._vole.tell()

    def draw(self, n: int, k: int) -> Callable[[], U8]:
        """What makes w of n correlations, uint8 `(n,16)`, for a use that is not a batch."""
        return self._vole.begin(n, k)

    def turned(self, w: U8, shifts: U8) -> U8:
        """w whose pad j is pad `j ^ shift` of the given ones, for shifts uint8 `(n,)`. These are
        used up: they are changed where they lie if their rows lie together.
        """
        turned = np.ascontiguousarray(w)
        kernels.add_multiples(turned, self._vole.delta, shifts, self._threads)
        return turned

    def pads_of(self, w: U8, k: int, group: int, bits: int) -> Iterator[U8]:
        """The pads of the elements of such correlations, cut to `bits` bits: streams as
        `kernels.pads_send` makes them, one for each piece.
        """
        pads = self._hashed(w, k, group)
        pads.begin(bits)
        for at in pieces(len(w) * group):
            blocks, delta, key = pads.of(at)
            yield kernels.pads_send(blocks, delta, k, key, bits, self._threads)

    def _pads(self, rows: int, n: int, k: int, group: int) -> Sequence[Pads]:
        w = self._vole.extend(rows * n, k)
        return [self._hashed(w[row * n : (row + 1) * n], k, group) for row in range(rows)]

    def _hashed(self, w: U8, k: int, group: int) -> HashedPads:
        key = self._keys.take(len(w) * group, k)
        return HashedPads(k=k, key=key, group=group, blocks=lambda: w, delta=self._vole.delta)


class TransferReceiver(Receiver):
    """The other half."""

    def __init__(
        self, channel: Channel, vole: VoleReceiver, keys: HashKeys, workers: Workers | None = None
    ) -> None:
        """Arguments as `TransferSender`'s."""
        super().__init__(channel, workers)
        self._vole = vole
        self._keys = keys

    def show(self) -> None:
        self._vole.show()

    def confirm(self) -> None:
        self._vole.confirm()

    def draw(self, n: int, k: int) -> tuple[U8, Callable[[], U8]]:
        """u uint8 `(n,)` of n correlations for a use that is not a batch, and what makes their v,
        uint8 `(n,16)`.
        """
        return self._vole.begin(n, k)

    def pads_of(self, v: U8, k: int, group: int, bits: int) -> Iterator[U8]:
        """As `TransferSender.pads_of`, as `kernels.pads_recv` makes them."""
        pads = self._hashed(lambda: v, len(v), k, group)
        pads.begin(bits)
        for at in pieces(len(v) * group):
            blocks, _, key = pads.of(at)
            yield kernels.pads_recv(blocks, k, key, bits, self._threads)

    def _choices(self, rows: int, n: int, k: int, group: int) -> tuple[U8, Sequence[Pads]]:
        u, late = self._vole.begin(rows * n, k)
        v = cache(late)
        pads = []
        for row in range(rows):
            of_row = slice(row * n, (row + 1) * n)
            pads.append(self._hashed(partial(_rows_of, v, of_row), n, k, group))
        return u.reshape(rows, n), pads

    def _hashed(self, v: Callable[[], U8], n: int, k: int, group: int) -> HashedPads:
        key = self._keys.take(n * group, k)
        return HashedPads(k=k, key=key, group=group, blocks=v, delta=NONE)


def _rows_of(blocks: Callable[[], U8], at: slice) -> U8:
    return blocks()[at]
