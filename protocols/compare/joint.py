"""Truncation and gates from one comparison: the carry of the dropped bits is the least significant
part of the gates' comparison.

Functionality: additive shares X0, X1 of x in `Z_{2^l}` and the server's secret thresholds c_k to
additive shares of `y = floor(x / 2^t)` modulo `2^(l-t)` (SIRNN's TR, as `truncate_exact`), and XOR
shares of the gates `[y + c_k >= 0]` of y as a signed number of b bits (as `relu.gates`). Exact
whenever y + c_k, as a signed number, fits b bits; y for every x. 2 <= b <= l - t, l <= 64.

With the carry `c = [low(X0) + low(X1) >= 2^t]`,

    y        = (X0 >> t) + (X1 >> t) + c
    y + c_k  = H0_k + H1 + c  modulo 2^b,        H0_k = (X0 >> t) + c_k,  H1 = X1 >> t

and the carry out of the lower b - 1 bits of this sum is `2^(b-1) - 1 - low(H0_k) < low(H1) + c`,
that is `lt_k | eq_k & c` of the two low parts. So one tree (joint_plan.py) of lookups serves both:
its low digits, for all thresholds together, join to c, and c joins the high digits of each
threshold as their lowest part. c becomes additive shares in the first round that reads it. Where
that is cheaper, y is made first and then compared.

Flights: C S for the digits, then one for each joining round. Bits: the lookups' (millionaires.py)
and a bit conversion to l - t bits. Nothing leaks: c stays shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.convert import Conversion, conversion_lookup
from moiety.protocols.compare.joins import Join, round_joins
from moiety.protocols.compare.joint_plan import JointPlan, TreePlan, plan_joint
from moiety.protocols.compare.millionaires import (
    JoinRound,
    Leaf,
    carry_digits,
    digit_leaves,
    join_round,
    join_round_cost,
    round_sender,
    share_digits,
    share_digits_cost,
)
from moiety.protocols.compare.relu import gates, gates_cost, threshold_rows
from moiety.protocols.compare.truncate import truncate_exact, truncate_exact_cost, with_carry
from moiety.protocols.cost import Cost, Size, cost_of, local
from moiety.protocols.network import LAN, Network
from moiety.protocols.session import Role, Session


def truncate_with_gates(
    session: Session,
    x: U64,
    bits_in: int,
    shift: int,
    gate_bits: int,
    count: int,
    thresholds: U64 | None = None,
    plan: TreePlan | None = None,
) -> tuple[U64, U8]:
    """Shares of `floor(x / 2^shift)` modulo 2^(bits_in - shift), uint64 of x's shape, and XOR
    shares of its `count` gates in `gate_bits` bits, uint8 of 0/1, `(count, *x.shape)`.

    `thresholds` uint64, ring elements, broadcastable to `(count, *x.shape)`, are the server's (None
    for zeros); count <= digits.MAX_THRESHOLDS. `plan`: what both parties take instead of the
    cheapest one; a SeparatePlan stands for whatever `plan_separate` finds.
    """
    if count == 0:
        return truncate_exact(session, x, bits_in, shift), np.zeros((0, *x.shape), np.uint8)
    n = session.sharing_flights(x.size)
    made = plan or plan_joint(shift, gate_bits - 1, count, n, session.network)
    if isinstance(made, JointPlan):
        flat = x.reshape(-1)

        def convert(sender: Role, carry: U8) -> Callable[[], U64]:
            opened = Conversion.open(session, sender, carry)
            return lambda: with_carry(
                session.workers, flat, bits_in, shift, opened.answers(bits_in - shift)
            )

        rows = threshold_rows(session.is_server, x.shape, count, thresholds)
        y, bits = one_tree(session, flat, shift, count, rows, made, convert)
        return y.reshape(x.shape), bits.reshape(count, *x.shape)
    y = truncate_exact(session, x, bits_in, shift)
    return y, gates(session, ring.reduce(y, gate_bits), gate_bits, count, thresholds)


def one_tree(
    session: Session,
    x: U64,
    shift: int,
    count: int,
    rows: U64 | None,
    plan: JointPlan,
    convert: Callable[[Role, U8], Callable[[], U64]],
    early: bool = False,
) -> tuple[U64, U8]:
    """y and the gates `(count, n)` of x uint64 `(n,)`, thresholds as `threshold_rows` has them.
    `convert` opens the conversion of the carry in a round of this sender, and gives what makes y
    when the round's answers are there; `early` as in `share_digits`.
    """
    workers, server = session.workers, session.is_server
    low = carry_digits(workers, server, x, 0, plan.low.digits)
    sign, *high = carry_digits(workers, server, x, shift, (1, *plan.high), rows)
    parts = share_digits(session, _leaves(plan, count), [*low, *high], early)

    for at, joins in enumerate(_rounds_beside(plan)):
        parts = join_round(session, round_sender(at), joins, parts)
    carry, *parts = parts

    # The first round that reads the carry converts it, too.
    at, *later = range(len(plan.low.joins), len(plan.joins))
    sender, joins = round_sender(at), round_joins(plan.joins[at])
    joined = JoinRound.open(session, sender, joins, [*parts, np.tile(carry, count)])
    truncated = convert(sender, carry)
    parts = joined.answers()
    y = truncated()

    for at in later:
        parts = join_round(session, round_sender(at), round_joins(plan.joins[at]), parts)
    return y, parts[0].reshape(count, -1) ^ sign


def _rounds_beside(plan: JointPlan) -> list[list[Join]]:
    """The rounds before the carry is known: of the low digits, and of the high ones beside them."""
    both = zip(plan.low.joins, plan.joins, strict=False)
    return [round_joins(below) + round_joins(above, last=False) for below, above in both]


def _leaves(plan: JointPlan, count: Size) -> list[Leaf]:
    """Of the low digits and then of the high ones, which have all an eq."""
    return digit_leaves(plan.low.digits, 1) + digit_leaves(plan.high, count, last=False)


# --- declared costs -------------------------------------------------------------------------------


@cost_of(truncate_with_gates)
def truncate_with_gates_cost(
    n: Size,
    bits_in: Size,
    shift: int,
    gate_bits: int,
    count: Size,
    network: Network | TreePlan = LAN,
) -> Cost:
    """Of n values with `count` thresholds each; a symbolic count stands for more than one, whose
    digits are no batch with the low ones. Instead of a network the plan itself may be given.
    """
    if count == 0:
        alone = network if isinstance(network, Network) else network.low
        return truncate_exact_cost(n, bits_in, shift, alone)
    made = network
    if isinstance(made, Network):
        many = n if isinstance(n, int) else None
        made = plan_joint(shift, gate_bits - 1, count, many, made)
    if isinstance(made, JointPlan):
        conversion = conversion_lookup(n, bits_in - shift)
        return one_tree_cost(
            n, count, made, lambda sender, joins: join_round_cost(sender, joins, [conversion])
        )
    truncated = truncate_exact_cost(n, bits_in, shift, made.low)
    return truncated + local("pass", n) + gates_cost(n, gate_bits, count, made.gates)


Joins = Sequence[tuple[Size, Join]]
"""Groups of so many elements each."""


@cost_of(one_tree)
def one_tree_cost(
    n: Size,
    count: Size,
    plan: JointPlan,
    converting: Callable[[Role, Joins], Cost],
    early: bool = False,
) -> Cost:
    """`converting`: a round of this sender in which the carry is converted, too."""
    sign = local("digit", n, "C") + local("digit", n * count, "S")
    total = sign + share_digits_cost([(n, leaf) for leaf in _leaves(plan, count)], early)
    for at, groups in enumerate(plan.joins):
        alone = at < len(plan.low.joins)
        joins = [(n * count, join) for join in round_joins(groups, last=not alone)]
        if alone:
            joins = [(n, join) for join in round_joins(plan.low.joins[at])] + joins
        rounds = converting if at == len(plan.low.joins) else join_round_cost
        total = total + rounds(round_sender(at), joins)
    return total + local("pass", 3 * n) + local("bit_pass", 2 * n * count)
