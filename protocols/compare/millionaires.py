"""Millionaires' comparison from 1-of-2^k lookups (CrypTFlow2, CCS 2020, section 3.1 and
Algorithm 1; lookups on shares in place of its ANDs).

Functionality: the server's a and the client's y, of `bits` bits, to XOR shares of `[a < y]`. Exact
for every pair, 1 <= bits <= 64. Nothing leaks.

One client value may be compared with several server values: the digits' lookups then answer for
all of them at once. Values are cut into digits of at most four bits, by the plan for the session's
network (digits.py). One lookup per digit shares `lt = [server digit < client digit]` and `eq`
(`share_digits`); the digits are then joined, up to four in one round, by lookups whose table the
sender computes from its shares and whose choice is the receiver's shares (`join_round`; joins.py
says which).

The server is the sender for the digits; from there on the parties take turns. A sender knows its
shares of what it answers before anything comes back, so it chooses for the next round in the flight
of its answers: a joining round takes one flight instead of two, and both parties make tables.

Flights: C S for the digits, then one for each joining round: C S C ... Bits per lookup of k choice
bits: a correlation of width k and k bits from the receiver; `2^k - 1` entries from the sender, of
two bits (lt and eq, for each of the server's values), of one bit for the last digit and where a
join looks one of them up alone. Lookups of one flight that are alike are one batch, and one
message.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.digits import DigitPlan, plan_digits
from moiety.protocols.compare.joins import LT, Join, JoinLookup, round_joins
from moiety.protocols.cost import Cost, Size, Work, cost_of, local
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.batches import ReceivedBatch, SentBatch
from moiety.protocols.ot.early import receiver_of, sender_of
from moiety.protocols.ot.lookups import Lookup, answers_cost, lookups_cost
from moiety.protocols.parallel import Workers
from moiety.protocols.session import Role, Session

K = TypeVar("K", bound=Hashable)


class Leaf(NamedTuple):
    """What is looked up of a digit of `bits` bits: lt and, `with_eq`, eq against each of `count`
    digits of the server.
    """

    bits: int
    count: Size
    with_eq: bool


def less_than(session: Session, values: U64, bits: int, count: int = 1) -> U8:
    """XOR shares of `[a_k < y]`, uint8 `(count, n)` of 0/1; count <= digits.MAX_THRESHOLDS.

    `values` uint64 below 2^bits: the server's a, `(count, n)`; the client's y, `(1, n)`.
    """
    n = session.sharing_flights(values.shape[1])
    made = plan_digits(bits, count, n, session.network)
    rows = [kernels.cut_digits(row, None, 0, made.digits, False) for row in values]
    return compare(session, made, count, list(np.concatenate(rows, axis=1)))


def compare(
    session: Session, plan: DigitPlan, count: int, digits: Sequence[U8], early: bool = False
) -> U8:
    """As `less_than`, from the values' digits uint8 `(count, n)` each, the client's `(1, n)`;
    `early` as in `share_digits`.
    """
    parts = share_digits(session, digit_leaves(plan.digits, count), digits, early)
    for at, groups in enumerate(plan.joins):
        parts = join_round(session, round_sender(at), round_joins(groups), parts)
    return parts[0].reshape(count, -1)


def carry_digits(
    workers: Workers,
    server: bool,
    x: U64,
    shift: int,
    sizes: Sequence[int],
    added: U64 | None = None,
) -> list[U8]:
    """A party's digits for the comparison that is the carry out of a sum of both parties' values:
    uint8 `(rows, n)` each, most significant first.

    Its values v are `(x >> shift) + added` modulo 2^b, b the sum of sizes; x uint64 `(n,)`, added
    uint64 `(rows, n)`, None for one row of zeros. `v0 + v1 >= 2^b` is `2^b - 1 - v0 < v1`, so the
    server takes the digits of the complement.
    """
    digits = kernels.cut_digits(x, added, shift, sizes, server, workers.pool)
    return list(digits)


def round_sender(at: int) -> Role:
    """Who answers in joining round `at`: the party that did not answer before it."""
    return Role.SERVER if at % 2 else Role.CLIENT


def digit_leaves(sizes: Sequence[int], count: Size, last: bool = True) -> list[Leaf]:
    """Of the digits of a comparison; `last`: the least significant one is there, without eq."""
    lowest = len(sizes) - 1 if last else len(sizes)
    return [Leaf(k, count, index < lowest) for index, k in enumerate(sizes)]


def share_digits(
    session: Session, leaves: Sequence[Leaf], digits: Sequence[U8], early: bool = False
) -> list[U8]:
    """Parts of a comparison (joins.py) from digits, in one flight each way: uint8 `(count * n,)`
    of every leaf.

    Of each leaf the `digits`, uint8: the server's `(count, n)`, the client's `(1, n)`. `early`: the
    client's were known when the run was prepared (ot/early), and only the server sends.
    """
    batches = alike(leaves)
    gathered = [_together([digits[at] for at in members]) for members in batches.values()]
    jobs = list(zip(batches, gathered, strict=True))
    if session.is_server:
        accept = sender_of(session.sender).accept_early if early else session.sender.accept
        opened = [accept(mine.shape[1], leaf.bits) for leaf, mine in jobs]
        shares = [
            session.sender.leaf(batch, mine, leaf.with_eq)
            for batch, (leaf, mine) in zip(opened, jobs, strict=True)
        ]
    else:
        choose = receiver_of(session.receiver).choose_early if early else session.receiver.choose
        chosen = [choose(mine[0], leaf.bits) for leaf, mine in jobs]
        shares = [
            session.receiver.leaf(batch, leaf.count, leaf.with_eq)
            for batch, (leaf, _) in zip(chosen, jobs, strict=True)
        ]
    parts = _apart(batches, shares, [each.shape[-1] for each in digits])
    return [part.reshape(-1) for part in parts]


def join_round(
    session: Session, sender: Role, joins: Sequence[Join], parts: Sequence[U8]
) -> list[U8]:
    """Join consecutive parts, uint8 `(n,)`, in these groups; one part per group. The choices go to
    `sender`, the answers come from it, one flight each. The parts of one group are of one size;
    groups, of several trees, may differ.
    """
    opened = JoinRound.open(session, sender, joins, parts)
    return opened.answers()


@dataclass(frozen=True)
class JoinRound:
    """A round as in `join_round` between its choices and its answers, so that other lookups can
    travel with it. `jobs` are its batches: a lookup, and this party's shares of the choices.
    """

    session: Session
    joins: Sequence[Join]
    groups: list[list[U8]]
    jobs: list[tuple[JoinLookup, U8]]
    sent: list[SentBatch]
    received: list[ReceivedBatch]

    @classmethod
    def open(
        cls, session: Session, sender: Role, joins: Sequence[Join], parts: Sequence[U8]
    ) -> JoinRound:
        """The choices of all batches."""
        rest = iter(parts)
        groups = [[next(rest) for _ in range(join.size)] for join in joins]
        choices = [lookup.choice(groups[at]) for at, lookup in _lookups(joins)]
        batches = alike(lookup for _, lookup in _lookups(joins))
        jobs = [(each, _together([choices[at] for at in batches[each]])) for each in batches]
        sent, received = [], []
        for lookup, mine in jobs:
            if session.role is sender:
                sent.append(session.sender.accept(mine.size, lookup.width))
            else:
                received.append(session.receiver.choose(mine, lookup.width))
        return cls(session, joins, groups, jobs, sent, received)

    def answers(self) -> list[U8]:
        """The answers of all batches: the joined parts."""
        shares = [
            self.session.sender.join(batch, mine, lookup.function, lookup.entry_bits)
            for batch, (lookup, mine) in zip(self.sent, self.jobs, strict=False)
        ] + [
            self.session.receiver.lookup(batch, lookup.entry_bits)
            for batch, (lookup, _) in zip(self.received, self.jobs, strict=False)
        ]
        # lt of the first part enters linearly, so each party adds its own share of it.
        joined = [group[0] & np.uint8(LT) if len(group) > 1 else group[0] for group in self.groups]
        asked = _lookups(self.joins)
        sizes = [self.groups[at][0].size for at, _ in asked]
        found = _apart(alike(lookup for _, lookup in asked), shares, sizes)
        for (at, lookup), entries in zip(asked, found, strict=True):
            joined[at] = joined[at] ^ lookup.placed(entries)
        return joined


def _lookups(joins: Sequence[Join]) -> list[tuple[int, JoinLookup]]:
    """(which join, what it looks up), in order."""
    return [(at, lookup) for at, join in enumerate(joins) for lookup in join.lookups]


def alike(jobs: Iterable[K]) -> dict[K, list[int]]:
    """Equal jobs of one flight, which make one batch: job -> their places."""
    batches: dict[K, list[int]] = {}
    for at, job in enumerate(jobs):
        batches.setdefault(job, []).append(at)
    return batches


def _together(members: list[U8]) -> U8:
    """A batch of its members, along the last axis."""
    return members[0] if len(members) == 1 else np.concatenate(members, axis=-1)


def _apart(batches: dict[K, list[int]], shares: list[U8], sizes: list[int]) -> list[U8]:
    """The members' shares out of their batches', in order of the members' places."""
    found: dict[int, U8] = {}
    for members, share in zip(batches.values(), shares, strict=True):
        start = 0
        for at in members:
            found[at] = share[..., start : start + sizes[at]]
            start += sizes[at]
    return [found[at] for at in range(len(found))]


