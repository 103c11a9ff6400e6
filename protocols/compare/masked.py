"""Truncation, gates and multiplexer where the client's share of every value is a mask that it knew
before the run.

Functionality of each: that of its namesake (truncate, relu, joint), exact in the same cases, on
additive shares x = x0 + x1 whose x1 the client knew when the run was prepared; and the client's
share of the result is the mask that it gives, which it knew then, too. So no step's result has to
wait for messages before the next step's choices, and none of a linear layer's operand
(linear/split) is sent at all. Only runs that are prepared have it (ot/early).

*Comparisons.* The client's digits are those of x1: they left when the run was prepared, and the
server begins with its answers. The joins go as ever, since what they join is known to nobody.

*Fixing.* The client sends its share less its mask, modulo 2^b or by XOR, the server adds it to its
own: `x0 + (x1 - mask)`. A gate's bit takes one bit for this.

*Product of the server's bit g and the client's known y*, modulo 2^b. Beforehand: shares a0 + a1 =
mu*y of a random bit mu, the server's (ot/early). In the run the server sends `e = g ^ mu`; then

    g*y = (e ^ mu)*y = e*y + (1-2e)*(a0 + a1),

of which the client sends its part less its mask. What the protocols need is all of this form:

- A carry c = c0 ^ c1 to additive shares. With a random bit k of the client's, y = 1 - 2k and g = c
  ^ k, `c = k + g*y`. The server sends `c0 ^ mu`, the client `c1 ^ k`, and e is the sum of both.
- The client's half of a multiplexer: d*y1 with d = d0 ^ d1 is `d1*y1 + d0*(1-2*d1)*y1`. The
  server's half, d*y0, is a 1-of-2 transfer whose choice d1 left early.
- The extension of a value whose sign is known (relu, second step) takes `j*m1` with the server's
  bit j and the top bit m1 of the client's share, modulo 2^(out_bits - bits).

*Multiplexer and extension at once*, in one round trip in place of two, where that is worth the bits
(`at_once`). Of shares v0 + v1 of a value less its flip f, whose sign is therefore known where the
gate d = d0 ^ d1 is open, let s be the signed lifts, m1 the top bit of v1 and j that of v0 plus f
(XOR). Then

    value = f + s0 + s1 + 2^bits*(j*m1 - j*f),
    d*value = d*(f + s0 - 2^bits*j*f) + d*s1 + 2^bits*d*j*m1:

a 1-of-2 transfer of what the server knows, a product of d0 and what the client knows, and, as d*j =
d0*j*(1-2*d1) + j*d1, two products of the server's bits d0*j and j with (1-2*d1)*m1 and d1*m1.

Flights: comparisons S, then C S C ... as they join; a conversion S C, the S in the flight of the
last answers where that is the server's; fixing C, in the flight of the client's last answers or
after the server's; multiplexer S C, and S C for an extension that is not at once. Bits per element
of what is new: a conversion 1 from the server, b + 1 from the client; a gate 1 from the client; the
multiplexer bits + 1 from the server, bits from the client; an extension 1 and out_bits - bits; both
at once out_bits + 3 and out_bits.

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
from moiety.protocols.compare.digits import DigitPlan
from moiety.protocols.compare.joint import Joins, one_tree, one_tree_cost
from moiety.protocols.compare.joint_plan import JointPlan, TreePlan, plan_joint
from moiety.protocols.compare.millionaires import join_round_cost, wrap, wrap_cost
from moiety.protocols.compare.relu import (
    GateSecrets,
    drelu,
    drelu_cost,
    gated,
    threshold_rows,
)
from moiety.protocols.cost import Cost, Party, Size, cost_of, packed
from moiety.protocols.errors import ContractViolation
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.early import Late, receiver_of, sender_of
from moiety.protocols.ot.transfers import answer_cost
from moiety.protocols.prices import BIT_1, PRODUCT_1
from moiety.protocols.session import Role, Session


@dataclass(frozen=True)
class TruncationMasks:
    """The client's, of n values: k, random bits, and its shares of what comes out, both `(n,)`."""

    carry: U8
    result: U64

    def of(self, at: slice) -> TruncationMasks:
        """Of some elements."""
        return TruncationMasks(self.carry[at], self.result[at])


