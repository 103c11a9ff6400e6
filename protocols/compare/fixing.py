"""Fixing: what a run sends where the client's share of every value is a mask that it knew before
(masked). A share is brought to its mask, and a product of a bit and a known number is opened.

*Fixing.* The client sends its share less its mask, modulo 2^b or by XOR, the server adds it to its
own: `x0 + (x1 - mask)`. A gate's bit takes one bit for this.

*Product of the server's bit g and the client's known y*, modulo 2^b. Beforehand: shares a0 + a1 =
mu*y of a random bit mu, the server's (ot/early). In the run the server sends `e = g ^ mu`; then

    g*y = (e ^ mu)*y = e*y + (1-2e)*(a0 + a1),

of which the client sends its part less its mask.

Nothing leaks. The server sees bits and shares under masks that are uniform, used once, and in no
other message: of its mu the client knows nothing, as the receiver's choice of a transfer; of a1 the
server knows nothing where it counts, for it has mu*y - a1 for the one mu alone. Whoever prepares
sees to it that a mask serves one run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.cost import Cost, Size, cost_of, packed
from moiety.protocols.errors import ContractViolation
from moiety.protocols.ot.early import Late, receiver_of, sender_of
from moiety.protocols.session import Session


def fix(session: Session, x: U64, bits: int, mask: U64 | None) -> U64:
    """Shares of the same values, uint64 of x's shape, of which the client's is `mask`; None at the
    server.
    """
    flat = x.reshape(-1)
    if session.is_server:

        def added(at: slice, message: U8) -> U64:
            return ring.reduce(flat[at] + kernels.unpack(message, at.stop - at.start, bits), bits)

        return _receive_fixed(session, flat.size, bits, added).reshape(x.shape)
    if mask is None:
        raise ContractViolation("a client's share is fixed without its mask")
    mine = mask.reshape(-1)
    _send_fixed(session, flat.size, bits, lambda at: kernels.pack(flat[at] - mine[at], bits))
    return mine.reshape(x.shape)


def fix_bits(session: Session, x: U8, mask: U8 | None) -> U8:
    """The same of XOR-shared bits, uint8."""
    if mask is None:
        return x ^ _receive_bits(session, x.size).reshape(x.shape)
    _send_bits(session, (x ^ mask).reshape(-1))
    return mask


def _receive_fixed(session: Session, n: int, bits: int, added: Callable[[slice, U8], U64]) -> U64:
    """The server's shares: what is `added` to a packed message of the client's, for each range."""
    fixed = np.empty(n, np.uint64)

    def arrived(at: slice) -> tuple[slice, U8]:
        return at, session.channel.recv(int(packed(at.stop - at.start, bits)))

    def add(job: tuple[slice, U8]) -> None:
        at, message = job
        fixed[at] = added(at, message)

    session.workers.each(add, session.workers.ranges(n), arrived)
    return fixed


def _send_fixed(session: Session, n: int, bits: int, less: Callable[[slice], U8]) -> None:
    """The client's shares `less` its masks, packed, for each range."""
    if session.channel.silent:
        session.channel.send(bytes(int(packed(n, bits))))
        return
    for message in session.workers.map(less, session.workers.ranges(n)):
        session.channel.send(message)


def _send_bits(session: Session, bits: U8) -> None:
    """Bits that are masked, packed."""
    session.channel.send(kernels.pack(bits, 1, session.workers.pool))


def _receive_bits(session: Session, n: int) -> U8:
    """What `send_bits` sends."""
    return kernels.unpack8(session.channel.recv(int(packed(n, 1))), n, 1, session.workers.pool)


@dataclass(frozen=True)
class Product:
    """A product `g*y` modulo 2^bits when e has been sent. `late` takes this party's a."""

    e: U8
    bits: int
    late: Late

    @classmethod
    def by_server(cls, session: Session, g: U8, bits: int) -> Product:
        """The server's half: it sends e."""
        mu, late = receiver_of(session.receiver).product(g.size, bits)
        _send_bits(session, g ^ mu)
        return cls(g ^ mu, bits, late)

    @classmethod
    def by_client(cls, session: Session, n: int, y: Callable[[], U64], bits: int) -> Product:
        """The client's half; y `(n,)` modulo 2^bits is asked for when the run is prepared alone."""
        late = sender_of(session.sender).product(n, y, bits)
        return cls(_receive_bits(session, n), bits, late)

    def told(self, session: Session, by: U8) -> Product:
        """Of `g ^ by`, of which the client knows `by` and tells the server, under a mask."""
        _send_bits(session, by)
        return self._turned(by)

    def heard(self, session: Session) -> Product:
        """The same at the server."""
        return self._turned(_receive_bits(session, self.e.size))

    def _turned(self, by: U8) -> Product:
        return Product(self.e ^ by, self.bits, self.late)

    def received(self, session: Session, x: U64, shift: int, flip: U8) -> U64:
        """In the flight that fixes it, the server's shares of the product and more: of `(x >>
        shift) - flip + (1-2e)*a`, when the client has taken off its mask.
        """
        share, bits, e = self._shares(), self.bits, self.e

        def added(at: slice, message: U8) -> U64:
            return kernels.masked_receive(x[at], shift, flip[at], share(at), e[at], message, bits)

        return _receive_fixed(session, x.size, bits, added)

    def sent(self, session: Session, x: U64, shift: int, y: U64 | None, bit: U8, mask: U64) -> None:
        """The client's: it takes its mask off `(x >> shift) + bit*y + (1-2e)*a`, where y is None
        for ones.
        """
        share, bits, e = self._shares(), self.bits, self.e

        def less(at: slice) -> U8:
            known = None if y is None else y[at]
            return kernels.masked_send(
                x[at], shift, known, bit[at], share(at), e[at], mask[at], bits
            )

        _send_fixed(session, x.size, bits, less)

    def values(self, session: Session) -> U64:
        """`(1-2e)*a` of all elements modulo 2^64, where it is a part of something else."""
        stream, n = self.late(), self.e.size
        if session.channel.silent:
            return np.zeros(n, np.uint64)
        return negated(kernels.unpack(stream, n, self.bits, session.workers.pool), self.e)

    def _shares(self) -> Callable[[slice], U8]:
        """a of some elements, packed. Slices begin where a packed stream is whole in bytes."""
        stream, bits = self.late(), self.bits

        def of(at: slice) -> U8:
            begin = at.start * bits // 8
            return stream[begin : begin + int(packed(at.stop - at.start, bits))]

        return of


def all_ones(bits: U8) -> U64:
    """All bits of a word that is to be kept, none of one that is not: no branch."""
    return np.negative(bits.astype(np.uint64))


def negated(x: U64, where: U8) -> U64:
    """x, or its negative where the bit is 1."""
    ones = all_ones(where)
    return (x ^ ones) - ones


# --- declared costs -------------------------------------------------------------------------------


@cost_of(fix)
def fix_cost(n: Size, bits: Size) -> Cost:
    """Of n values."""
    return Cost.of(("C", packed(n, bits)))


@cost_of(fix_bits)
def fix_bits_cost(n: Size) -> Cost:
    """Of n bits."""
    return fix_cost(n, 1)


def open_cost(n: Size) -> Cost:
    """What `Product.by_server` sends for n products, the same whatever their ring."""
    return Cost.of(("S", packed(n, 1)))
