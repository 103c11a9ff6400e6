"""The cost model: digit plans are the cheapest there are; formulas, steps and meters agree;
predicted seconds behave; and the commands that show them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.compiler.planning.options import PlanOptions
from moiety.protocols import cost as costs
from moiety.protocols import ring
from moiety.protocols.channel import Meter
from moiety.protocols.compare.digits import Plan, plan, price
from moiety.protocols.compare.millionaires import less_than
from moiety.protocols.cost import Cost, Mixed
from moiety.protocols.errors import BadInput, BadPlan
from moiety.protocols.network import (
    LAN,
    LOOPBACK,
    NETWORKS,
    Network,
    NetworkName,
    parse_network,
    planned_for,
)
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import NEVER_SILENT, open_session
from moiety.runtime import program as ir
from moiety.runtime.cost import clock as timing
from moiety.runtime.cost import formulas as symbolic
from moiety.runtime.cost import machine
from moiety.runtime.cost import traffic as costing
from moiety.runtime.cost.clock import predict, total
from moiety.runtime.cost.machine import FIGURES, REFERENCE, Machine
from moiety.runtime.measure.figures import calibrate
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.generators import soonest
from moiety.runtime.program.layers import linear_specs
from moiety.runtime.program.weights import Weights
from tests.support.command import moiety
from tests.support.runnable import save_small, small
from tests.support.two_party import channel_pair, run_both, run_two_party

RADIX_16 = {
    5: ((1, 4), ((2,),)),
    8: ((4, 4), ((2,),)),
    11: ((3, 4, 4), ((3,),)),
    12: ((4, 4, 4), ((3,),)),
}


def every_plan(bits: int) -> Iterator[Plan]:
    """All digit widths in all orders, with all sequences of joining rounds, in every position."""
    for d in range(1, bits + 1):
        for digits in itertools.product((1, 2, 3, 4), repeat=d):
            if sum(digits) == bits:
                yield from (Plan(digits, joins) for joins in every_join(d))


def every_join(digits: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    if digits == 1:
        yield ()
        return
    for count in range(1, digits):
        for groups in itertools.product((1, 2, 3), repeat=count):
            if sum(groups) == digits and all(size <= 2 for size in groups[:-1]):
                yield from ((groups, *rest) for rest in every_join(count))


@pytest.mark.parametrize(
    "network", [*NETWORKS.values(), Network(0, 50e6, 50e6)], ids=[*NETWORKS, "thin"]
)
@pytest.mark.parametrize("count", [1, 2, 25])
def test_the_plan_is_the_cheapest_of_all(network: Network, count: int) -> None:
    for bits in (1, 2, 4, 5, 6, 7):
        for n in (1, 1000, 10**6, None):
            made = plan(bits, count, n, network)
            assert price(made, count, n, network) == min(
                price(each, count, n, network) for each in every_plan(bits)
            )


@given(
    st.integers(1, 64),
    st.integers(1, 32),
    st.integers(1, 10**6),
    st.sampled_from(list(NETWORKS.values())),
)
@settings(max_examples=60, deadline=None)
def test_a_plan_reaches_every_bit(bits: int, count: int, n: int, network: Network) -> None:
    made = plan(bits, count, n, network)
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
        assert plan(bits, 1, 100_000, LAN) == Plan(digits, joins)
    assert plan(13, 1, 100_000, LAN).digits == (1, 4, 4, 4)
    assert plan(13, 25, 100_000, LAN).digits == (3, 3, 3, 4)
    assert plan(13, 1, 100_000, NETWORKS["wan"]).digits == (3, 3, 3, 4)
    # Narrower lookups in more rounds, where the tensor is large enough for a round trip more.
    assert len(plan(28, 1, 1_000_000, LAN).joins) > len(plan(28, 1, 100, LAN).joins)


def test_more_thresholds_take_narrower_digits_on_a_narrow_line() -> None:
    wan = NETWORKS["wan"]
    assert len(plan(16, 25, 10**6, wan).digits) > len(plan(16, 25, 10**6, LAN).digits)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("bits", "count"), [(5, 1), (13, 1), (13, 3), (15, 25), (28, 2)])
def test_every_links_plan_compares_and_costs_what_it_says(
    network: NetworkName, bits: int, count: int
) -> None:
    n, rng = 150, np.random.default_rng(bits)
    a = ring.reduce(rng.integers(0, 1 << 62, (count, n), np.uint64), bits)
    y = ring.reduce(rng.integers(0, 1 << 62, (1, n), np.uint64), bits)
    y[0, :50] = a[0, :50]

    def side(values: ring.U64):  # type: ignore[no-untyped-def]
        def body(session: Session) -> object:
            session.network = NETWORKS[network]
            with session.channel.meter.labelled("case"):
                return less_than(session, values, bits, count)

        return body

    run = run_two_party(side(a), side(y))
    assert np.array_equal(run.server ^ run.client, a < y)
    cost, metered = (
        costs.less_than(n, bits, count, NETWORKS[network]),
        run.channels[1].meter.by_label["case"],
    )
    assert (metered.sent, metered.received, metered.flights) == (cost.up, cost.down, cost.rounds)


def image(program: ir.Program, weights: Weights, silent_from: int) -> Meter:
    """The client's meter of one inference, set-up apart."""
    server = ServerExecutor(program, weights)
    server.prepare()
    channels, x = channel_pair(), np.zeros(program.input.shape, np.float32)

    def client() -> None:
        session = open_session(Role.CLIENT, channels[1], silent_from=silent_from)
        session.channel.meter.total.flights = session.channel.meter.total.sent = 0
        session.channel.meter.total.received = 0
        ClientExecutor(program).run(session, x)

    run_both(
        lambda: server.run(open_session(Role.SERVER, channels[0], silent_from=silent_from)),
        client,
        channels,
    )
    return channels[1].meter