# --- what is sent under masks ---------------------------------------------------------------------


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
    session.channel.send(kernels.pack(bits, 1, session.workers.pool))


def _receive_bits(session: Session, n: int) -> U8:
    return kernels.unpack8(session.channel.recv(int(packed(n, 1))), n, 1, session.workers.pool)


@dataclass(frozen=True)
class _Product:
    """A product `g*y` modulo 2^bits when e has been sent. `late` takes this party's a."""

    e: U8
    bits: int
    late: Late

    @classmethod
    def by_server(cls, session: Session, g: U8, bits: int) -> _Product:
        """The server's half: it sends e."""
        mu, late = receiver_of(session.receiver).product(g.size, bits)
        _send_bits(session, g ^ mu)
        return cls(g ^ mu, bits, late)

    @classmethod
    def by_client(cls, session: Session, n: int, y: Callable[[], U64], bits: int) -> _Product:
        """The client's half; y `(n,)` modulo 2^bits is asked for when the run is prepared alone."""
        late = sender_of(session.sender).product(n, y, bits)
        return cls(_receive_bits(session, n), bits, late)

    def turned(self, by: U8) -> _Product:
        """Of `g ^ by`, of which the client knows `by` and has told the server."""
        return _Product(self.e ^ by, self.bits, self.late)

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
        return _turned(kernels.unpack(stream, n, self.bits, session.workers.pool), _ones(self.e))

    def _shares(self) -> Callable[[slice], U8]:
        """a of some elements, packed. Slices begin where a packed stream is whole in bytes."""
        stream, bits = self.late(), self.bits

        def of(at: slice) -> U8:
            begin = at.start * bits // 8
            return stream[begin : begin + int(packed(at.stop - at.start, bits))]

        return of


def _ones(bits: U8) -> U64:
    """All bits of a word that is to be kept, none of one that is not: no branch."""
    return np.negative(bits.astype(np.uint64))


def _turned(x: U64, ones: U64) -> U64:
    """x, or its negative where there are ones."""
    return (x ^ ones) - ones


# --- protocols ------------------------------------------------------------------------------------


def truncate(
    session: Session, x: U64, bits_in: int, shift: int, masks: TruncationMasks | None
) -> U64:
    """As `truncate_exact`, x uint64 `(n,)`; masks are the client's, None at the server.
    1 <= shift < bits_in <= 64.
    """
    carry = wrap(session, x, shift, early=True)
    return _converting(session, x, bits_in, shift, masks)(Role.SERVER, carry)()


def _converting(
    session: Session, x: U64, bits_in: int, shift: int, masks: TruncationMasks | None
) -> Callable[[Role, U8], Callable[[], U64]]:
    """Opens the conversion of a carry, and gives what makes the truncated values of it. It is the
    server that begins, whoever answers beside.
    """
    out_bits = bits_in - shift

    def convert(_: Role, carry: U8) -> Callable[[], U64]:
        if masks is None:
            opened = _Product.by_server(session, carry, out_bits)
        else:
            k, one = masks.carry, np.ones(x.size, np.uint64)
            opened = _Product.by_client(
                session, x.size, lambda: ring.reduce(_turned(one, _ones(k)), out_bits), out_bits
            )

        def finish() -> U64:
            return _truncated(session, opened, carry, x, shift, masks)

        return finish

    return convert


