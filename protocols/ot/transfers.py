"""1-of-2^k transfers (k = 1..4) from VOLE correlations: XOR lookups and additive lookups.

Functionality: the sender has a table of 2^k entries per element, the receiver a choice; they get
shares of the chosen entry. Both parties call the same operations in the same order. A batch is
opened by the receiver's choices (`choose` / `accept`) and answered once; its correlations are then
used up. Pads are `H(w + x*delta)`, hashed under AES keys of this connection and direction, of
which every 2^10 blocks use one up (ot/keys; Guo, Katz, Wang, Weng, Yu, CRYPTO 2020).

The result is always shared: the sender's share is set so that option 0's ciphertext is zero, which
is why a batch sends `2^k - 1` messages each and why the sender cannot choose its share. Nothing
leaks: a choice is hidden by the correlation's u, every entry but the chosen one by a pad that the
receiver does not know. The receiver sends k bits and the correlation's corrections per element, the
sender `2^k - 1` entries; one flight each.

Answers go out in pieces (parallel.pieces): one is sent, and opened by the peer, while the next is
made. A party's threads share a piece; the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
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
    other,
    packed,
)
from moiety.protocols.ot.batches import ReceivedBatch, SentBatch
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.parallel import Workers, pieces

R = TypeVar("R")
S = TypeVar("S", np.uint8, np.uint64)


def answer_bytes(n: Size, k: int, bits: Size) -> Size:
    """Bytes of the sender's answer to `n` 1-of-2^k lookups of `bits`-bit entries."""
    return packed(n * ((1 << k) - 1), bits)


class _Endpoint:
    def __init__(self, channel: Channel, keys: HashKeys, workers: Workers | None) -> None:
        self._channel = channel
        self._keys = keys
        self._threads = (workers or Workers()).pool


class TransferSender(_Endpoint):
    """Sends tables; learns nothing about which entry is taken."""

    def __init__(
        self, channel: Channel, vole: VoleSender, keys: HashKeys, workers: Workers | None = None
    ) -> None:
        """`keys` are this direction's, at the same count as the peer's."""
        super().__init__(channel, keys, workers)
        self._vole = vole

    def hear(self) -> None:
        """Half of settling (protocols/settlement)."""
        self._vole.hear()

    def tell(self) -> None:
        """The other half."""
        self._vole.tell()

    def accept(self, n: int, k: int) -> SentBatch:
        """Receive the choices of `n` 1-of-2^k transfers."""
        (batch,) = self.accept_rows(1, n, k)
        return batch

    def accept_rows(self, rows: int, n: int, k: int, group: int = 1) -> list[SentBatch]:
        """Receive the choices of so many batches of `n` 1-of-2^k transfers, each of them for
        `group` elements in a row.
        """
        self._channel.await_flight()
        w = self._vole.extend(rows * n, k)
        batches = []
        for row in range(rows):
            shifts, key = self._channel.recv(packed(n, k)), self._keys.take(n * group, k)
            mine = w[row * n : (row + 1) * n]
            batches.append(SentBatch(k=k, key=key, group=group, w=mine, packed_shifts=shifts))
        return batches

    def lookup(self, batch: SentBatch, table: U8, bits: int) -> U8:
        """XOR-share `table[i, choice_i]`, table uint8 `(n, 2^k)` of `bits`-bit entries; returns
        this party's share uint8 `(n,)`.
        """

        def part(w: U8, shifts: U8, key: U8, at: slice) -> tuple[U8, U8]:
            return kernels.lookup_send(
                w, self._vole.delta, batch.k, key, shifts, table[at], bits, self._threads
            )

        return self._answer(batch, part)

    def leaf(self, batch: SentBatch, digits: U8, with_eq: bool) -> U8:
        """XOR-share `[digit < choice] | [digit == choice] << 1` (the second only `with_eq`), uint8
        `(count, n)` for several digits uint8 `(count, n)` against each choice.
        """

        def part(w: U8, shifts: U8, key: U8, at: slice) -> tuple[U8, U8]:
            mine = np.ascontiguousarray(digits[:, at])
            return kernels.leaves_send(
                w, self._vole.delta, batch.k, key, shifts, mine, with_eq, self._threads
            )

        return self._answer(batch, part)

    def join(self, batch: SentBatch, own: U8, function: U8, bits: int) -> U8:
        """XOR-share `function[own_i ^ choice_i]`: a public function of XOR-shared bits,
        uint8 `(2^k,)`.
        """

        def part(w: U8, shifts: U8, key: U8, at: slice) -> tuple[U8, U8]:
            return kernels.join_send(
                w, self._vole.delta, batch.k, key, shifts, own[at], function, bits, self._threads
            )

        return self._answer(batch, part)

    def multiply(self, batch: SentBatch, x: U64, gate: U8, bits: int) -> U64:
        """Additively share `x * (gate ^ choice)` modulo 2^bits, x uint64 `(n,)`, gate and
        choice 0 or 1; returns this party's share uint64 `(n,)`.
        """

        def part(w: U8, shifts: U8, key: U8, at: slice) -> tuple[U8, U64]:
            return kernels.mux_send(
                w, self._vole.delta, key, shifts, x[at], gate[at], bits, self._threads
            )

        return self._answer(batch, part)

    def multiply_adding(
        self, batch: SentBatch, x: U64, gate: U8, theirs: U64, flip: U8, bits: int
    ) -> tuple[U64, U8]:
        """As `multiply`; returns z uint64 `(n,)`, this party's share plus `theirs` less `flip`, and
        `msb(z) ^ flip`, uint8 `(n,)`.
        """

        def part(w: U8, shifts: U8, key: U8, at: slice) -> tuple[U8, tuple[U64, U8]]:
            messages, z, sign = kernels.mux_send_adding(
                w,
                self._vole.delta,
                key,
                shifts,
                x[at],
                gate[at],
                theirs[at],
                flip[at],
                bits,
                self._threads,
            )
            return messages, (z, sign)

        z, sign = zip(*self._answers(batch, part), strict=True)
        return _joined(z), _joined(sign)

    def widen(self, batch: SentBatch, own: U64, theirs: U64, bits: int, out_bits: int) -> U64:
        """Extend a value whose sign the receiver knows, from this party's share own + theirs
        modulo 2^bits, both uint64 `(n,)`; returns its share modulo 2^out_bits, uint64 `(n,)`.
        """

        def part(w: U8, shifts: U8, key: U8, at: slice) -> tuple[U8, U64]:
            return kernels.widen_send(
                w, self._vole.delta, key, shifts, own[at], theirs[at], bits, out_bits, self._threads
            )

        return self._answer(batch, part)

    def additive(self, batch: SentBatch, table: U64, bits: int) -> U64:
        """Additively share `table[i, choice_i]` modulo 2^bits; returns this party's share
        uint64 `(n,)`.
        """

        def part(w: U8, shifts: U8, key: U8, at: slice) -> tuple[U8, U64]:
            return kernels.arith_send(
                w, self._vole.delta, batch.k, key, shifts, table[at], bits, self._threads
            )

        return self._answer(batch, part)

    def _answer(
        self, batch: SentBatch, kernel: Callable[[U8, U8, U8, slice], tuple[U8, npt.NDArray[S]]]
    ) -> npt.NDArray[S]:
        """Send the answers; returns the shares."""
        return _joined(self._answers(batch, kernel))

    def _answers(
        self, batch: SentBatch, kernel: Callable[[U8, U8, U8, slice], tuple[U8, R]]
    ) -> list[R]:
        """Send the answers of all pieces of the batch in order, each as soon as it is made; returns
        what else the kernel makes of each piece.
        """
        batch.spend()
        kept = []
        for at in pieces(batch.elements):
            shifts = batch.shifts(at, self._threads)
            messages, made = kernel(batch.blocks(at), shifts, batch.key_at(at.start), at)
            self._channel.send(messages)
            kept.append(made)
        return kept