@pytest.mark.parametrize("rounding", ["exact", "stochastic"])
@pytest.mark.parametrize("silent_from", [1, 4, NEVER_SILENT])
@pytest.mark.parametrize("network", ["lan", "wan"])
def test_predicted_traffic_is_the_metered_one(
    rounding: ir.Rounding, silent_from: int, network: NetworkName
) -> None:
    program, weights = small(rounding)
    program = msgspec.structs.replace(program, network=network)
    wire = costing.image_cost(program).on(Mixed(silent_from))
    metered = image(program, weights, silent_from).total
    assert (metered.sent, metered.received, metered.flights) == (wire.up, wire.down, wire.rounds)


@pytest.mark.parametrize("rounding", ["exact", "stochastic"])
def test_formulas_add_up_to_the_steps(rounding: ir.Rounding) -> None:
    program, _ = small(rounding)
    rows = symbolic.formulas(program, linear_specs(program))
    whole = costing.image_cost(program)
    sums = [
        sum(sides)
        for sides in zip(*(r.with_softspoken(s) for r in rows for s in r.sizes), strict=True)
    ]
    assert sums == [whole.up, whole.down]
    # Without correlations, and these by width: what another generator starts from.
    bare = sum(row.total(row.up) + row.total(row.down) for row in rows)
    drawn = [event for event in whole.events if isinstance(event, costs.Draw)]
    assert bare == whole.total - sum(costs.correlations(each.n, each.k) for each in drawn)
    for receiver, k in {(each.receiver, each.k) for each in drawn}:
        by_rows = sum(
            row.total(row.draws[receiver, k]) for row in rows if (receiver, k) in row.draws
        )
        assert by_rows == sum(each.n for each in drawn if (each.receiver, each.k) == (receiver, k))


def test_formulas_are_readable() -> None:
    row = symbolic.Formula("relu", "", costs.relu(symbolic.N, 13, symbolic.OUT))
    assert symbolic.readable(row.up) == "n*(out_bits + 18)/8"
    assert symbolic.readable(row.down) == "n*(3*out_bits + 91)/8"
    assert symbolic.readable_draws(row) == "4 n of 4 bits C, n of 2 bits C, n of 1 bit S"


