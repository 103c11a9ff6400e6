"""Declared costs equal metered traffic, byte for byte and flight for flight; and the wire bytes
are pinned by committed digests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

from moiety.protocols import cost as costs
from moiety.protocols import ring
from moiety.protocols.compare.convert import bit_to_ring
from moiety.protocols.compare.extend import extend
from moiety.protocols.compare.maxpool import maxpool
from moiety.protocols.compare.millionaires import drelu, less_than, wrap
from moiety.protocols.compare.relu import relu
from moiety.protocols.compare.reveal import reveal_to_client
from moiety.protocols.compare.truncate import truncate_exact, truncate_stochastic
from moiety.protocols.cost import Cost
from moiety.protocols.session import Session
from tests.support.two_party import run_two_party

BASELINES = Path(__file__).parent / "baselines" / "wire.json"

Body = Callable[[Session, ring.U64], Any]


def bit(x: ring.U64) -> np.ndarray:
    return (x & np.uint64(1)).astype(np.uint8)


POOL = ((3, 3), (2, 2), (1, 1, 1, 1))
CASES: dict[str, tuple[tuple[int, ...], int, Body, Cost]] = {
    "less_than 15": (
        (1000,),
        15,
        lambda s, x: less_than(s, x[None], 15),
        costs.less_than(1000, 15),
    ),
    "less_than 1": ((77,), 1, lambda s, x: less_than(s, x[None], 1), costs.less_than(77, 1)),
    "less_than 40": ((130,), 40, lambda s, x: less_than(s, x[None], 40), costs.less_than(130, 40)),
    "drelu 16": ((129,), 16, lambda s, x: drelu(s, x[None], 16), costs.less_than(129, 15)),
    "wrap 12": ((128,), 12, lambda s, x: wrap(s, x, 12), costs.less_than(128, 12)),
    "relu 16 to 28": ((5, 9, 7), 16, lambda s, x: relu(s, x, 16, 28), costs.relu(315, 16, 28)),
    "relu 29 to 41": ((200,), 29, lambda s, x: relu(s, x, 29, 41), costs.relu(200, 29, 41)),
    "maxpool 3x3/2": (
        (3, 8, 9),
        14,
        lambda s, x: maxpool(s, x, 14, *POOL),
        costs.maxpool((3, 8, 9), 14, *POOL),
    ),
    "truncate_exact 28 by 12": (
        (301,),
        28,
        lambda s, x: truncate_exact(s, x, 28, 12),
        costs.truncate_exact(301, 28, 12),
    ),
    "truncate_stochastic": (
        (301,),
        28,
        lambda s, x: truncate_stochastic(s, x, 28, 12),
        costs.truncate_stochastic(301, 28, 12),
    ),
    "extend 16 to 28": ((33,), 16, lambda s, x: extend(s, x, 16, 28), costs.extend(33, 16, 28)),
    "bit_to_ring 13": (
        (64,),
        1,
        lambda s, x: bit_to_ring(s, bit(x), 13),
        costs.bit_to_ring(64, 13),
    ),
    "reveal 20": ((8,), 20, lambda s, x: reveal_to_client(s, x, 20), costs.reveal_to_client(8, 20)),
}


def run(name: str, seed: int | None) -> Any:
    shape, bits, body, _ = CASES[name]
    rng = np.random.default_rng(len(name))
    x0, x1 = (ring.reduce(rng.integers(0, 2**64, shape, np.uint64), bits) for _ in range(2))

    def side(x: ring.U64) -> Callable[[Session], Any]:
        def labelled(session: Session) -> None:
            with session.channel.meter.labelled("case"):
                body(session, x)

        return labelled

    return run_two_party(side(x0), side(x1), seed)


@pytest.mark.parametrize("name", CASES)
def test_declared_cost_is_the_metered_one(name: str) -> None:
    cost = CASES[name][3]
    server, client = (channel.meter.by_label.get("case") for channel in run(name, None).channels)
    if not cost.flights:
        assert (server, client) == (None, None)
        return
    assert (client.sent, client.received) == (cost.up, cost.down) == (server.received, server.sent)
    # The set-up ends with a flight of the server's: a case that starts with
    # the server's goes on with it.
    assert server.flights == client.flights == cost.rounds - cost.flights.startswith("S")


def test_setup_cost() -> None:
    outcome = run_two_party(lambda s: None, lambda s: None)
    cost = costs.setup()
    for channel, up in zip(outcome.channels, ("received", "sent"), strict=True):
        meter = channel.meter.by_label["setup"]
        assert getattr(meter, up) == cost.up
        assert meter.sent + meter.received == cost.total
        assert meter.flights == cost.rounds


def test_costs_are_formulas() -> None:
    n = sympy.Symbol("n", positive=True, integer=True)
    symbolic = costs.relu(n, 16, 28)
    for size in (1, 127, 128, 100_000):
        number = costs.relu(size, 16, 28)
        assert symbolic.up.subs(n, size) == number.up
        assert symbolic.down.subs(n, size) == number.down
    assert symbolic.flights == number.flights


def test_adjacent_flights_merge() -> None:
    three = Cost.of(("C", 1), ("S", 2), ("C", 3))
    assert (three + Cost.of(("C", 4), ("S", 5))).flights == "CSCS"
    assert (three + Cost.of(("S", 0), ("C", 1))).flights == "CSC"
    assert (Cost() + Cost.of(("C", 1))).flights == "C"


def test_wire_bytes_match_the_baseline() -> None:
    """A change of what a protocol sends shows here; MOIETY_WRITE_BASELINES=1
    writes new ones, to be reviewed.
    """
    digests = {
        name: [channel.digest.hexdigest() for channel in run(name, 7).channels] for name in CASES
    }
    if os.environ.get("MOIETY_WRITE_BASELINES"):
        BASELINES.parent.mkdir(exist_ok=True)
        BASELINES.write_text(json.dumps(digests, indent=1) + "\n")
    assert digests == json.loads(BASELINES.read_text())
