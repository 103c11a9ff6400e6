"""Products of two secret values: Gilboa's multiplication (CRYPTO 1999), a 1-of-2 transfer for every
bit of one factor's shares, in the descending widths of SIRNN (S&P 2021, section III); and squares.

Functionality of `product`: for additive shares of x in `Z_{2^bits}` and of y in `Z_{2^y_bits}`,
2 <= y_bits <= bits <= 64, additive shares of `x*y` modulo 2^bits, both taken as signed numbers.
Exact for every x and y. One y serves a group of x: a gate per channel that of all its pixels.

Write y0 for the server's share of y plus 2^(b-1), y1 for the client's, b = y_bits, and carry for
`[y0 + y1 >= 2^b]`. Then `y = y0 + y1 - 2^b * carry - 2^(b-1)`, and

    x*y = x0*(y0 - 2^(b-1)) + x1*(y1 - 2^(b-1)) + x1*y0 + x0*y1 - 2^b * carry*x     modulo 2^bits

The first two products are local. Of `x1*y0` the server knows the bits of y0, of `x0*y1` the client
those of y1: bit j is a choice between 0 and the peer's `2^j * x`, with entries of bits - j bits.
The carry, shared as `c0 ^ c1`, is one bit more of either: its entry i is `-2^b * x * (c ^ i)`, of
bits - b bits. Where bits = y_bits it has no weight, and is not made.

Functionality of `square`: shares of v in `Z_{2^b}` to shares of `v^2` modulo 2^bits, 4 <= b + 2 <=
bits <= 64; exact. With `s = v0 + v1` as above and t0 = v0 - 2^b, t1 = v1,

    v^2 = v0^2 + v1^2 - 2^b * s + 2^(2b-2) + 2*v0*v1 - 2^(b+1) * carry*(t0 + t1)    modulo 2^bits

so that the bits of v1 alone are chosen by, and v need not be extended first.

Flights: those of a comparison of b bits, and two more; its last answerer chooses first, and the
choice leaves with its answer. C S C without a carry. Bits: for every y and direction, a correlation
of width 1 and a choice for each bit and for the carry; for every x and direction, the entries, `b *
(2*bits - b + 1) / 2 + bits - b`. Of a square the second direction has the carry alone, and entries
are one bit shorter. Nothing leaks: both parties see choices masked by correlations and entries
masked by pads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.digits import DigitPlan, plan_digits
from moiety.protocols.compare.millionaires import comparison_plan, round_sender, wrap, wrap_cost
from moiety.protocols.cost import Cost, Size, Work, cost_of, local
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.batches import ReceivedBatch, SentBatch
from moiety.protocols.ot.transfers import answer_cost, choose_cost
from moiety.protocols.session import Role, Session

PASSES = 3
"""Over the values of one row, by both parties: entries, shares, their sum."""


class Row(NamedTuple):
    """What one transfer per choice multiplies: `numbers` uint64 `(n * group,)` with the bits that
    the peer chooses by, where it knows them; with XOR-shared bits, of which it has the other
    shares, if this party's, `gate` uint8 `(n,)`, are given. The products count 2^place.
    """

    place: int
    numbers: U64
    gate: U8 | None = None


def product(session: Session, x: U64, y: U64, bits: int, y_bits: int) -> U64:
    """Shares of `x[i, j] * y[i]`, uint64 `(n, group)` of ring elements modulo 2^bits, for y uint64
    `(n,)` modulo 2^y_bits.
    """
    half, flat = np.uint64(1 << (y_bits - 1)), x.reshape(-1)
    own = ring.reduce(y + half, y_bits) if session.is_server else y
    choices, first = _bits_of(session, own, y_bits), Role.CLIENT
    rows = [Row(place, flat) for place in range(y_bits)]
    if bits > y_bits:
        carry, first = _carry(session, own, y_bits)
        choices.append(carry)
        rows.append(Row(y_bits, -flat, carry))
    places = [row.place for row in rows]
    crossed = _both_ways(session, first, choices, places, rows, bits)
    return ring.reduce(x * (own - half)[:, None] + crossed.reshape(x.shape), bits)


def square(session: Session, v: U64, bits: int, out_bits: int) -> U64:
    """Shares of `v^2` modulo 2^out_bits, uint64 `(n,)`, for v uint64 `(n,)` modulo 2^bits."""
    whole = np.uint64(1 << bits)
    own = ring.reduce(v + (whole >> np.uint64(1)), bits) if session.is_server else v
    carry, first = _carry(session, own, bits)
    if session.is_server:
        places, choices = [bits + 1], [carry]
        rows = [*(Row(place + 1, own) for place in range(bits)), Row(bits + 1, whole - own, carry)]
        alone = own * (own - whole) + np.uint64((1 << (2 * bits - 2)) % (1 << 64))
    else:
        places, choices = [*range(1, bits + 2)], [*_bits_of(session, own, bits), carry]
        rows = [Row(bits + 1, -own, carry)]
        alone = own * (own - whole)
    return ring.reduce(
        alone + _both_ways(session, first, choices, places, rows, out_bits), out_bits
    )


def _bits_of(session: Session, values: U64, count: int) -> list[U8]:
    """The low bits of values uint64 `(n,)`, least significant first, uint8 `(n,)` each."""
    digits = kernels.cut_digits(values, None, 0, (1,) * count, False, session.workers.pool)
    return [digit[0] for digit in reversed(digits)]


def _carry(session: Session, own: U64, bits: int) -> tuple[U8, Role]:
    """XOR shares of `[own0 + own1 >= 2^bits]`, uint8 `(n,)`, and who knows its share first."""
    plan = plan_digits(bits, 1, session.sharing_flights(own.size), session.network)
    return wrap(session, own, bits), _answered_last(plan)


def _answered_last(plan: DigitPlan) -> Role:
    return round_sender(len(plan.joins)).peer


def _both_ways(
    session: Session,
    first: Role,
    choices: Sequence[U8],
    places: Sequence[int],
    rows: Sequence[Row],
    bits: int,
) -> U64:
    """This party's share, uint64 `(n * group,)`, of the sum modulo 2^bits of all products: of its
    `rows` with the peer's choices, and of its `choices` uint8 `(n,)` with the peer's rows, which
    count 2^places. `first` chooses first.
    """
    n = choices[0].size
    group = rows[0].numbers.size // n

    def choose() -> list[ReceivedBatch]:
        return session.receiver.choose_rows(np.stack(choices), 1, group)

    def accept() -> list[SentBatch]:
        return session.sender.accept_rows(len(rows), n, 1, group)

    if session.role is first:
        chosen, accepted = choose(), accept()
        theirs = _received(session, chosen, places, bits)
        return theirs + _sent(session, accepted, rows, bits)
    accepted, chosen = accept(), choose()
    mine = _sent(session, accepted, rows, bits)
    return mine + _received(session, chosen, places, bits)


def _sent(session: Session, batches: Sequence[SentBatch], rows: Sequence[Row], bits: int) -> U64:
    """The answers; this party's share of its own rows' products."""
    total = np.zeros_like(rows[0].numbers)
    none = np.zeros(total.size, np.uint8)
    for batch, (place, numbers, gate) in zip(batches, rows, strict=True):
        gates = none if gate is None else np.repeat(gate, batch.group)
        width = bits - place
        entries = ring.reduce(numbers, width)
        total += session.sender.multiply(batch, entries, gates, width) << np.uint64(place)
    return total


def _received(
    session: Session, batches: Sequence[ReceivedBatch], places: Sequence[int], bits: int
) -> U64:
    """This party's share of the products of the peer's rows."""
    total = np.zeros(batches[0].elements, np.uint64)
    for batch, place in zip(batches, places, strict=True):
        total += session.receiver.additive(batch, bits - place) << np.uint64(place)
    return total


# --- declared costs -------------------------------------------------------------------------------


@cost_of(product)
def product_cost(
    n: Size, group: Size, bits: Size, y_bits: int, network: Network | DigitPlan = LAN
) -> Cost:
    """Of n values y, each for `group` values x; a symbolic `bits` stands for more than y_bits."""
    if bits == y_bits:
        places = range(y_bits)
        return _ways_cost(n, group, bits, Role.CLIENT, places, places)
    plan, places = comparison_plan(n, y_bits, 1, network), range(y_bits + 1)
    crossed = _ways_cost(n, group, bits, _answered_last(plan), places, places)
    return wrap_cost(n, y_bits, plan) + crossed


@cost_of(square)
def square_cost(n: Size, bits: int, out_bits: Size, network: Network | DigitPlan = LAN) -> Cost:
    """Of n values."""
    plan = comparison_plan(n, bits, 1, network)
    first, down, up = _answered_last(plan), range(1, bits + 2), [bits + 1]
    return wrap_cost(n, bits, plan) + _ways_cost(n, 1, out_bits, first, down, up)


def _ways_cost(
    n: Size, group: Size, bits: Size, first: Role, down: Sequence[int], up: Sequence[int]
) -> Cost:
    """Of `_both_ways`: rows of these places from the server, by choices of the client, and the
    other way round.
    """
    chosen_by = {Role.CLIENT: down, Role.SERVER: up}
    order = (first, first.peer)
    total = local("digit", n * (len(up) + len(down)))
    for role in order:
        total = total + choose_cost(role.letter, n, 1, len(chosen_by[role]))
    for role in order:
        for place in chosen_by[role]:
            made, read = (Work("mux_send", n * group),), (Work("open_1", n * group),)
            answers = answer_cost(role.peer.letter, n * group, 1, bits - place, made, read)
            total = total + answers
    return total + local("pass", n * group * PASSES * (len(up) + len(down)))
