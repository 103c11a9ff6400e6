"""Truncation, gates and multiplexer where the client's share of every value is a mask that it knew
before the run.

Functionality of each: that of its namesake (truncate, relu, joint), exact in the same cases, on
additive shares x = x0 + x1 whose x1 the client knew when the run was prepared; and the client's
share of the result is the mask that it gives, which it knew then, too. So no step's result has to
wait for messages before the next step's choices, and none of a linear layer's operand
(linear/split) is sent at all. Only runs that are prepared have it (ot/early).

*Comparisons.* The client's digits are those of x1: they left when the run was prepared, and the
server begins with its answers. The joins go as ever, since what they join is known to nobody.

*All else* is of two kinds (fixing): a share is brought to its mask, and a bit g of the server's is
multiplied by a number y that the client knows:

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

Nothing leaks: comparisons and transfers apart, all that is sent is a number or a bit under a mask
(fixing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.digits import DigitPlan
from moiety.protocols.compare.fixing import (
    Product,
    all_ones,
    fix_bits,
    fix_bits_cost,
    fix_cost,
    negated,
    open_cost,
)
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
from moiety.protocols.cost import Cost, Size, cost_of
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.early import receiver_of, sender_of
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
            opened = Product.by_server(session, carry, out_bits)
        else:
            k, one = masks.carry, np.ones(x.size, np.uint64)
            opened = Product.by_client(
                session, x.size, lambda: ring.reduce(negated(one, k), out_bits), out_bits
            )

        def finish() -> U64:
            return _truncated(session, opened, carry, x, shift, masks)

        return finish

    return convert


def _truncated(
    session: Session,
    opened: Product,
    carry: U8,
    x: U64,
    shift: int,
    masks: TruncationMasks | None,
) -> U64:
    if masks is None:
        return opened.heard(session).received(session, x, shift, np.zeros_like(carry))
    made = opened.told(session, carry ^ masks.carry)
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
    opened = [Product.by_server(session, g, ring_bits) for g, ring_bits in bits_of]
    _await_fixing(session)
    carries = opened[1].values(session) + opened[2].values(session)
    return opened[0].received(session, own + (carries << high), 0, np.zeros_like(flip))


def _at_once_client(session: Session, y: U64, gate: U8, bits: int, out_bits: int, mask: U64) -> U64:
    wide, high = out_bits - bits, np.uint64(bits)
    chosen = receiver_of(session.receiver).choose_early(gate, 1)
    theirs = session.receiver.additive(chosen, out_bits)
    lifted, top = ring.to_signed(y, bits).view(np.uint64), ring.msb(y, bits)
    closes, both = negated(top.astype(np.uint64), gate), top & gate
    known = (
        (lambda: ring.reduce(negated(lifted, gate), out_bits), out_bits),
        (lambda: ring.reduce(closes, wide), wide),
        (lambda: both.astype(np.uint64), wide),
    )
    opened = [Product.by_client(session, y.size, *each) for each in known]
    carries = opened[1].values(session) + opened[2].values(session)
    carries += (closes & all_ones(opened[1].e)) + (both & opened[2].e)
    opened[0].sent(session, theirs + (carries << high), 0, lifted, opened[0].e ^ gate, mask)
    return mask


def _multiplex_server(
    session: Session, x: U64, gate: U8, bits: int, out_bits: int, secrets: GateSecrets | None
) -> U64:
    y, flip = gated(session.workers, x, bits, secrets)
    turned = gate ^ flip
    accepted = sender_of(session.sender).accept_early(y.size, 1)
    own = session.sender.multiply(accepted, y, turned, bits)
    opened = Product.by_server(session, turned, bits)
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
    opened = Product.by_server(session, top, out_bits - bits)
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
    opened = Product.by_client(session, y.size, lambda: ring.reduce(negated(y, gate), bits), bits)
    narrow = mask if out_bits == bits else ring.reduce(mask, bits)
    opened.sent(session, theirs, 0, y, opened.e ^ gate, narrow)  # d1*y + e*(1-2*d1)*y
    if out_bits > bits:
        _extend_client(session, narrow, mask, bits, out_bits)
    return mask


def _extend_client(session: Session, narrow: U64, mask: U64, bits: int, out_bits: int) -> None:
    """Its mask is the signed lift of the `narrow` part, and 2^bits times what is left."""
    top = ring.msb(narrow, bits)
    wide = out_bits - bits
    opened = Product.by_client(session, top.size, lambda: top.astype(np.uint64), wide)
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


@cost_of(truncate)
def truncate_cost(n: Size, bits_in: Size, shift: int, network: Network | DigitPlan = LAN) -> Cost:
    """Of n values."""
    carry = wrap_cost(n, shift, network, early=True)
    return carry + open_cost(n) + _conversion_end_cost(n, bits_in - shift)


def _conversion_end_cost(n: Size, bits: Size) -> Cost:
    """The client's part."""
    return fix_bits_cost(n) + fix_cost(n, bits)


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
            bit, joined = open_cost(n), join_round_cost(sender, joins)
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
        opened = answer_cost("S", n, 1, out_bits) + open_cost(n)
        return opened + open_cost(n) + open_cost(n) + fix_cost(n, out_bits)
    answer = answer_cost("S", n, 1, bits)
    product = answer + open_cost(n) + fix_cost(n, bits)
    if out_bits == bits:
        return product
    return product + open_cost(n) + fix_cost(n, out_bits - bits)


@cost_of(relu)
def relu_cost(
    n: Size, bits: int, out_bits: Size, network: Network | DigitPlan = LAN, once: bool = False
) -> Cost:
    """The gate, then the multiplexer."""
    return gates_cost(n, bits, 1, network) + multiplex_cost(n, bits, out_bits, once)
