"""Millionaires' comparison from 1-of-2^k lookups (CrypTFlow2, CCS 2020, section 3.1 and
Algorithm 1; lookups on shares in place of its ANDs).

Functionality: the server's a and the client's y, of `bits` bits, to XOR shares of `[a < y]`. Exact
for every pair, 1 <= bits <= 64. Nothing leaks.

The server is the sender of every lookup, the client the receiver. One client value may be compared
with several server values: the digits' lookups then answer for all of them at once. Values are cut
into digits of at most four bits, by the plan for the session's network (protocols/compare/digits).
One lookup per digit shares `lt = [server digit < client digit]` and `eq`; the digits are then
joined, up to three in one round, by lookups whose table the sender computes from its shares and
whose choice is the receiver's shares.

Flights: C S for the digits, C S for every joining round. Bits per lookup of k choice bits: a
correlation of width k and k bits from the client; `2^k - 1` entries from the server, of two bits
(lt and eq, for each of its values), of one bit for the last digit and the last group.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.digits import DigitPlan, Join, plan_digits, round_joins
from moiety.protocols.cost import Cost, Size, Work, cost_of, local
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.transfers import Lookup, lookups_cost
from moiety.protocols.session import Session

LT = np.uint8(1)
"""The bit of a part that holds its share of lt; the next one holds eq."""


def less_than(session: Session, values: U64, bits: int, count: int = 1) -> U8:
    """XOR shares of `[a_k < y]`, uint8 `(count, n)` of 0/1; count <= digits.MAX_THRESHOLDS.

    `values` uint64 below 2^bits: the server's a, `(count, n)`; the client's y, `(1, n)`.
    """
    made = plan_digits(bits, count, session.sharing_flights(values.shape[1]), session.network)
    sizes = made.digits
    digits = split_digits(values, sizes)
    last, n = len(sizes) - 1, values.shape[1]
    if session.is_server:
        opened = [session.sender.accept(n, k) for k in sizes]
        parts = [
            session.sender.leaf(b, d, i < last)
            for i, (b, d) in enumerate(zip(opened, digits, strict=True))
        ]
    else:
        chosen = [session.receiver.choose(d[0], k) for d, k in zip(digits, sizes, strict=True)]
        parts = [session.receiver.leaf(b, count, i < last) for i, b in enumerate(chosen)]
    parts = [part.reshape(-1) for part in parts]
    for groups in made.joins:
        parts = _join_round(session, parts, groups)
    return parts[0].reshape(count, n)


def split_digits(values: U64, sizes: Sequence[int]) -> list[U8]:
    """The digits of these widths, most significant first; uint8 of the values' shape each."""
    shifts = np.cumsum((0, *sizes[:0:-1]))[::-1]
    return [
        ((values >> np.uint64(s)) & ring.mask(k)).astype(np.uint8)
        for s, k in zip(shifts, sizes, strict=True)
    ]


def _join_round(session: Session, parts: list[U8], sizes: tuple[int, ...]) -> list[U8]:
    """Join consecutive parts in groups of these sizes. A part's bit 0 is the share of lt, bit 1 of
    eq (absent in the last part).
    """
    cuts = itertools.pairwise(itertools.accumulate(sizes, initial=0))
    groups = [parts[start:stop] for start, stop in cuts]
    wide = [group for group in groups if len(group) > 1]
    jobs = list(zip(round_joins(sizes), wide, strict=True))
    if session.is_server:
        opened = [session.sender.accept(group[0].size, join.width) for join, group in jobs]
        out = [
            session.sender.join(b, join_choice(g, join.last), _JOIN[join], join.entry_bits)
            for b, (join, g) in zip(opened, jobs, strict=True)
        ]
    else:
        chosen = [
            session.receiver.choose(join_choice(g, join.last), join.width) for join, g in jobs
        ]
        out = [
            session.receiver.lookup(b, join.entry_bits)
            for b, (join, _) in zip(chosen, jobs, strict=True)
        ]
    # lt of the first part enters linearly, so each party adds its own share of it outside the
    # lookup.
    joined = iter([result ^ (group[0] & LT) for result, group in zip(out, wide, strict=True)])
    return [next(joined) if len(group) > 1 else group[0] for group in groups]


