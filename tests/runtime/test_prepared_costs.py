"""What a prepared run costs: nothing of a run on demand is lost or counted twice, and what goes
beforehand can.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from moiety.protocols.compare.digits import plan_digits
from moiety.protocols.compare.joint import truncate_with_gates_cost
from moiety.protocols.compare.joint_plan import JointPlan, SeparatePlan, plan_one_tree
from moiety.protocols.compare.millionaires import less_than_cost
from moiety.protocols.compare.relu import relu_cost
from moiety.protocols.cost import Cost, Draw, Local, Send, Settle, packed
from moiety.protocols.lanes import in_lanes_cost
from moiety.protocols.network import NETWORKS, NetworkName
from moiety.protocols.ot.generators import ALWAYS_SILENT, NEVER_SILENT, Mixed
from moiety.protocols.preparation import LATER
from moiety.runtime import program as ir
from moiety.runtime.cost.clock import predict
from moiety.runtime.cost.machine import REFERENCE_MACHINE
from moiety.runtime.cost.prepared import in_rounds, prepared_run, prepared_steps, split
from moiety.runtime.cost.traffic import key_cost, protocol_calls, run_cost
from tests.support.command import moiety
from tests.support.runnable import save_small, small

LAN = NETWORKS["lan"]


def sent(cost: Cost) -> list[Send]:
    return [event for event in cost.events if isinstance(event, Send)]


def drawn(cost: Cost) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    for event in cost.events:
        if isinstance(event, Draw):
            key = event.receiver, event.k
            found[key] = found.get(key, 0) + event.n
    return found


# --- one protocol ---------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("n", [100, 10_000])
def test_both_parts_of_a_plan_send_and_draw_what_the_run_on_demand_does(
    known: bool, n: int
) -> None:
    """In lanes, too; and what is left online draws nothing."""
    cost = in_lanes_cost(n, lambda part: relu_cost(part, 13, 26, LAN))
    parts = split(cost, known)
    assert drawn(parts.offline) == drawn(cost)
    assert not drawn(parts.online)
    both = sent(parts.offline) + sent(parts.online)
    for party in ("C", "S"):
        assert sum(send.nbytes for send in both if send.sender == party) == sum(
            send.nbytes for send in sent(cost) if send.sender == party
        )
    assert bool(sent(parts.offline)) == known


@pytest.mark.parametrize("n", [100, 10_000])
def test_choices_of_known_digits_go_first_and_a_flight_with_them(n: int) -> None:
    """Bits of the comparison for each value, and not one message of the rounds that follow."""
    cost = in_lanes_cost(n, lambda part: less_than_cost(part, 12, 3, LAN))
    parts = split(cost, known=True)
    assert {send.sender for send in sent(parts.offline)} == {"C"}
    assert sum(send.nbytes for send in sent(parts.offline)) == packed(n, 12)
    assert "C" + parts.online.flights == cost.flights
    assert all(local.party == "S" for local in parts.online.events[:2] if isinstance(local, Local))


def test_of_one_comparison_after_the_other_only_the_first_is_known() -> None:
    n, low, high = 100, 9, 7
    sizes = n, low + 10, low, high + 1, 2
    tree = plan_one_tree(low, high, 2, n, LAN.ahead)
    apart = SeparatePlan(tree.low, tree.low)
    for plan, bits in ((tree, low + high), (apart, low)):
        assert isinstance(plan, JointPlan | SeparatePlan)
        early = sent(split(truncate_with_gates_cost(*sizes, plan), known=True).offline)
        assert sum(send.nbytes for send in early) == pytest.approx(n * bits / 8, abs=4)


def test_a_prepared_run_works_less_and_its_preparation_the_rest() -> None:
    cost = relu_cost(10_000, 13, 26, LAN)
    parts = split(cost)
    demanded, beforehand, run = predict(
        [cost, parts.offline, parts.online], REFERENCE_MACHINE, LAN, NEVER_SILENT
    )
    for party in ("server", "client"):
        made, left, whole = (getattr(each, party) for each in (beforehand, run, demanded))
        assert left < 0.5 * whole
        assert whole <= made + left < 1.25 * whole


def test_correlations_are_drawn_in_long_runs_and_checked_once() -> None:
    parts = [split(relu_cost(n, 13, 26, LAN), known=True).offline for n in (100, 200)]
    together = in_rounds(parts)
    draws = [each for each in together.events if isinstance(each, Draw)]
    assert len({(each.receiver, each.k) for each in draws}) == len(draws)  # less than a run of each
    assert drawn(together) == drawn(sum(parts, Cost()))
    assert len(together.flights) <= 2 * (len(draws) + LATER) + 2
    assert [type(event) for event in together.events].count(Settle) == 1
    assert isinstance(together.events[-1], Settle)
    wanted = sent(sum(parts, Cost()))
    assert sum(each.nbytes for each in sent(together)) == sum(each.nbytes for each in wanted)


# --- a Program ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", ["exact", "stochastic"])
@pytest.mark.parametrize("images", [1, 3])
def test_a_prepared_run_sends_what_its_steps_do(rounding: ir.Rounding, images: int) -> None:
    program, _ = small(rounding)
    whole, steps = prepared_run(program, images), prepared_steps(program, images)
    assert whole.online == sum((step.online for step in steps), Cost())
    assert drawn(whole.offline) == drawn(sum((step.offline for step in steps), Cost()))
    keys = key_cost(program, images)
    assert sum(send.nbytes for send in sent(whole.offline)) == keys.total + sum(
        send.nbytes for step in steps for send in sent(step.offline)
    )
    assert not drawn(whole.online)
    assert not any(isinstance(event, Settle) for event in whole.online.events)


@pytest.mark.parametrize("network", ["fast", "lan"])
def test_a_prepared_run_is_cut_for_its_own_prices(network: NetworkName) -> None:
    program, _ = small("exact")
    program = msgspec.structs.replace(program, network=network)
    pools = [index for index, step in enumerate(program.steps) if isinstance(step, ir.MaxPool)]
    (at,) = pools
    for prepared, planned in ((False, program.planned_for), (True, program.planned_for.ahead)):
        levels = list(protocol_calls(program, prepared=prepared))[at]
        bits = program.steps[at].bits - 1
        assert [level.digits for level in levels] == [
            plan_digits(bits, 1, level.sizes["n"], planned) for level in levels
        ]
    assert [level.digits for level in levels] != [
        plan_digits(bits, 1, level.sizes["n"], program.planned_for) for level in levels
    ]


@pytest.mark.parametrize("network", NETWORKS)
def test_online_is_less_than_on_demand(network: NetworkName) -> None:
    program, _ = small("exact")
    program = msgspec.structs.replace(program, network=network)
    parts, demanded = prepared_run(program), run_cost(program, 1)
    silent = Mixed(ALWAYS_SILENT)
    assert parts.online.on(silent).total < demanded.on(Mixed(ALWAYS_SILENT)).total / 2
    assert len(parts.online.flights) < len(demanded.flights)


# --- shown ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_inspect_shows_three_prices(network: str, tmp_path: Path) -> None:
    program, _ = save_small(tmp_path)
    shown = moiety("inspect", tmp_path, "--cost", "--network", network, "--ot", "softspoken")
    parts = prepared_run(program)
    online, offline = (part.on(Mixed(NEVER_SILENT)) for part in (parts.online, parts.offline))
    rows = {
        cells[1]: cells[2:5]
        for line in shown.check().stdout.splitlines()
        if len(cells := [cell.strip() for cell in line.split("│")]) == 7
    }
    megabytes = "{:,.2f}".format
    assert rows["offline"] == [
        megabytes(offline.up / 1e6),
        megabytes(offline.down / 1e6),
        str(len(offline.flights)),
    ]
    assert rows["online"] == [
        megabytes(online.up / 1e6),
        megabytes(online.down / 1e6),
        str(len(online.flights)),
    ]
    assert rows["total"] == [
        megabytes((online.up + offline.up) / 1e6),
        megabytes((online.down + offline.down) / 1e6),
        str(len(online.flights) + len(offline.flights)),
    ]
    assert rows["on demand"][2] == str(len(run_cost(program, 1).flights))