def wrap(session: Session, x: U64, bits: int, early: bool = False) -> U8:
    """XOR shares of `[x0 + x1 >= 2^bits]`, uint8 `(n,)`, for the low bits of `x` uint64
    `(n,)`; `early` as in `share_digits`.
    """
    made = plan_digits(bits, 1, session.sharing_flights(x.size), session.network)
    digits = carry_digits(session.workers, session.is_server, x, 0, made.digits)
    return compare(session, made, 1, digits, early)[0]


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


@cost_of(less_than, compare)
def less_than_cost(
    n: Size, bits: int, count: Size = 1, network: Network | DigitPlan = LAN, early: bool = False
) -> Cost:
    """Of n client values with `count` server values each."""
    made = comparison_plan(n, bits, count, network)
    leaves = digit_leaves(made.digits, count)
    total = share_digits_cost([(n, leaf) for leaf in leaves], early)
    for at, groups in enumerate(made.joins):
        joins = [(n * count, join) for join in round_joins(groups)]
        total = total + join_round_cost(round_sender(at), joins)
    return total


@cost_of(share_digits)
def share_digits_cost(leaves: Sequence[tuple[Size, Leaf]], early: bool = False) -> Cost:
    """Of leaves of so many client values each; the digits' cutting counted in."""
    cut = local("digit", sum(n for n, _ in leaves), "C")
    cut = cut + local("digit", sum(n * leaf.count for n, leaf in leaves), "S")
    lookups = [_leaf_lookup(n, leaf) for leaf, n in _sizes(leaves)]
    return cut + (answers_cost("S", lookups) if early else lookups_cost("S", lookups))