def join_choice(group: list[U8], last: bool) -> U8:
    """The receiver's shares as one choice: eq of the first part, then (lt, eq) of each next one (no
    eq for the last part of the last group).
    """
    choice = group[0] >> np.uint8(1)
    at = 1
    for index, part in enumerate(group[1:], 2):
        width = 1 if last and index == len(group) else 2
        choice = choice | ((part & np.uint8((1 << width) - 1)) << np.uint8(at))
        at += width
    return choice


def _join_function(join: Join) -> U8:
    """The joining function on open bits, as a table over the packed choice."""
    table = np.zeros(1 << join.width, np.uint8)
    for value in range(1 << join.width):
        eq, lt = value & 1, 0
        bits = value >> 1
        for index in range(1, join.size):
            lt |= eq & bits & 1
            below_has_eq = not (join.last and index == join.size - 1)
            eq &= (bits >> 1) & 1 if below_has_eq else 0
            bits >>= 2
        table[value] = lt | (eq << 1)
    return table


_JOIN = {join: _join_function(join) for join in (Join(2, False), Join(2, True), Join(3, True))}


def wrap(session: Session, x: U64, bits: int) -> U8:
    """XOR shares of `[x0 + x1 >= 2^bits]`, uint8 `(n,)`, for `x` uint64 `(n,)` below 2^bits: the
    comparison `2^bits - 1 - x0 < x1`.
    """
    return less_than(session, (ring.mask(bits) - x if session.is_server else x)[None], bits)[0]


# --- declared costs -------------------------------------------------------------------------------


def comparison_plan(
    n: Size, bits: int, count: Size = 1, network: Network | DigitPlan = LAN
) -> DigitPlan:
    """The digits of n comparisons; for a symbolic n those of a tensor so large that round trips do
    not matter. Instead of a network, here and in all costs above it, the plan itself may be given.
    """
    if isinstance(network, DigitPlan):
        return network
    return plan_digits(bits, count, n if isinstance(n, int) else None, network)


@cost_of(less_than)
def less_than_cost(n: Size, bits: int, count: Size = 1, network: Network | DigitPlan = LAN) -> Cost:
    """Of n client values with `count` server values each."""
    made = comparison_plan(n, bits, count, network)
    sizes = made.digits
    cut = local("digit", n * len(sizes), "C") + local("digit", n * count * len(sizes), "S")
    total = cut + lookups_cost(
        _leaf(n, k, count, index < len(sizes) - 1) for index, k in enumerate(sizes)
    )
    for groups in made.joins:
        joins = round_joins(groups)
        total = total + local("join_choice", n * count * sum(join.size - 1 for join in joins))
        total = total + lookups_cost(
            Lookup.xor(n * count, join.width, join.entry_bits) for join in joins
        )
    return total


def _leaf(n: Size, k: int, count: Size, with_eq: bool) -> Lookup:
    """One digit against `count` thresholds. From two on, pads are kept apart from fields, at a
    price of their own.
    """
    fields = count * (1 + with_eq)
    if count == 1:
        return Lookup(n, k, fields, (Work(f"leaf_send_{k}", n),), (Work(f"leaf_recv_{k}", n),))
    made, read = (
        (Work(f"leaves_{side}_{k}", n), Work(f"field_{side}_{k}", n * fields))
        for side in ("send", "recv")
    )
    return Lookup(n, k, fields, made, read)


@cost_of(wrap)
def wrap_cost(n: Size, bits: int, network: Network | DigitPlan = LAN) -> Cost:
    """One comparison of n values; the pass over the server's share is counted with its caller's."""
    return less_than_cost(n, bits, 1, network)
