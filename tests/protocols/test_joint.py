"""Truncation with gates: every share of small rings in every tree, every digit of large ones at
its edges, and the plan that is the cheapest of all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.digits import DigitPlan, digits_price, plan_digits
from moiety.protocols.compare.joint import truncate_with_gates, truncate_with_gates_cost
from moiety.protocols.compare.joint_plan import (
    JointPlan,
    TreePlan,
    joint_price,
    plan_joint,
    plan_one_tree,
    plan_separate,
)
from moiety.protocols.network import LAN, NETWORKS, Network
from moiety.protocols.session import Session
from tests.protocols.conformance import edge_values
from tests.protocols.test_digits import every_join
from tests.protocols.test_small_rings import all_shares
from tests.support.two_party import Outcome, run_two_party, share

Rounds = tuple[tuple[int, ...], ...]
THIN = Network(0, 50e6, 50e6)


def run(
    shares: tuple[U64, U64],
    sizes: tuple[int, int, int],
    thresholds: U64,
    plans: Sequence[TreePlan | None],
    network: Network = LAN,
) -> Outcome:
    """Both parties' results with each of these plans; sizes: bits of the input, shift, bits of the
    gates.
    """

    def side(x: U64, own: U64 | None) -> Callable[[Session], list[tuple[U64, U8]]]:
        def body(session: Session) -> list[tuple[U64, U8]]:
            with session.channel.meter.labelled("case"):
                return [
                    truncate_with_gates(session, x, *sizes, len(thresholds), own, plan)
                    for plan in plans
                ]

        return body

    return run_two_party(side(shares[0], thresholds), side(shares[1], None), network=network)


def check(
    shares: tuple[U64, U64], sizes: tuple[int, int, int], thresholds: U64, made: Outcome
) -> None:
    bits, shift, gate_bits = sizes
    y = ring.reduce(shares[0] + shares[1], bits) >> np.uint64(shift)
    signed = ring.to_signed(ring.reduce(y + thresholds, gate_bits), gate_bits)
    for (y0, gates0), (y1, gates1) in zip(made.server, made.client, strict=True):
        assert np.array_equal(ring.reduce(y0 + y1, bits - shift), y)
        assert max(y0.max(), y1.max()) < 1 << (bits - shift)
        assert np.array_equal(gates0 ^ gates1, signed >= 0)


# --- every case of small rings --------------------------------------------------------------------


def every_tree(low: int, high: int) -> Iterator[tuple[Rounds, Rounds]]:
    """All joining rounds of so many low and high digits; see JointPlan."""
    for below in every_join(low):
        yield from ((below, above) for above in _beside(len(below), high))


def _beside(rounds: int, parts: int) -> Iterator[Rounds]:
    """Of so many rounds without the carry, and then with it."""
    if rounds == 0:
        yield from every_join(parts + 1)
        return
    for count in range(1, parts + 1):
        for groups in itertools.product((1, 2, 3, 4), repeat=count):
            if sum(groups) == parts:
                yield from ((groups, *rest) for rest in _beside(rounds - 1, count))


@pytest.mark.parametrize(("low", "high"), [(1, 1), (1, 3), (2, 2), (3, 2), (2, 3), (4, 1), (1, 4)])
def test_every_share_in_every_tree(low: int, high: int) -> None:
    """Digits of one bit, so that every table of every join is met; all shares and thresholds."""
    sizes = low + high + 1, low, high + 1
    plans = [
        JointPlan(DigitPlan((1,) * low, below), (1,) * high, above)
        for below, above in every_tree(low, high)
    ]
    shares = all_shares(low + high + 1)
    thresholds = np.arange(2 << high, dtype=np.uint64)[:, None]
    check(shares, sizes, thresholds, run(shares, sizes, thresholds, plans))


@pytest.mark.parametrize("sizes", [(6, 2, 2), (6, 2, 3), (7, 1, 5), (7, 5, 2), (6, 3, 3)])
def test_every_share_with_the_planned_trees(sizes: tuple[int, int, int]) -> None:
    """Gates may take fewer bits than are left of the value."""
    bits, shift, gate_bits = sizes
    shares = all_shares(bits)
    thresholds = np.arange(1 << gate_bits, dtype=np.uint64)[:, None]
    numbers = shift, gate_bits - 1, len(thresholds), None, LAN
    plans = [None, plan_one_tree(*numbers), plan_separate(*numbers)]
    check(shares, sizes, thresholds, run(shares, sizes, thresholds, plans))


# --- large rings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(30, 15, 14), (36, 16, 17), (45, 20, 25)])
def test_carries_and_equalities_at_every_digit(sizes: tuple[int, int, int]) -> None:
    """The low parts add up to one less than a carry, or differ from that by a bit at any place; so
    do the upper parts, whose carry then depends on the lower one's.
    """
    bits, shift, gate_bits = sizes
    rng = np.random.default_rng(bits)
    n = 4000

    def complements(width: int, reach: int) -> tuple[U64, U64]:
        """a of digits 0, 7 and f; b with a + b = 2^width - 1, or off by a bit below `reach`."""
        digits = rng.choice(np.array([0, 7, 15], np.uint64), (n, 16))
        a = ring.reduce((digits << np.arange(0, 64, 4, dtype=np.uint64)).sum(1), width)
        off = np.array([0] * reach + [s * (1 << p) for p in range(reach) for s in (1, -1)])
        return a, ring.reduce(ring.mask(width) - a + rng.choice(off, n).view(np.uint64), width)

    low0, low1 = complements(shift, shift)
    high0, high1 = complements(bits - shift, gate_bits)
    shares = (high0 << np.uint64(shift)) | low0, (high1 << np.uint64(shift)) | low1
    half = np.uint64(1 << (gate_bits - 1))
    thresholds = np.stack(
        [np.zeros(n, np.uint64), np.full(n, half), edge_values(gate_bits, rng, n)]
    )
    numbers = shift, gate_bits - 1, len(thresholds)
    plans = [
        plan(*numbers, many, network)
        for network in NETWORKS.values()
        for many in (100, None)
        for plan in (plan_one_tree, plan_separate)
    ]
    check(shares, sizes, thresholds, run(shares, sizes, thresholds, plans))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_sizes_and_plans(data: st.DataObject) -> None:
    """Values, gates, bytes and flights."""
    bits = data.draw(st.integers(3, 64), "bits")
    shift = data.draw(st.integers(0, bits - 2), "shift")
    gate_bits = data.draw(st.integers(2, bits - shift), "gate_bits")
    count, n = data.draw(st.integers(1, 32), "count"), data.draw(st.integers(1, 150), "n")
    networks = [*NETWORKS.values(), *(network.ahead for network in NETWORKS.values())]
    network = data.draw(st.sampled_from(networks), "network")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), "seed"))
    shares = share(edge_values(bits, rng, n), bits, rng)
    thresholds = rng.integers(0, 2**64, (count, 1), np.uint64)
    sizes = bits, shift, gate_bits
    made = run(shares, sizes, thresholds, [None], network)
    check(shares, sizes, thresholds, made)
    cost = truncate_with_gates_cost(n, *sizes, count, network)
    metered = made.channels[1].meter.by_label["case"]
    assert (metered.sent, metered.received) == (cost.up, cost.down)
    assert metered.flights == len(cost.flights)


def test_a_large_tensor_keeps_its_shape() -> None:
    sizes, rng = (30, 15, 14), np.random.default_rng(1)
    x = ring.reduce(rng.integers(0, 2**64, (3, 250, 200), np.uint64), 30)
    thresholds = rng.integers(0, 2**14, (2, 3, 1, 1), np.uint64)
    shares = share(x, 30, rng)
    made = run(shares, sizes, thresholds, [None])
    check(shares, sizes, thresholds, made)
    assert made.server[0][0].shape == x.shape


# --- plans ----------------------------------------------------------------------------------------


def compositions(bits: int) -> Iterator[tuple[int, ...]]:
    """All digit widths in all orders."""
    for number in range(1, bits + 1):
        for digits in itertools.product((1, 2, 3, 4), repeat=number):
            if sum(digits) == bits:
                yield digits


@pytest.mark.parametrize(
    "network", [*NETWORKS.values(), THIN, THIN.ahead], ids=[*NETWORKS, "thin", "thin ahead"]
)
@pytest.mark.parametrize("count", [1, 2, 25])
def test_the_plan_is_the_cheapest_of_all(network: Network, count: int) -> None:
    for low, high in ((1, 1), (2, 4), (4, 2), (3, 3)):
        every = [
            JointPlan(DigitPlan(below, joins), above, beside)
            for below in compositions(low)
            for above in compositions(high)
            for joins, beside in every_tree(len(below), len(above))
        ]
        for n in (1, 1000, 10**6, None):
            best = min(joint_price(plan, count, n, network) for plan in every)
            tree = plan_one_tree(low, high, count, n, network)
            assert joint_price(tree, count, n, network) == best
            apart = plan_separate(low, high, count, n, network)
            price = joint_price(plan_joint(low, high, count, n, network), count, n, network)
            assert price == min(best, joint_price(apart, count, n, network))


def test_separate_comparisons_cost_theirs_and_a_round_trip() -> None:
    network, n = NETWORKS["wan"], 1000
    apart = plan_separate(15, 13, 3, n, network)
    first, second = plan_digits(15, 1, n, network), plan_digits(13, 3, n, network)
    assert joint_price(apart, 3, n, network) == (
        digits_price(first, 1, n, network)
        + digits_price(second, 3, n, network)
        + 2 * network.flight
    )
    without_low = plan_joint(0, 13, 3, n, network)
    assert joint_price(without_low, 3, n, network) == digits_price(second, 3, n, network)


def test_a_second_comparison_of_a_prepared_run_sends_its_choices_too() -> None:
    network, n = NETWORKS["wan"].ahead, 1000
    apart = plan_separate(15, 13, 3, n, network)
    assert joint_price(apart, 3, n, network) == (
        digits_price(apart.low, 1, n, network)
        + digits_price(apart.gates, 3, n, network)
        + 2 * network.flight
        + n * 13 * network.bit
    )


def test_few_values_take_one_tree_and_two_round_trips() -> None:
    wan = NETWORKS["wan"]
    tree = plan_joint(15, 13, 1, 1000, wan)
    assert tree == JointPlan(DigitPlan((3, 4, 4, 4), ((4,),)), (3, 3, 3, 4), ((1, 3), (3,)))
    assert truncate_with_gates_cost(1000, 30, 15, 14, 1, wan).flights == "CSCS"
    apart = plan_separate(15, 13, 1, 1000, wan)
    assert truncate_with_gates_cost(1000, 30, 15, 14, 1, apart).flights == "CSCSCSCS"
