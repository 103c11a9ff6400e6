"""Boolean to additive shares: the B2A of CrypTFlow2 (CCS 2020), as a lookup in place of a
correlated transfer.

Functionality: XOR shares of a bit to additive shares of it modulo 2^bits, exact, 1 <= bits <= 64.
One 1-of-2 transfer from a party to its peer: the peer's choice is its share, entry j is `j ^ the
sender's share`. Two flights, choice and answer: per element a correlation of width 1 and a 1-bit
choice, then `bits` bits. Nothing leaks.

The party that answered last in the comparison that made the bit knows its share first, and chooses:
its choice leaves with that answer, as in a joining round (millionaires.round_sender).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.digits import DigitPlan, plan_digits
from moiety.protocols.compare.millionaires import (
    comparison_plan,
    round_sender,
    wrap,
    wrap_cost,
)
from moiety.protocols.cost import Cost, Size, Work, cost_of
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.batches import ReceivedBatch, SentBatch
from moiety.protocols.ot.lookups import Lookup, lookups_cost
from moiety.protocols.session import Role, Session


def bit_to_ring(session: Session, sender: Role, bit: U8, bits: int) -> U64:
    """Additive shares modulo 2^bits of an XOR-shared bit, uint8 `(n,)` -> uint64 `(n,)`. `sender`
    answers, its peer chooses.
    """
    return Conversion.open(session, sender, bit).answers(bits)


@dataclass(frozen=True)
class Conversion:
    """A conversion as in `bit_to_ring` between its choices and its answers, so that other lookups
    can travel with it.
    """

    session: Session
    bit: U8
    batch: SentBatch | ReceivedBatch

    @classmethod
    def open(cls, session: Session, sender: Role, bit: U8) -> Conversion:
        """The choices."""
        if session.role is sender:
            return cls(session, bit, session.sender.accept(bit.size, 1))
        return cls(session, bit, session.receiver.choose(bit, 1))

    def answers(self, bits: int) -> U64:
        """The answers: this party's share."""
        if isinstance(self.batch, ReceivedBatch):
            return self.session.receiver.additive(self.batch, bits)
        ones = np.ones(self.bit.size, np.uint64)
        return self.session.sender.multiply(self.batch, ones, self.bit, bits)


def carry_to_ring(session: Session, x: U64, bits: int, out_bits: int) -> U64:
    """Additive shares modulo 2^out_bits of `[x0 + x1 >= 2^bits]`, uint64 `(n,)`, for the low bits
    of `x` uint64 `(n,)`: a comparison, and the conversion as one round more.
    """
    n = session.sharing_flights(x.size)
    rounds = len(plan_digits(bits, 1, n, session.network).joins)
    return bit_to_ring(session, round_sender(rounds), wrap(session, x, bits), out_bits)


# --- declared costs -------------------------------------------------------------------------------


@cost_of(bit_to_ring)
def bit_to_ring_cost(n: Size, bits: Size, sender: Role) -> Cost:
    """Of n bits."""
    return lookups_cost(sender.letter, [conversion_lookup(n, bits)])


def conversion_lookup(n: Size, bits: Size) -> Lookup:
    """The transfer of a conversion."""
    return Lookup(n, 1, bits, (Work("mux_send", n),), (Work("open_1", n),))


@cost_of(carry_to_ring)
def carry_to_ring_cost(
    n: Size, bits: int, out_bits: Size, network: Network | DigitPlan = LAN
) -> Cost:
    """Of n values; the pass over the server's share is counted with its caller's."""
    plan = comparison_plan(n, bits, 1, network)
    converted = bit_to_ring_cost(n, out_bits, round_sender(len(plan.joins)))
    return wrap_cost(n, bits, plan) + converted