def a_cost(bits: int = 13, n: int = 20_000) -> Cost:
    program, _ = small("exact")
    return costing.image_cost(program) + costs.relu(n, bits, 26)


@given(
    st.floats(0, 0.2),
    st.floats(0, 0.2),
    st.floats(1e6, 1e11),
    st.floats(1, 1e3),
    st.sampled_from([1, 2, 4, NEVER_SILENT]),
)
@settings(max_examples=30, deadline=None)
def test_a_slower_network_never_takes_less_time(
    rtt: float, longer: float, rate: float, times: float, narrowest: int
) -> None:
    cost = a_cost()
    fast = predict([cost], REFERENCE, Network(rtt, rate * times, rate * times), narrowest)[0]
    slow = predict([cost], REFERENCE, Network(rtt + longer, rate, rate), narrowest)[0]
    assert fast.total <= slow.total * (1 + 1e-12)
    assert (fast.server, fast.client) == (slow.server, slow.client)


def test_a_slower_machine_takes_more_time_figure_by_figure() -> None:
    cost, network = (
        a_cost() + costs.gates(500, 17, 9) + costs.truncate_exact(300, 22, 9),
        NETWORKS["lan"],
    )
    times = {}
    for narrowest in (1, NEVER_SILENT):
        reference = predict([cost], REFERENCE, network, narrowest)[0]
        for name in FIGURES:
            slower = Machine(
                description={}, figures=REFERENCE.figures | {name: 10 * REFERENCE.figures[name] + 1}
            )
            made = predict([cost], slower, network, narrowest)[0]
            assert made.total >= reference.total
            times[name] = (
                times.get(name, False)
                or made.server + made.client > reference.server + reference.client
            )
    unused = {name for name, grew in times.items() if not grew}
    # Widths that these comparisons do not take.
    assert all(
        name.rpartition("_")[0].startswith(("leaf", "leaves", "field", "join", "vole"))
        for name in unused
    )


def test_time_lies_between_the_busiest_and_everything_in_turn() -> None:
    for name, network in {**NETWORKS, "loopback": LOOPBACK}.items():
        made = total(predict([a_cost()], REFERENCE, network, 4))
        assert max(made.server, made.client) <= made.total, name
        assert made.total <= made.server + made.client + made.network + 1e-12, name


def test_a_timeline_by_hand() -> None:
    """Two messages, one after the other: work, line, latency, work."""
    figures = dict.fromkeys(FIGURES, 0.0) | {"pass": 1e6}
    work = (costs.Work("pass", 3),)
    cost = Cost(
        (costs.Send("C", 1000, work, work), costs.Send("S", 500, work, ()), costs.Local("S", work))
    )
    made = predict(
        [cost], Machine(description={}, figures=figures), Network(0.010, 8e6, 8e5), NEVER_SILENT
    )[0]
    there, back = 0.003 + 0.010 + 0.005 + 0.003, 0.003 + 0.0005 + 0.005
    assert made.total == pytest.approx(there + back)
    assert (made.client, made.server) == pytest.approx((0.003, 0.009))
    assert made.network == pytest.approx(0.0105 + 0.010)


def test_silence_is_chosen_where_lines_are_narrow() -> None:
    cost = costs.relu(10**6, 13, 26)
    chosen = [soonest([cost], REFERENCE, Network(1e-3, bps, bps)) for bps in (1e12, 3e9, 4e8, 1e7)]
    assert chosen == sorted(chosen, reverse=True)


