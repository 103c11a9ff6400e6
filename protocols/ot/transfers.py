"""1-of-2^k transfers (k = 1..4) from VOLE correlations: XOR lookups and additive lookups.

Functionality: the sender has a table of 2^k entries per element, the receiver a choice; they get
shares of the chosen entry. Both parties call the same operations in the same order. A batch is
opened by the receiver's choices (`choose` / `accept`) and answered once; its correlations are then
used up. Pads are `H(w + x*delta)`, hashed under AES keys of this connection and direction, of
which every 2^10 blocks use one up (ot/keys; Guo, Katz, Wang, Weng, Yu, CRYPTO 2020). `Sender` and
`Receiver` are what protocols see; pads come from correlations that are drawn when a batch is opened
(ot/on_demand), or were made beforehand (ot/prepared).

The result is always shared: the sender's share is set so that option 0's ciphertext is zero, which
is why a batch sends `2^k - 1` messages each and why the sender cannot choose its share. Nothing
leaks: a choice is hidden by the correlation's u, every entry but the chosen one by a pad that the
receiver does not know. The receiver sends k bits and the correlation's corrections per element, the
sender `2^k - 1` entries; one flight each.

Answers go out in pieces (parallel.pieces): one is sent, and opened by the peer, while the next is
made. A party's threads share a piece; the bytes are the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.channel import Channel
from moiety.protocols.cost import (
    Cost,
    Draw,
    Party,
    Send,
    Size,
    Work,
    Works,
    cost_of,
    packed,
)
from moiety.protocols.ot.batches import (
    Given,
    Opened,
    Pads,
    ReceivedBatch,
    SentBatch,
)
from moiety.protocols.parallel import Workers, pieces

R = TypeVar("R")
S = TypeVar("S", np.uint8, np.uint64)


def answer_bytes(n: Size, k: int, bits: Size) -> Size:
    """Bytes of the sender's answer to `n` 1-of-2^k lookups of `bits`-bit entries."""
    return packed(n * ((1 << k) - 1), bits)


class _Endpoint:
    def __init__(self, channel: Channel, workers: Workers | None) -> None:
        self._channel = channel
        self._threads = (workers or Workers()).pool