class TransferReceiver(_Endpoint):
    """Chooses entries; learns its share of them and nothing else of the tables."""

    def __init__(
        self, channel: Channel, vole: VoleReceiver, keys: HashKeys, workers: Workers | None = None
    ) -> None:
        """Arguments as `TransferSender`'s."""
        super().__init__(channel, keys, workers)
        self._vole = vole

    def show(self) -> None:
        """Half of settling (protocols/settlement)."""
        self._vole.show()

    def confirm(self) -> None:
        """The other half. Raises `DeviatingPeer`."""
        self._vole.confirm()

    def choose(self, choices: U8, k: int) -> ReceivedBatch:
        """Open a batch with `choices` uint8 `(n,)` of k bits."""
        (batch,) = self.choose_rows(choices[None], k)
        return batch

    def choose_rows(self, choices: U8, k: int, group: int = 1) -> list[ReceivedBatch]:
        """Open a batch for each row of `choices` uint8 `(rows, n)` of k bits, each of them for
        `group` elements in a row. The correlations of all are drawn together.
        """
        n = choices.shape[1]
        u, late = self._vole.begin(choices.size, k)
        v = cache(late)
        batches = []
        for row, mine in enumerate(choices):
            of_row = slice(row * n, (row + 1) * n)
            shifts = mine ^ u[of_row]
            for at in pieces(n):
                self._channel.send(kernels.pack(shifts[at], k, self._threads))
            batches.append(
                ReceivedBatch(
                    k=k,
                    key=self._keys.take(n * group, k),
                    group=group,
                    u=u[of_row],
                    v=partial(_rows_of, v, of_row),
                    choices=mine,
                )
            )
        return batches

    def lookup(self, batch: ReceivedBatch, bits: int) -> U8:
        """This party's XOR share of the chosen entries, uint8 `(n,)`."""

        def part(v: U8, choices: U8, u: U8, key: U8, messages: U8) -> U8:
            return kernels.lookup_recv(v, batch.k, key, choices, u, bits, messages, self._threads)

        return self._open(batch, bits, part)

    def leaf(self, batch: ReceivedBatch, count: int, with_eq: bool) -> U8:
        """This party's XOR share of `(lt, eq)` against `count` digits, uint8 `(count, n)`."""

        def part(v: U8, choices: U8, u: U8, key: U8, messages: U8) -> U8:
            return kernels.leaves_recv(
                v, batch.k, key, choices, u, count, with_eq, messages, self._threads
            )

        return self._open(batch, count * (1 + with_eq), part)

    def widen(self, batch: ReceivedBatch, x: U64, flip: U8, bits: int, out_bits: int) -> U64:
        """This party's share modulo 2^out_bits, uint64 `(n,)`, from its share x of the value less
        `flip`, both `(n,)`; the choices are `msb(x) ^ flip`.
        """

        def part(v: U8, choices: U8, u: U8, key: U8, messages: U8, at: slice) -> U64:
            return kernels.widen_recv(
                v, key, choices, u, x[at], flip[at], bits, out_bits, messages, self._threads
            )

        return self._open_at(batch, out_bits - bits, part)

    def additive(self, batch: ReceivedBatch, bits: int) -> U64:
        """This party's additive share of the chosen entries modulo 2^bits, uint64 `(n,)`."""

        def part(v: U8, choices: U8, u: U8, key: U8, messages: U8) -> U64:
            return kernels.arith_recv(v, batch.k, key, choices, u, bits, messages, self._threads)

        return self._open(batch, bits, part)

    def _open(
        self,
        batch: ReceivedBatch,
        bits: int,
        kernel: Callable[[U8, U8, U8, U8, U8], npt.NDArray[S]],
    ) -> npt.NDArray[S]:
        """As `_open_at`, for a kernel that takes nothing else of the elements."""
        return self._open_at(batch, bits, lambda *given: kernel(*given[:-1]))

    def _open_at(
        self,
        batch: ReceivedBatch,
        bits: int,
        kernel: Callable[[U8, U8, U8, U8, U8, slice], npt.NDArray[S]],
    ) -> npt.NDArray[S]:
        """Receive the answers of `bits`-bit entries piece by piece, and open each while the next
        one arrives; returns the shares.
        """
        batch.spend()
        if batch.elements:
            self._channel.await_flight()
        v = batch.v()  # while the sender works

        opened = []
        for at in pieces(batch.elements):
            messages = self._channel.recv(answer_bytes(at.stop - at.start, batch.k, bits))
            opened.append(kernel(*batch.part(v, at), batch.key_at(at.start), messages, at))
        return _joined(opened)


