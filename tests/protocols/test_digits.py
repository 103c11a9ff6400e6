"""Digit plans: the cheapest there are, whole, and what the comparison then sends."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.digits import Batch, DigitPlan, digits_price, plan_digits
from moiety.protocols.compare.millionaires import less_than, less_than_cost
from moiety.protocols.network import LAN, NETWORKS, Network, NetworkName
from moiety.protocols.prices import BIT_1, FORMAT_2, PREPARED_1
from moiety.protocols.session import Session
from tests.support.two_party import run_two_party

RADIX_16 = {
    5: ((2, 3), ((2,),)),
    8: ((4, 4), ((2,),)),
    11: ((3, 4, 4), ((3,),)),
    12: ((4, 4, 4), ((3,),)),
}


def every_plan(bits: int) -> Iterator[DigitPlan]:
    """All digit widths in all orders, with all sequences of joining rounds, in every position."""
    for d in range(1, bits + 1):
        for digits in itertools.product((1, 2, 3, 4), repeat=d):
            if sum(digits) == bits:
                yield from (DigitPlan(digits, joins) for joins in every_join(d))


def every_join(digits: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    if digits == 1:
        yield ()
        return
    for count in range(1, digits):
        for groups in itertools.product((1, 2, 3, 4), repeat=count):
            if sum(groups) == digits:
                yield from ((groups, *rest) for rest in every_join(count))


@functools.cache
def every_price(bits: int) -> tuple[DigitPlan, ...]:
    """Plans of every price: all of them up to 6 bits; above, one of those that differ in the order
    of neighbours, as what a comparison pays is a sum in which only the last of them is another.
    """
    plans = every_plan(bits)
    return tuple(plans) if bits <= 6 else tuple(filter(is_in_order, plans))


def is_in_order(plan: DigitPlan) -> bool:
    return all([*sizes[:-1]] == sorted(sizes[:-1]) for sizes in (plan.digits, *plan.joins))


THIN = Network(0, 50e6, 50e6)
AHEAD = [network.ahead for network in NETWORKS.values()]


@pytest.mark.parametrize(
    "network",
    [*NETWORKS.values(), THIN, *AHEAD],
    ids=[*NETWORKS, "thin", *(f"{name} ahead" for name in NETWORKS)],
)
@pytest.mark.parametrize("count", [1, 2, 25])
def test_the_plan_is_the_cheapest_of_all(network: Network, count: int) -> None:
    for bits in (1, 2, 4, 5, 6, 7):
        for n in (1, 1000, 10**6, None):
            made = plan_digits(bits, count, n, network)
            assert digits_price(made, count, n, network) == min(
                digits_price(each, count, n, network) for each in every_price(bits)
            )


@given(
    st.integers(1, 64),
    st.integers(1, 32),
    st.integers(1, 10**6),
    st.sampled_from([*NETWORKS.values(), *AHEAD]),
)
@settings(max_examples=60, deadline=None)
def test_a_plan_reaches_every_bit(bits: int, count: int, n: int, network: Network) -> None:
    made = plan_digits(bits, count, n, network)
    assert sum(made.digits) == bits
    assert all(1 <= k <= 4 for k in made.digits)
    digits = len(made.digits)
    for groups in made.joins:
        assert sum(groups) == digits
        digits = len(groups)
    assert digits == 1


def test_plans_of_a_lan() -> None:
    """Mostly radix 16 and the fewest rounds, as CrypTFlow2."""
    for bits, (digits, joins) in RADIX_16.items():
        assert plan_digits(bits, 1, 100_000, LAN) == DigitPlan(digits, joins)
    assert plan_digits(13, 1, 100_000, LAN).digits == (3, 3, 3, 4)
    assert plan_digits(13, 25, 100_000, LAN).digits == (3, 3, 3, 4)
    assert plan_digits(13, 1, 100_000, NETWORKS["wan"]).digits == (3, 3, 3, 4)
    # Narrower lookups in more rounds, where the tensor is large enough for a round trip more.
    assert len(plan_digits(28, 1, 1_000_000, LAN).joins) > len(plan_digits(28, 1, 100, LAN).joins)


def test_more_thresholds_take_narrower_digits_on_a_narrow_line() -> None:
    thin = THIN
    fast = NETWORKS["fast"]
    assert len(plan_digits(16, 25, 10**6, thin).digits) > len(
        plan_digits(16, 25, 10**6, fast).digits
    )


ON_DEMAND_DIGEST = "82d033a487e0b1c042982318ff87adc4098cdf32d869373b65e7081941ea1eaa"


def test_plans_of_runs_on_demand_are_as_they_were() -> None:
    """Two releases must cut alike; another plan is another version of the format."""
    plans = [
        plan_digits(bits, count, n, network)
        for network in (*NETWORKS.values(), THIN)
        for bits in (*range(1, 17), 28, 40)
        for count in (1, 25)
        for n in (1000, 10**6, None)
    ]
    assert hashlib.sha256(repr(plans).encode()).hexdigest() == ON_DEMAND_DIGEST


def answered(plan: DigitPlan) -> int:
    """Entries of the answers to the digits."""
    return sum((1 << k) - 1 for k in plan.digits)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("count", [1, 25])
def test_prepared_runs_take_no_wider_digits(network: NetworkName, count: int) -> None:
    """And somewhere narrower ones: fewer bytes in the run for more correlations before it."""
    demanded, ahead = NETWORKS[network], NETWORKS[network].ahead
    both = [
        (plan_digits(bits, count, n, demanded), plan_digits(bits, count, n, ahead))
        for bits in range(2, 30)
        for n in (10**5, None)
    ]
    assert all(answered(made) <= answered(before) for before, made in both)
    assert any(answered(made) < answered(before) for before, made in both)


def test_what_a_prepared_run_pays_for_a_digit() -> None:
    """By hand: pads read, a third of correlation and pads, and bits of the answer; a choice only
    where it is of shares that nobody knows beforehand.
    """
    batch = Batch(1, None, NETWORKS["wan"].ahead)
    made = FORMAT_2["silent_4"] + 17 * 2500 // 10 + FORMAT_2["transfer_4"]
    assert batch.leaf(4, True) == 4_000 + made * 33 // 100 + 15 * 2 * 2500
    assert batch.lookup(4, 1) == 4_000 + made * 33 // 100 + 15 * 2500 + 4 * 2500
    assert Batch(1, None, NETWORKS["lan"].ahead).bit == BIT_1 > NETWORKS["lan"].bit
    shared = Batch(25, None, NETWORKS["wan"].ahead)
    made = FORMAT_2["silent_4"] + 27 * 2500 // 10 + FORMAT_2["shared_transfer_3"]
    made += 50 * FORMAT_2["threshold_3"] // 2
    own = PREPARED_1["shared_transfer_3"] + 50 * PREPARED_1["threshold_3"] // 2
    assert shared.leaf(3, True) == own + made * 33 // 100 + 7 * 50 * 2500


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("ahead", [False, True], ids=["on demand", "ahead"])
@pytest.mark.parametrize(("bits", "count"), [(5, 1), (13, 1), (13, 3), (15, 25), (28, 2)])
def test_every_links_plan_compares_and_costs_what_it_says(
    network: NetworkName, ahead: bool, bits: int, count: int
) -> None:
    planned = NETWORKS[network].ahead if ahead else NETWORKS[network]
    n, rng = 150, np.random.default_rng(bits)
    a = ring.reduce(rng.integers(0, 1 << 62, (count, n), np.uint64), bits)
    y = ring.reduce(rng.integers(0, 1 << 62, (1, n), np.uint64), bits)
    y[0, :50] = a[0, :50]

    def side(values: U64) -> Callable[[Session], U8]:
        def body(session: Session) -> U8:
            with session.channel.meter.labelled("case"):
                return less_than(session, values, bits, count)

        return body

    run = run_two_party(side(a), side(y), network=planned)
    assert np.array_equal(run.server ^ run.client, a < y)
    cost, metered = (
        less_than_cost(n, bits, count, planned),
        run.channels[1].meter.by_label["case"],
    )
    assert (metered.sent, metered.received) == (cost.up, cost.down)
    assert metered.flights == len(cost.flights)