class Sender(_Endpoint, ABC):
    """Sends tables; learns nothing about which entry is taken. Where its pads come from is a
    subclass's affair.
    """

    @abstractmethod
    def _pads(self, rows: int, n: int, k: int, group: int) -> Sequence[Pads]:
        """Those of so many batches of n 1-of-2^k transfers, each for `group` elements in a row."""

    def hear(self) -> None:
        """Half of settling (protocols/settlement)."""
        return None

    def tell(self) -> None:
        """The other half."""
        return None

    def accept(self, n: int, k: int) -> SentBatch:
        """Receive the choices of `n` 1-of-2^k transfers."""
        (batch,) = self.accept_rows(1, n, k)
        return batch

    def accept_rows(self, rows: int, n: int, k: int, group: int = 1) -> list[SentBatch]:
        """Receive the choices of so many batches of `n` 1-of-2^k transfers, each of them for
        `group` elements in a row.
        """
        self._channel.await_flight()
        batches = []
        for pads in self._pads(rows, n, k, group):
            shifts = self._channel.recv(packed(n, k))
            batches.append(SentBatch(k=k, group=group, pads=pads, n=n, packed_shifts=shifts))
        return batches

    def lookup(self, batch: SentBatch, table: U8, bits: int) -> U8:
        """XOR-share `table[i, choice_i]`, table uint8 `(n, 2^k)` of `bits`-bit entries; returns
        this party's share uint8 `(n,)`.
        """

        def part(pads: Given, shifts: U8, at: slice) -> tuple[U8, U8]:
            return kernels.lookup_send(
                pads.blocks, pads.delta, batch.k, pads.key, shifts, table[at], bits, self._threads
            )

        return self._answer(batch, bits, part)

    def leaf(self, batch: SentBatch, digits: U8, with_eq: bool) -> U8:
        """XOR-share `[digit < choice] | [digit == choice] << 1` (the second only `with_eq`), uint8
        `(count, n)` for several digits uint8 `(count, n)` against each choice.
        """

        def part(pads: Given, shifts: U8, at: slice) -> tuple[U8, U8]:
            mine = np.ascontiguousarray(digits[:, at])
            return kernels.leaves_send(
                pads.blocks, pads.delta, batch.k, pads.key, shifts, mine, with_eq, self._threads
            )

        return self._answer(batch, len(digits) * (1 + with_eq), part)

    def join(self, batch: SentBatch, own: U8, function: U8, bits: int) -> U8:
        """XOR-share `function[own_i ^ choice_i]`: a public function of XOR-shared bits,
        uint8 `(2^k,)`.
        """

        def part(pads: Given, shifts: U8, at: slice) -> tuple[U8, U8]:
            return kernels.join_send(
                pads.blocks,
                pads.delta,
                batch.k,
                pads.key,
                shifts,
                own[at],
                function,
                bits,
                self._threads,
            )

        return self._answer(batch, bits, part)

    def multiply(self, batch: SentBatch, x: U64, gate: U8, bits: int) -> U64:
        """Additively share `x * (gate ^ choice)` modulo 2^bits, x uint64 `(n,)`, gate and
        choice 0 or 1; returns this party's share uint64 `(n,)`.
        """

        def part(pads: Given, shifts: U8, at: slice) -> tuple[U8, U64]:
            return kernels.mux_send(
                pads.blocks, pads.delta, pads.key, shifts, x[at], gate[at], bits, self._threads
            )

        return self._answer(batch, bits, part)

    def multiply_adding(
        self, batch: SentBatch, x: U64, gate: U8, theirs: U64, flip: U8, bits: int
    ) -> tuple[U64, U8]:
        """As `multiply`; returns z uint64 `(n,)`, this party's share plus `theirs` less `flip`, and
        `msb(z) ^ flip`, uint8 `(n,)`.
        """

        def part(pads: Given, shifts: U8, at: slice) -> tuple[U8, tuple[U64, U8]]:
            messages, z, sign = kernels.mux_send_adding(
                pads.blocks,
                pads.delta,
                pads.key,
                shifts,
                x[at],
                gate[at],
                theirs[at],
                flip[at],
                bits,
                self._threads,
            )
            return messages, (z, sign)

        z, sign = zip(*self._answers(batch, bits, part), strict=True)
        return _joined(z), _joined(sign)

    def widen(self, batch: SentBatch, own: U64, theirs: U64, bits: int, out_bits: int) -> U64:
        """Extend a value whose sign the receiver knows, from this party's share own + theirs
        modulo 2^bits, both uint64 `(n,)`; returns its share modulo 2^out_bits, uint64 `(n,)`.
        """

        def part(pads: Given, shifts: U8, at: slice) -> tuple[U8, U64]:
            return kernels.widen_send(
                pads.blocks,
                pads.delta,
                pads.key,
                shifts,
                own[at],
                theirs[at],
                bits,
                out_bits,
                self._threads,
            )

        return self._answer(batch, out_bits - bits, part)

    def additive(self, batch: SentBatch, table: U64, bits: int) -> U64:
        """Additively share `table[i, choice_i]` modulo 2^bits; returns this party's share
        uint64 `(n,)`.
        """

        def part(pads: Given, shifts: U8, at: slice) -> tuple[U8, U64]:
            return kernels.arith_send(
                pads.blocks, pads.delta, batch.k, pads.key, shifts, table[at], bits, self._threads
            )

        return self._answer(batch, bits, part)

    def _answer(
        self,
        batch: SentBatch,
        bits: int,
        kernel: Callable[[Given, U8, slice], tuple[U8, npt.NDArray[S]]],
    ) -> npt.NDArray[S]:
        """Send the answers; returns the shares."""
        return _joined(self._answers(batch, bits, kernel))

    def _answers(
        self, batch: SentBatch, bits: int, kernel: Callable[[Given, U8, slice], tuple[U8, R]]
    ) -> list[R]:
        """Send the answers of all pieces of the batch in order, entries of `bits` bits, each as
        soon as it is made; returns what else the kernel makes of each piece.
        """
        batch.spend()
        batch.pads.begin(bits)
        kept = []
        for at in pieces(batch.elements):
            messages, made = kernel(batch.pads.of(at), batch.shifts(at, self._threads), at)
            self._channel.send(messages)
            kept.append(made)
        return kept


