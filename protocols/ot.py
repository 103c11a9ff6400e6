"""1-of-2^k transfers (k = 1..4) from VOLE correlations: XOR lookups and additive lookups.

Both parties call the same operations in the same order. A batch is opened by the receiver's choices (`choose` /
`accept`) and answered once; its correlations are then used up. Pads are `H(tweak, w + x*delta)` with a tweak that
only counts up (TMMO; Guo, Katz, Wang, Yu, S&P 2020).

The result is always shared: the sender's share is set so that option 0's ciphertext is zero, which is why a batch
sends `2^k - 1` messages each and why the sender cannot choose its share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moiety.protocols import kernels
from moiety.protocols.channel import Channel
from moiety.protocols.errors import ContractViolation
from moiety.protocols.vole import VoleReceiver, VoleSender

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]


def packed_bytes(n: int, bits: int) -> int:
    """Bytes of `n` values of `bits` bits."""
    return -(-n * bits // 8)


def message_bytes(n: int, k: int, bits: int) -> int:
    """Bytes of the sender's answer to `n` 1-of-2^k lookups of `bits`-bit entries."""
    return packed_bytes(n * ((1 << k) - 1), bits)


@dataclass(kw_only=True)
class _Batch:
    """One opened batch; `spend` makes sure that it is answered once."""

    k: int
    tweak: int
    spent: bool = False

    def spend(self) -> None:
        if self.spent:
            raise ContractViolation("a batch of transfers is answered once")
        self.spent = True


@dataclass(kw_only=True)
class SentBatch(_Batch):
    """Sender's half: w uint8 `(n,16)`, the receiver's shifts uint8 `(n,)`."""

    w: U8
    shifts: U8


@dataclass(kw_only=True)
class ReceivedBatch(_Batch):
    """Receiver's half: u, choices uint8 `(n,)`, v uint8 `(n,16)`."""

    u: U8
    v: U8
    choices: U8


class _Endpoint:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tweak = 0

    def _next_tweak(self, n: int) -> int:
        tweak = self._tweak
        self._tweak += n
        return tweak


class TransferSender(_Endpoint):
    """Sends tables; learns nothing about which entry is taken."""

    def __init__(self, channel: Channel, vole: VoleSender) -> None:
        super().__init__(channel)
        self._vole = vole

    def accept(self, n: int, k: int) -> SentBatch:
        """Receive the choices of `n` 1-of-2^k transfers."""
        w = self._vole.extend(n, k)
        width = self._vole.shift_bits(k)
        shifts = kernels.unpack8(self._channel.recv(packed_bytes(n, width)), n, width)
        return SentBatch(k=k, tweak=self._next_tweak(n), w=w, shifts=shifts)

    def lookup(self, batch: SentBatch, table: U8, bits: int) -> U8:
        """XOR-share `table[i, choice_i]`, table uint8 `(n, 2^k)` of `bits`-bit entries; returns this party's share
        uint8 `(n,)`.
        """
        batch.spend()
        messages, share = kernels.lookup_send(
            batch.w, self._vole.delta, batch.k, batch.tweak, batch.shifts, table, bits
        )
        self._channel.send(messages)
        return share

    def leaf(self, batch: SentBatch, digits: U8, with_eq: bool) -> U8:
        """XOR-share `[digit < choice] | [digit == choice] << 1` (the second only `with_eq`), uint8 `(count, n)` for
        several digits uint8 `(count, n)` against each choice.
        """
        batch.spend()
        messages, share = kernels.leaves_send(
            batch.w, self._vole.delta, batch.k, batch.tweak, batch.shifts, digits, with_eq
        )
        self._channel.send(messages)
        return share

    def join(self, batch: SentBatch, own: U8, function: U8, bits: int) -> U8:
        """XOR-share `function[own_i ^ choice_i]`: a public function of XOR-shared bits, uint8 `(2^k,)`."""
        batch.spend()
        delta = self._vole.delta
        messages, share = kernels.join_send(batch.w, delta, batch.k, batch.tweak, batch.shifts, own, function, bits)
        self._channel.send(messages)
        return share

    def multiplex_4(self, batch: SentBatch, x: U64, gate: U8, flip: U8, bits: int, out_bits: int) -> U64:
        """The server's half of the multiplexer (kernels.mux_server); returns this party's share uint64 `(n,)`."""
        batch.spend()
        delta = self._vole.delta
        messages, share = kernels.mux_server(batch.w, delta, batch.tweak, batch.shifts, x, gate, flip, bits, out_bits)
        self._channel.send(messages)
        return share

    def multiplex_2(self, batch: SentBatch, x: U64, gate: U8, bits: int, out_bits: int) -> U64:
        """The client's half (kernels.mux_client)."""
        batch.spend()
        delta = self._vole.delta
        messages, share = kernels.mux_client(batch.w, delta, batch.tweak, batch.shifts, x, gate, bits, out_bits)
        self._channel.send(messages)
        return share

    def additive(self, batch: SentBatch, table: U64, bits: int) -> U64:
        """Additively share `table[i, choice_i]` modulo 2^bits; returns this party's share uint64 `(n,)`."""
        batch.spend()
        messages, share = kernels.arith_send(batch.w, self._vole.delta, batch.k, batch.tweak, batch.shifts, table, bits)
        self._channel.send(messages)
        return share


class TransferReceiver(_Endpoint):
    """Chooses entries; learns its share of them and nothing else of the tables."""

    def __init__(self, channel: Channel, vole: VoleReceiver) -> None:
        super().__init__(channel)
        self._vole = vole

    def choose(self, choices: U8, k: int) -> ReceivedBatch:
        """Open a batch with `choices` uint8 `(n,)` of k bits."""
        n = choices.size
        u, v = self._vole.extend(n, k)
        self._channel.send(kernels.pack(choices ^ u, self._vole.shift_bits(k)))
        return ReceivedBatch(k=k, tweak=self._next_tweak(n), u=u, v=v, choices=choices)

    def lookup(self, batch: ReceivedBatch, bits: int) -> U8:
        """This party's XOR share of the chosen entries, uint8 `(n,)`."""
        batch.spend()
        messages = self._channel.recv(message_bytes(batch.choices.size, batch.k, bits))
        return kernels.lookup_recv(batch.v, batch.k, batch.tweak, batch.choices, batch.u, bits, messages)

    def leaf(self, batch: ReceivedBatch, count: int, with_eq: bool) -> U8:
        """This party's XOR share of `(lt, eq)` against `count` digits, uint8 `(count, n)`."""
        batch.spend()
        messages = self._channel.recv(message_bytes(batch.choices.size, batch.k, count * (1 + with_eq)))
        return kernels.leaves_recv(batch.v, batch.k, batch.tweak, batch.choices, batch.u, count, with_eq, messages)

    def additive(self, batch: ReceivedBatch, bits: int) -> U64:
        """This party's additive share of the chosen entries modulo 2^bits, uint64 `(n,)`."""
        batch.spend()
        messages = self._channel.recv(message_bytes(batch.choices.size, batch.k, bits))
        return kernels.arith_recv(batch.v, batch.k, batch.tweak, batch.choices, batch.u, bits, messages)