def _truncated(
    session: Session,
    opened: _Product,
    carry: U8,
    x: U64,
    shift: int,
    masks: TruncationMasks | None,
) -> U64:
    if masks is None:
        theirs = _receive_bits(session, carry.size)
        return opened.turned(theirs).received(session, x, shift, np.zeros_like(carry))
    mine = carry ^ masks.carry
    _send_bits(session, mine)
    made = opened.turned(mine)
    made.sent(session, x, shift, None, made.e ^ masks.carry, masks.result)  # k + e*(1-2k)
    return masks.result


def gates(
    session: Session,
    x: U64,
    bits: int,
    count: int,
    thresholds: U64 | None,
    mask: U8 | None,
) -> U8:
    """As `relu.gates`, x uint64 `(n,)`, uint8 `(count, n)`; `mask`, likewise, is the client's, None
    at the server.
    """
    rows = threshold_rows(session.is_server, x.shape, count, thresholds)
    return fix_bits(session, drelu(session, x, bits, count, rows, early=True), mask)


def truncate_with_gates(
    session: Session,
    x: U64,
    bits_in: int,
    shift: int,
    gate_bits: int,
    count: int,
    thresholds: U64 | None,
    masks: TruncationMasks | None,
    mask: U8 | None,
    plan: TreePlan | None = None,
) -> tuple[U64, U8]:
    """As `joint.truncate_with_gates`, x uint64 `(n,)`, 1 <= shift, 1 <= count; `masks` and `mask`,
    those of the gates, are the client's.
    """
    n = session.sharing_flights(x.size)
    made = plan or plan_joint(shift, gate_bits - 1, count, n, session.network)
    if isinstance(made, JointPlan):
        rows = threshold_rows(session.is_server, x.shape, count, thresholds)
        convert = _converting(session, x, bits_in, shift, masks)
        y, bits = one_tree(session, x, shift, count, rows, made, convert, early=True)
        return y, fix_bits(session, bits, mask)
    y = truncate(session, x, bits_in, shift, masks)
    return y, gates(session, ring.reduce(y, gate_bits), gate_bits, count, thresholds, mask)


def multiplex(
    session: Session,
    x: U64,
    gate: U8,
    bits: int,
    out_bits: int,
    secrets: GateSecrets | None,
    mask: U64 | None,
) -> U64:
    """As `relu.multiplex`, x uint64 `(n,)`; of the gate's shares the client's is known, too.
    `mask`, modulo 2^out_bits, is the client's, None at the server.
    """
    if at_once(session.sharing_flights(x.size), bits, out_bits, session.network):
        if mask is None:
            return _at_once_server(session, x, gate, bits, out_bits, secrets)
        return _at_once_client(session, x, gate, bits, out_bits, mask)
    if mask is None:
        return _multiplex_server(session, x, gate, bits, out_bits, secrets)
    return _multiplex_client(session, x, gate, bits, out_bits, mask)


def at_once(n: int, bits: int, out_bits: int, network: Network) -> bool:
    """Whether n values that share flights are multiplexed and extended in one round trip."""
    more = (out_bits - bits + 2) * max(network.bit, BIT_1) + PRODUCT_1
    return out_bits > bits and n * more < 2 * network.flight


def _at_once_server(
    session: Session, x: U64, gate: U8, bits: int, out_bits: int, secrets: GateSecrets | None
) -> U64:
    y, flip = gated(session.workers, x, bits, secrets)
    turned, wide, high = gate ^ flip, out_bits - bits, np.uint64(bits)
    less = ring.reduce(y - flip, bits)
    top = ring.msb(less, bits) ^ flip
    lifted = ring.to_signed(less, bits).view(np.uint64) + flip
    lifted = ring.reduce(lifted - ((top & flip).astype(np.uint64) << high), out_bits)
    accepted = sender_of(session.sender).accept_early(y.size, 1)
    own = session.sender.multiply(accepted, lifted, turned, out_bits)
    bits_of = (turned, out_bits), (turned & top, wide), (top, wide)
    opened = [_Product.by_server(session, g, ring_bits) for g, ring_bits in bits_of]
    _await_fixing(session)
    carries = opened[1].values(session) + opened[2].values(session)
    return opened[0].received(session, own + (carries << high), 0, np.zeros_like(flip))