class Receiver(_Endpoint, ABC):
    """Chooses entries; learns its share of them and nothing else of the tables."""

    @abstractmethod
    def _choices(self, rows: int, n: int, k: int, group: int) -> tuple[U8, Sequence[Pads]]:
        """What hides the choices of such batches, u uint8 `(rows, n)` of k bits, and their pads."""

    def show(self) -> None:
        """Half of settling (protocols/settlement)."""
        return None

    def confirm(self) -> None:
        """The other half. Raises `DeviatingPeer`."""
        return None

    def choose(self, choices: U8, k: int) -> ReceivedBatch:
        """Open a batch with `choices` uint8 `(n,)` of k bits."""
        (batch,) = self.choose_rows(choices[None], k)
        return batch

    def choose_rows(self, choices: U8, k: int, group: int = 1) -> list[ReceivedBatch]:
        """Open a batch for each row of `choices` uint8 `(rows, n)` of k bits, each of them for
        `group` elements in a row.
        """
        rows, n = choices.shape
        hiding, pads = self._choices(rows, n, k, group)
        batches = []
        for mine, u, of_row in zip(choices, hiding, pads, strict=True):
            shifts = mine ^ u
            for at in pieces(n):
                self._channel.send(kernels.pack(shifts[at], k, self._threads))
            batches.append(ReceivedBatch(k=k, group=group, pads=of_row, u=u, choices=mine))
        return batches

    def lookup(self, batch: ReceivedBatch, bits: int) -> U8:
        """This party's XOR share of the chosen entries, uint8 `(n,)`."""

        def part(of: Opened, messages: U8, at: slice) -> U8:
            return kernels.lookup_recv(
                of.pads.blocks,
                batch.k,
                of.pads.key,
                of.choices,
                of.u,
                bits,
                messages,
                self._threads,
            )

        return self._opened(batch, bits, part)

    def leaf(self, batch: ReceivedBatch, count: int, with_eq: bool) -> U8:
        """This party's XOR share of `(lt, eq)` against `count` digits, uint8 `(count, n)`."""

        def part(of: Opened, messages: U8, at: slice) -> U8:
            return kernels.leaves_recv(
                of.pads.blocks,
                batch.k,
                of.pads.key,
                of.choices,
                of.u,
                count,
                with_eq,
                messages,
                self._threads,
            )

        return self._opened(batch, count * (1 + with_eq), part)

    def widen(self, batch: ReceivedBatch, x: U64, flip: U8, bits: int, out_bits: int) -> U64:
        """This party's share modulo 2^out_bits, uint64 `(n,)`, from its share x of the value less
        `flip`, both `(n,)`; the choices are `msb(x) ^ flip`.
        """

        def part(of: Opened, messages: U8, at: slice) -> U64:
            return kernels.widen_recv(
                of.pads.blocks,
                of.pads.key,
                of.choices,
                of.u,
                x[at],
                flip[at],
                bits,
                out_bits,
                messages,
                self._threads,
            )

        return self._opened(batch, out_bits - bits, part)

    def additive(self, batch: ReceivedBatch, bits: int) -> U64:
        """This party's additive share of the chosen entries modulo 2^bits, uint64 `(n,)`."""

        def part(of: Opened, messages: U8, at: slice) -> U64:
            return kernels.arith_recv(
                of.pads.blocks,
                batch.k,
                of.pads.key,
                of.choices,
                of.u,
                bits,
                messages,
                self._threads,
            )

        return self._opened(batch, bits, part)

    def _opened(
        self,
        batch: ReceivedBatch,
        bits: int,
        kernel: Callable[[Opened, U8, slice], npt.NDArray[S]],
    ) -> npt.NDArray[S]:
        """Receive the answers of `bits`-bit entries piece by piece, and open each while the next
        one arrives; returns the shares.
        """
        batch.spend()
        if batch.elements:
            self._channel.await_flight()
        batch.pads.begin(bits)  # while the sender works
        opened = []
        for at in pieces(batch.elements):
            messages = self._channel.recv(answer_bytes(at.stop - at.start, batch.k, bits))
            opened.append(kernel(batch.part(at), messages, at))
        return _joined(opened)


def _joined(parts: Sequence[npt.NDArray[S]]) -> npt.NDArray[S]:
    """The parts of all pieces, along their last axis."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


# --- declared costs -------------------------------------------------------------------------------


@cost_of(
    Receiver.choose,
    Receiver.choose_rows,
    Sender.accept,
    Sender.accept_rows,
)
def choose_cost(receiver: Party, n: Size, k: int, rows: int = 1) -> Cost:
    """The receiver opens `rows` batches of n 1-of-2^k transfers."""
    send = Send(receiver, packed(n, k), (Work("choose", n),), (Work("accept", n),))
    return Cost((Draw(receiver, rows * n, k), *(send,) * rows))


@cost_of(
    Sender.lookup,
    Sender.leaf,
    Sender.join,
    Sender.multiply,
    Sender.multiply_adding,
    Sender.widen,
    Sender.additive,
    Receiver.lookup,
    Receiver.leaf,
    Receiver.widen,
    Receiver.additive,
)
def answer_cost(
    sender: Party, n: Size, k: int, bits: Size, made: Works = (), read: Works = ()
) -> Cost:
    """The sender answers them with `bits`-bit entries; `made` and `read` are the work of making and
    of opening the answer.
    """
    return Cost((Send(sender, answer_bytes(n, k, bits), made, read),))