def test_networks() -> None:
    assert parse_network("lan") == Network(0.8e-3, 3e9, 3e9)
    assert (
        parse_network("20ms,1Gbit")
        == parse_network("0.02 s, 1000 Mbit/s")
        == Network(0.02, 1e9, 1e9)
    )
    for wrong in (
        "moon",
        "20ms",
        "20,1Gbit",
        "-1ms,1Gbit",
        "1ms,0Mbit",
        "nan ms,1Gbit",
        "1ms,1Gbit,2Gbit",
        "ms,Gbit",
    ):
        with pytest.raises(BadInput, match="choose fast, lan, wan, loopback"):
            parse_network(wrong)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        *((name, name) for name in NETWORKS),
        ("loopback", "fast"),
        ("0ms,3Gbit", "fast"),
        ("1ms,1Gbit", "lan"),
        ("20ms,1Gbit", "wan"),
        ("5ms,10Mbit", "wan"),
    ],
)
def test_the_class_that_a_network_is_planned_for(words: str, name: NetworkName) -> None:
    assert planned_for(parse_network(words)) == name


def test_machines_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert machine.find()[0] == REFERENCE
    other = Machine(description={"machine": "x"}, figures=dict.fromkeys(FIGURES, 2.0))
    other.save(machine.default_path())
    assert machine.find()[0] == other
    other.save(tmp_path / "elsewhere.json")
    assert machine.find(tmp_path / "elsewhere.json")[0] == other
    (tmp_path / "bad.json").write_text('{"description": {}, "figures": {"pass": 1}}')
    with pytest.raises(
        BadInput, match=r"bad\.json holds no machine's figures: .*calibrate-machine"
    ):
        machine.find(tmp_path / "bad.json")
    with pytest.raises(BadInput, match="cannot read"):
        machine.find(tmp_path / "none.json")


def test_calibration_measures_every_figure() -> None:
    made = calibrate(elements=2048, repeats=1)
    assert set(made.figures) == set(FIGURES)
    assert all(math.isfinite(value) for value in made.figures.values())
    for name in (
        "leaf_send_4",
        "vole_recv_4",
        "zero_residue",
        "message",
        "mux_server",
        "silent_send",
    ):
        assert made.figures[name] > 0, name
    assert made.description["kernels"]


def test_the_program_says_its_network() -> None:
    program, _ = small("exact")
    assert program.planned_for == LAN
    wan = msgspec.structs.replace(program, network="wan")
    assert wan.planned_for == NETWORKS["wan"]
    assert wan.digest() != program.digest()
    assert ir.Program.decode(wan.encode()) == wan
    with pytest.raises(BadPlan, match="the network is 'moon'"):
        PlanOptions(network="moon")  # type: ignore[arg-type]


def test_inspect_cost(tmp_path: Path) -> None:
    program, _ = save_small(tmp_path)
    wan = (
        moiety("inspect", tmp_path, "--cost", "--network", "wan", "--ot", "softspoken")
        .check()
        .stdout
    )
    whole = costing.image_cost(program)
    for part in (
        "Formulas",
        "n*(",
        "by step kind",
        "by layer",
        "40 ms",
        "400 Mbit/s",
        "softspoken",
    ):
        assert part in wan
    assert f"{whole.up / 1e6:,.2f} MB" in wan
    assert f"{whole.down / 1e6:,.2f} MB" in wan
    wrong = moiety("inspect", tmp_path, "--cost", "--network", "moon")
    wrong.refused(BadInput.exit_code, "'moon' is no network")


def test_calibrate_machine_and_use_it(tmp_path: Path) -> None:
    file = tmp_path / "machine.json"
    moiety("calibrate-machine", "-o", file, "--elements", "2048", "--repeats", "1").check()
    assert Machine.load(file).description["cores"]
    save_small(tmp_path)
    options = ("--cost", "--machine", file, "--network", "1ms,100Mbit/s", "--no-steps")
    used = moiety("inspect", tmp_path, *options).check().stdout
    assert str(file) in used
    assert "by layer" not in used


def test_predictions_take_as_many_steps_as_they_are_given() -> None:
    program, _ = small("stochastic")
    each = timing.predict(costing.step_costs(program), REFERENCE, NETWORKS["lan"], NEVER_SILENT)
    assert len(each) == len(program.steps)
    assert all(time.total >= 0 for time in each)