def _at_once_client(session: Session, y: U64, gate: U8, bits: int, out_bits: int, mask: U64) -> U64:
    wide, high = out_bits - bits, np.uint64(bits)
    chosen = receiver_of(session.receiver).choose_early(gate, 1)
    theirs = session.receiver.additive(chosen, out_bits)
    lifted, top = ring.to_signed(y, bits).view(np.uint64), ring.msb(y, bits)
    closes, both = _turned(top.astype(np.uint64), _ones(gate)), top & gate
    known = (
        (lambda: ring.reduce(_turned(lifted, _ones(gate)), out_bits), out_bits),
        (lambda: ring.reduce(closes, wide), wide),
        (lambda: both.astype(np.uint64), wide),
    )
    opened = [_Product.by_client(session, y.size, *each) for each in known]
    carries = opened[1].values(session) + opened[2].values(session)
    carries += (closes & _ones(opened[1].e)) + (both & opened[2].e)
    opened[0].sent(session, theirs + (carries << high), 0, lifted, opened[0].e ^ gate, mask)
    return mask


def _multiplex_server(
    session: Session, x: U64, gate: U8, bits: int, out_bits: int, secrets: GateSecrets | None
) -> U64:
    y, flip = gated(session.workers, x, bits, secrets)
    turned = gate ^ flip
    accepted = sender_of(session.sender).accept_early(y.size, 1)
    own = session.sender.multiply(accepted, y, turned, bits)
    opened = _Product.by_server(session, turned, bits)
    _await_fixing(session)
    if out_bits == bits:
        return opened.received(session, own, 0, np.zeros_like(flip))
    z = opened.received(session, own, 0, flip)
    return _extend_server(session, z, flip, bits, out_bits)


def _extend_server(session: Session, z: U64, flip: U8, bits: int, out_bits: int) -> U64:
    """From its share of the value less flip: its signed lift, 2^bits times its share of the carry,
    and flip.
    """
    top = ring.msb(z, bits) ^ flip
    opened = _Product.by_server(session, top, out_bits - bits)
    _await_fixing(session)
    carry = opened.received(session, np.zeros_like(z), 0, flip & top)
    wide, low = np.empty_like(z), np.uint64(bits)

    def lift(at: slice) -> U64:
        signed = ring.to_signed(z[at], bits).view(np.uint64)
        return ring.reduce(signed + (carry[at] << low) + flip[at].astype(np.uint64), out_bits)

    session.workers.fill(wide, lift)
    return wide


def _multiplex_client(
    session: Session, y: U64, gate: U8, bits: int, out_bits: int, mask: U64
) -> U64:
    chosen = receiver_of(session.receiver).choose_early(gate, 1)
    theirs = session.receiver.additive(chosen, bits)
    opened = _Product.by_client(
        session, y.size, lambda: ring.reduce(_turned(y, _ones(gate)), bits), bits
    )
    narrow = mask if out_bits == bits else ring.reduce(mask, bits)
    opened.sent(session, theirs, 0, y, opened.e ^ gate, narrow)  # d1*y + e*(1-2*d1)*y
    if out_bits > bits:
        _extend_client(session, narrow, mask, bits, out_bits)
    return mask


def _extend_client(session: Session, narrow: U64, mask: U64, bits: int, out_bits: int) -> None:
    """Its mask is the signed lift of the `narrow` part, and 2^bits times what is left."""
    top = ring.msb(narrow, bits)
    wide = out_bits - bits
    opened = _Product.by_client(session, top.size, lambda: top.astype(np.uint64), wide)
    rest = ring.reduce((mask >> np.uint64(bits)) + top, wide)
    opened.sent(session, np.zeros_like(mask), 0, None, opened.e & top, rest)


def _await_fixing(session: Session) -> None:
    """What is taken next belongs to the client's flight."""
    session.channel.await_flight()