@cost_of(join_round)
def join_round_cost(
    sender: Role, joins: Sequence[tuple[Size, Join]], beside: Sequence[Lookup] = ()
) -> Cost:
    """Of groups of so many elements each; `beside`: lookups that travel with them."""
    asked = [(n, lookup) for n, join in joins for lookup in join.lookups]
    packing = local("join_choice", sum(n * (len(lookup.fields) - 1) for n, lookup in asked))
    lookups = [Lookup.xor(n, lookup.width, lookup.entry_bits) for lookup, n in _sizes(asked)]
    return packing + lookups_cost(sender.letter, [*lookups, *beside])


def _sizes(jobs: Sequence[tuple[Size, K]]) -> list[tuple[K, Size]]:
    """The batches of jobs of so many elements each, with their sizes."""
    batches = alike(job for _, job in jobs)
    return [(job, sum(jobs[at][0] for at in members)) for job, members in batches.items()]


def _leaf_lookup(n: Size, leaf: Leaf) -> Lookup:
    """From two digits of the server on, pads are kept apart from fields, at a price of their
    own.
    """
    k, fields = leaf.bits, leaf.count * (1 + leaf.with_eq)
    if leaf.count == 1:
        return Lookup(n, k, fields, (Work(f"leaf_send_{k}", n),), (Work(f"leaf_recv_{k}", n),))
    made, read = (
        (Work(f"leaves_{side}_{k}", n), Work(f"field_{side}_{k}", n * fields))
        for side in ("send", "recv")
    )
    return Lookup(n, k, fields, made, read)


@cost_of(wrap)
def wrap_cost(n: Size, bits: int, network: Network | DigitPlan = LAN, early: bool = False) -> Cost:
    """One comparison of n values; the pass over the server's share is counted with its caller's."""
    return less_than_cost(n, bits, 1, network, early)
