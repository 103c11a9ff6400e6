"""What transfers can do where a party knows its part of them before the run: choices that leave
early, and products of random bits with known numbers.

*Early choices.* The receiver's choices are known when a run is prepared. It sends them then, hidden
by u as ever, and the sender turns its pads by what it hears (`kernels.add_multiples`): in the run
nothing is sent to open the batch, and its shifts are zero. The receiver gives the choices once
more, and they must be those that were sent.

*Products.* Shares of `mu * y` modulo 2^bits for bits mu, which are random and the receiver's, and
numbers y, the sender's: a 1-of-2 transfer of y with a choice that nobody has to choose. In the run
nothing is sent; what it is good for is in compare/masked.

Both endpoints of a run that is prepared have these (ot/prepared, ot/recording). They are not asked
of a session whose transfers are on demand.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.cost import packed
from moiety.protocols.errors import ContractViolation
from moiety.protocols.ot.batches import ReceivedBatch, SentBatch
from moiety.protocols.ot.transfers import Receiver, Sender

Late = Callable[[], U8]
"""Takes shares, packed, once, in the order in which the parties' flights follow each other: as all
that both count, what one lane takes must come at both before or after what another takes.
"""


class EarlySender(Sender):
    """A sender of a prepared run."""

    @abstractmethod
    def accept_early(self, n: int, k: int) -> SentBatch:
        """A batch of `n` 1-of-2^k transfers whose choices came when the run was prepared."""

    @abstractmethod
    def product(self, n: int, y: Callable[[], U64], bits: int) -> Late:
        """What takes this party's shares of `mu * y` modulo 2^bits; y, uint64 `(n,)`, is asked for
        where what is known is recorded. Opened with the flight that the peer sends next, and taken
        where this party answers that.
        """


class EarlyReceiver(Receiver):
    """A receiver of a prepared run."""

    @abstractmethod
    def choose_early(self, choices: U8, k: int) -> ReceivedBatch:
        """A batch of the choices uint8 `(n,)` of k bits that were sent when the run was prepared.
        Raises `ContractViolation` where they are others.
        """

    @abstractmethod
    def product(self, n: int, bits: int) -> tuple[U8, Late]:
        """n random bits mu, uint8 `(n,)`, and what takes this party's shares of `mu * y` modulo
        2^bits: where it reads the peer's next flight.
        """


def sender_of(end: Sender) -> EarlySender:
    """A session's, for a protocol of a prepared run."""
    if not isinstance(end, EarlySender):
        raise ContractViolation("only a prepared run knows its choices and products beforehand")
    return end


def receiver_of(end: Receiver) -> EarlyReceiver:
    """Likewise."""
    if not isinstance(end, EarlyReceiver):
        raise ContractViolation("only a prepared run knows its choices and products beforehand")
    return end


def _no_more() -> bool:
    return False


@dataclass
class Known:
    """What a party knows before the run, packed, by the number of the opening: in the direction
    that it receives the early `choices`, in the other one the numbers of `products`. `more`: finds
    out more of it, where there is more.
    """

    choices: dict[int, U8] = field(default_factory=dict, repr=False)
    products: dict[int, U8] = field(default_factory=dict, repr=False)
    more: Callable[[], bool] = field(default=_no_more, repr=False)

    def choices_at(self, opening: int, k: int, start: int, n: int) -> U8:
        """uint8 `(n,)`; start is where a packed stream is whole in bytes. Raises
        `ContractViolation` where nothing is known.
        """
        return kernels.unpack8(self._part(self.choices, opening, k, start, n), n, k)

    def products_at(self, opening: int, bits: int, start: int, n: int) -> U8:
        """Packed. Raises likewise."""
        return self._part(self.products, opening, bits, start, n)

    def _part(self, streams: dict[int, U8], opening: int, bits: int, start: int, n: int) -> U8:
        while opening not in streams:
            if not self.more():
                raise ContractViolation(
                    f"nothing is known of opening {opening} of a run to prepare"
                )
        begin = start * bits // 8
        return streams[opening][begin : begin + int(packed(n, bits))]


def no_shifts(n: int, k: int) -> U8:
    """Those of choices for which the pads were turned, packed."""
    return np.zeros(int(packed(n, k)), np.uint8)