def relu(
    session: Session,
    x: U64,
    bits: int,
    out_bits: int,
    secrets: GateSecrets | None,
    gate_mask: U8 | None,
    mask: U64 | None,
) -> U64:
    """As `relu.relu`, x uint64 `(n,)`; `gate_mask` and `mask`, `(n,)`, are the client's."""
    thresholds = None if secrets is None else secrets.threshold[None]
    of_gate = None if gate_mask is None else gate_mask[None]
    gate = gates(session, x, bits, 1, thresholds, of_gate)[0]
    return multiplex(session, x, gate, bits, out_bits, secrets, mask)


# --- declared costs -------------------------------------------------------------------------------


@cost_of(fix)
def fix_cost(n: Size, bits: Size) -> Cost:
    """Of n values."""
    return _message("C", n, bits)


@cost_of(fix_bits)
def fix_bits_cost(n: Size) -> Cost:
    """Of n bits."""
    return _message("C", n, 1)


def _message(sender: Party, n: Size, bits: Size) -> Cost:
    return Cost.of((sender, packed(n, bits)))


@cost_of(truncate)
def truncate_cost(n: Size, bits_in: Size, shift: int, network: Network | DigitPlan = LAN) -> Cost:
    """Of n values."""
    carry = wrap_cost(n, shift, network, early=True)
    return carry + _message("S", n, 1) + _conversion_end_cost(n, bits_in - shift)


def _conversion_end_cost(n: Size, bits: Size) -> Cost:
    """The client's part."""
    return _message("C", n, 1) + _message("C", n, bits)


@cost_of(gates)
def gates_cost(n: Size, bits: int, count: Size = 1, network: Network | DigitPlan = LAN) -> Cost:
    """Of n values for `count` thresholds each."""
    return drelu_cost(n, bits, count, network, early=True) + fix_bits_cost(n * count)


@cost_of(truncate_with_gates)
def truncate_with_gates_cost(
    n: Size,
    bits_in: Size,
    shift: int,
    gate_bits: int,
    count: Size,
    network: Network | TreePlan = LAN,
) -> Cost:
    """As `joint.truncate_with_gates_cost`."""
    made = network
    if isinstance(made, Network):
        made = plan_joint(shift, gate_bits - 1, count, n if isinstance(n, int) else None, made)
    if isinstance(made, JointPlan):

        def converting(sender: Role, joins: Joins) -> Cost:
            """The server's bit goes with its answers, or with its choices."""
            bit, joined = _message("S", n, 1), join_round_cost(sender, joins)
            first = bit + joined if sender is Role.CLIENT else joined + bit
            return first + _conversion_end_cost(n, bits_in - shift)

        tree = one_tree_cost(n, count, made, converting, early=True)
        return tree + fix_bits_cost(n * count)
    truncated = truncate_cost(n, bits_in, shift, made.low)
    return truncated + gates_cost(n, gate_bits, count, made.gates)


@cost_of(multiplex)
def multiplex_cost(n: Size, bits: Size, out_bits: Size, once: bool = False) -> Cost:
    """Gate n values, and extend them where out_bits is not bits, `once`: at once."""
    if once:
        opened = answer_cost("S", n, 1, out_bits) + _message("S", n, 1)
        return opened + _message("S", n, 1) + _message("S", n, 1) + _message("C", n, out_bits)
    answer = answer_cost("S", n, 1, bits)
    product = answer + _message("S", n, 1) + _message("C", n, bits)
    if out_bits == bits:
        return product
    return product + _message("S", n, 1) + _message("C", n, out_bits - bits)


@cost_of(relu)
def relu_cost(
    n: Size, bits: int, out_bits: Size, network: Network | DigitPlan = LAN, once: bool = False
) -> Cost:
    """The gate, then the multiplexer."""
    return gates_cost(n, bits, 1, network) + multiplex_cost(n, bits, out_bits, once)