def _rows_of(blocks: Callable[[], U8], at: slice) -> U8:
    return blocks()[at]


def _joined(parts: Sequence[npt.NDArray[S]]) -> npt.NDArray[S]:
    """The parts of all pieces, along their last axis."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


# --- declared costs -------------------------------------------------------------------------------


@cost_of(
    TransferReceiver.choose,
    TransferReceiver.choose_rows,
    TransferSender.accept,
    TransferSender.accept_rows,
)
def choose_cost(receiver: Party, n: Size, k: int, rows: int = 1) -> Cost:
    """The receiver opens `rows` batches of n 1-of-2^k transfers."""
    send = Send(receiver, packed(n, k), (Work("choose", n),), (Work("accept", n),))
    return Cost((Draw(receiver, rows * n, k), *(send,) * rows))


@cost_of(
    TransferSender.lookup,
    TransferSender.leaf,
    TransferSender.join,
    TransferSender.multiply,
    TransferSender.multiply_adding,
    TransferSender.widen,
    TransferSender.additive,
    TransferReceiver.lookup,
    TransferReceiver.leaf,
    TransferReceiver.widen,
    TransferReceiver.additive,
)
def answer_cost(
    sender: Party, n: Size, k: int, bits: Size, made: Works = (), read: Works = ()
) -> Cost:
    """The sender answers them with `bits`-bit entries; `made` and `read` are the work of making and
    of opening the answer.
    """
    return Cost((Send(sender, answer_bytes(n, k, bits), made, read),))


@dataclass(frozen=True)
class Lookup:
    """n lookups of `bits`-bit entries, with the work of making and of opening the answer."""

    n: Size
    k: int
    bits: Size
    made: Works = ()
    read: Works = ()

    @classmethod
    def xor(cls, n: Size, k: int, bits: Size) -> Lookup:
        """Of an XOR-shared entry."""
        return cls(n, k, bits, (Work(f"join_send_{k}", n),), (Work(f"join_recv_{k}", n),))


def lookups_cost(sender: Party, jobs: Iterable[Lookup]) -> Cost:
    """Lookups in the same flights: all are opened, then all answered by `sender`."""
    jobs = list(jobs)
    opened = sum((choose_cost(other(sender), job.n, job.k) for job in jobs), Cost())
    answers = (answer_cost(sender, job.n, job.k, job.bits, job.made, job.read) for job in jobs)
    return sum(answers, opened)
