"""Declared traffic: of every kind of step, equal to what two parties meter; and as formulas."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from moiety.compiler.planning.options import PlanOptions
from moiety.protocols.channel import Meter
from moiety.protocols.compare.relu import relu_cost
from moiety.protocols.cost import Draw, extension_bytes
from moiety.protocols.errors import BadInput, BadPlan
from moiety.protocols.network import LAN, NETWORKS, NetworkName
from moiety.protocols.ot.generators import NEVER_SILENT, Mixed
from moiety.protocols.session import Role
from moiety.protocols.setup import open_session
from moiety.runtime import program as ir
from moiety.runtime.cost import formulas
from moiety.runtime.cost.traffic import CALLS, image_cost
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.program.weights import Weights
from tests.support.command import moiety
from tests.support.runnable import save_small, small
from tests.support.two_party import channel_pair, run_both


def test_every_kind_of_step_declares_its_cost() -> None:
    assert set(CALLS) == set(ir.KINDS)


def metered_image(program: ir.Program, weights: Weights, silent_from: int) -> Meter:
    """The client's meter of one inference, set-up apart."""
    server = ServerExecutor(program, weights)
    server.prepare()
    channels, x = channel_pair(), np.zeros(program.input.shape, np.float32)

    def client() -> None:
        session = open_session(
            Role.CLIENT, channels[1], silent_from=silent_from, network=program.planned_for
        )
        session.channel.meter.total.flights = session.channel.meter.total.sent = 0
        session.channel.meter.total.received = 0
        ClientExecutor(program).run(session, x)

    def vendor() -> None:
        server.run(
            open_session(
                Role.SERVER, channels[0], silent_from=silent_from, network=program.planned_for
            )
        )

    run_both(vendor, client, channels)
    return channels[1].meter


@pytest.mark.parametrize("rounding", ["exact", "stochastic"])
@pytest.mark.parametrize("silent_from", [1, 4, NEVER_SILENT])
@pytest.mark.parametrize("network", ["lan", "wan"])
def test_predicted_traffic_is_the_metered_one(
    rounding: ir.Rounding, silent_from: int, network: NetworkName
) -> None:
    program, weights = small(rounding)
    program = msgspec.structs.replace(program, network=network)
    wire = image_cost(program).on(Mixed(silent_from))
    metered = metered_image(program, weights, silent_from).total
    assert (metered.sent, metered.received) == (wire.up, wire.down)
    assert metered.flights == len(wire.flights)


@pytest.mark.parametrize("rounding", ["exact", "stochastic"])
def test_formulas_add_up_to_the_steps(rounding: ir.Rounding) -> None:
    program, _ = small(rounding)
    rows = formulas.formulas(program)
    whole = image_cost(program)
    sums = [
        sum(sides)
        for sides in zip(*(r.with_softspoken(s) for r in rows for s in r.sizes), strict=True)
    ]
    assert sums == [whole.up, whole.down]
    # Without correlations, and these by width: what another generator starts from.
    bare = sum(row.total(row.up) + row.total(row.down) for row in rows)
    drawn = [event for event in whole.events if isinstance(event, Draw)]
    assert bare == whole.total - sum(extension_bytes(each.n, each.k) for each in drawn)
    for receiver, k in {(each.receiver, each.k) for each in drawn}:
        by_rows = sum(
            row.total(row.draws[receiver, k]) for row in rows if (receiver, k) in row.draws
        )
        assert by_rows == sum(each.n for each in drawn if (each.receiver, each.k) == (receiver, k))


def test_formulas_are_readable() -> None:
    row = formulas.Formula("relu", "", relu_cost(formulas.N, 13, formulas.OUT))
    assert formulas.readable(row.up) == "n*(out_bits + 28)/8"
    assert formulas.readable(row.down) == "47*n/4"
    assert (
        formulas.readable_draws(row)
        == "3 n of 4 bits C, n of 1 bit C, n of 4 bits S, 2 n of 1 bit S"
    )


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
    whole = image_cost(program)
    for part in (
        "Formulas",
        "n*(",
        "by step kind",
        "40 ms",
        "400 Mbit/s",
        "softspoken",
    ):
        assert part in wan
    assert "by layer" not in wan
    layers = moiety("inspect", tmp_path, "--cost", "--steps").check().stdout
    assert "by layer" in layers
    (total,) = (line for line in wan.splitlines() if "│ one image │" in line)
    cells = [cell.strip() for cell in total.split("│")]
    assert cells[3:5] == [f"{whole.up / 1e6:,.2f}", f"{whole.down / 1e6:,.2f}"]
    wrong = moiety("inspect", tmp_path, "--cost", "--network", "moon")
    wrong.refused(BadInput.exit_code, "'moon' is no network")
    assert not wrong.stdout  # nothing is shown before all options are understood
