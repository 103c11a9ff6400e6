"""Predicted seconds: what they can never do, whatever the figures, and one timeline by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import prices
from moiety.protocols.compare.relu import gates_cost, relu_cost
from moiety.protocols.compare.truncate import truncate_exact_cost
from moiety.protocols.cost import Cost, Local, Send, Work
from moiety.protocols.network import LOOPBACK, NETWORKS, Network
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.runtime.cost.clock import predict, total
from moiety.runtime.cost.machine import REFERENCE_MACHINE, Machine
from moiety.runtime.cost.prepared import prepared_run
from moiety.runtime.cost.traffic import image_cost, step_costs
from moiety.runtime.party.generator_choice import soonest
from tests.support.runnable import small


def a_cost(bits: int = 13, n: int = 20_000) -> Cost:
    program, _ = small("exact")
    return image_cost(program) + relu_cost(n, bits, 26)


@given(
    st.floats(0, 0.2),
    st.floats(0, 0.2),
    st.floats(1e6, 1e11),
    st.floats(1, 1e3),
    st.sampled_from([1, 2, 4, NEVER_SILENT]),
)
@settings(max_examples=30, deadline=None)
def test_a_slower_network_never_takes_less_time(
    rtt: float, longer: float, rate: float, times: float, silent_from: int
) -> None:
    cost = a_cost()
    fast = predict(
        [cost], REFERENCE_MACHINE, Network(rtt, rate * times, rate * times), silent_from
    )[0]
    slow = predict([cost], REFERENCE_MACHINE, Network(rtt + longer, rate, rate), silent_from)[0]
    assert fast.total <= slow.total * (1 + 1e-12)
    assert (fast.server, fast.client) == (slow.server, slow.client)


def test_a_slower_machine_takes_more_time_figure_by_figure() -> None:
    prepared = prepared_run(small("exact")[0]).online
    cost = a_cost() + prepared + gates_cost(500, 17, 9) + truncate_exact_cost(300, 22, 9)
    network = NETWORKS["lan"]
    grew: dict[str, bool] = {}
    for silent_from in (1, NEVER_SILENT):
        reference = predict([cost], REFERENCE_MACHINE, network, silent_from)[0]
        for name in prices.REFERENCE:
            slower = Machine(
                description={},
                figures=REFERENCE_MACHINE.figures
                | {name: 10 * REFERENCE_MACHINE.figures[name] + 1},
            )
            made = predict([cost], slower, network, silent_from)[0]
            assert made.total >= reference.total
            longer = made.server + made.client > reference.server + reference.client
            grew[name] = grew.get(name, False) or longer
    unused = {name for name, ever in grew.items() if not ever}
    # Widths that these comparisons do not take.
    assert all(
        name.rpartition("_")[0].startswith(
            ("leaf", "leaves", "field", "join", "vole", "pads", "given")
        )
        for name in unused
    )


def test_time_lies_between_the_busiest_and_everything_in_turn() -> None:
    for name, network in (*NETWORKS.items(), ("loopback", LOOPBACK)):
        made = total(predict([a_cost()], REFERENCE_MACHINE, network, 4))
        assert max(made.server, made.client) <= made.total, name
        assert made.total <= made.server + made.client + made.network + 1e-12, name


def test_a_timeline_by_hand() -> None:
    """Two messages, one after the other: work, line, latency, work."""
    figures = dict.fromkeys(prices.REFERENCE, 0.0) | {"pass": 1e6}
    work = (Work("pass", 3),)
    cost = Cost((Send("C", 1000, work, work), Send("S", 500, work, ()), Local("S", work)))
    made = predict(
        [cost], Machine(description={}, figures=figures), Network(0.010, 8e6, 8e5), NEVER_SILENT
    )[0]
    there, back = 0.003 + 0.010 + 0.005 + 0.003, 0.003 + 0.0005 + 0.005
    assert made.total == pytest.approx(there + back)
    assert (made.client, made.server) == pytest.approx((0.003, 0.009))
    assert made.network == pytest.approx(0.0105 + 0.010)


def test_silence_is_chosen_where_lines_are_narrow() -> None:
    cost = relu_cost(10**6, 13, 26)
    chosen = [
        soonest([cost], REFERENCE_MACHINE, Network(1e-3, bps, bps)) for bps in (1e12, 3e9, 4e8, 1e7)
    ]
    assert chosen == sorted(chosen, reverse=True)


def test_predictions_take_as_many_steps_as_they_are_given() -> None:
    program, _ = small("stochastic")
    each = predict(step_costs(program), REFERENCE_MACHINE, NETWORKS["lan"], NEVER_SILENT)
    assert len(each) == len(program.steps)
    assert all(time.total >= 0 for time in each)
