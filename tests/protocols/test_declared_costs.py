"""Declared costs equal metered traffic, byte for byte and flight for flight; every protocol
declares one and has a case; and the wire bytes are pinned by committed digests.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sympy

from moiety import protocols
from moiety.protocols.compare.digits import plan_digits
from moiety.protocols.compare.extend import extend_cost, extend_with_headroom_cost
from moiety.protocols.compare.millionaires import less_than_cost
from moiety.protocols.compare.relu import relu_cost
from moiety.protocols.compare.truncate import truncate_exact_cost
from moiety.protocols.cost import Cost, declared_costs
from moiety.protocols.setup import open_session_cost
from tests.protocols.cases import CASES
from tests.protocols.conformance import Pinned, check_traffic, run, uniform
from tests.support.two_party import run_two_party

BASELINES = Path(__file__).parent / "baselines"
PINNED: dict[str, Pinned] = {
    name: case.pinned for name, case in CASES.items() if case.pinned is not None
}


def modules() -> list[ModuleType]:
    """All of the package but the kernels, which know no protocol."""
    found = pkgutil.walk_packages(protocols.__path__, f"{protocols.__name__}.")
    names = (module.name for module in found)
    return [importlib.import_module(name) for name in names if ".kernels" not in name]


def interactive() -> list[Callable[..., Any]]:
    """The public functions that run between the parties: their first argument is a Session."""
    found: list[Callable[..., Any]] = []
    for module in modules():
        for name, function in inspect.getmembers(module, inspect.isfunction):
            first = next(iter(inspect.get_annotations(function).values()), None)
            if function.__module__ == module.__name__ and first == "Session" and name[0] != "_":
                found.append(function)
    return found


def qualified(function: Callable[..., Any]) -> str:
    return f"{function.__module__.removeprefix('moiety.protocols.')}.{function.__qualname__}"


@pytest.mark.parametrize("function", interactive(), ids=qualified)
def test_every_protocol_declares_its_cost(function: Callable[..., Any]) -> None:
    assert function in declared_costs()


@pytest.mark.parametrize("protocol", declared_costs(), ids=qualified)
def test_every_protocol_has_a_case(protocol: Callable[..., Any]) -> None:
    assert any(protocol in case.protocols for case in CASES.values())


@pytest.mark.parametrize("name", PINNED)
def test_declared_cost_is_the_metered_one(name: str) -> None:
    """On uniform ring elements, whatever they mean; edge values are in test_protocols."""
    case = CASES[name]
    check_traffic(case, run(case, uniform(PINNED[name], name)))


def test_setup_is_metered_under_its_own_label() -> None:
    outcome = run_two_party(lambda s: None, lambda s: None)
    cost = open_session_cost()
    for channel, up in zip(outcome.channels, ("received", "sent"), strict=True):
        meter = channel.meter.by_label["setup"]
        assert getattr(meter, up) == cost.up
        assert meter.sent + meter.received == cost.total
        assert meter.flights == len(cost.flights)


def test_costs_are_formulas() -> None:
    n = sympy.Symbol("n", positive=True, integer=True)
    plan = plan_digits(15)
    symbolic = relu_cost(n, 16, 28, plan)
    for size in (1, 127, 128, 100_000):
        number = relu_cost(size, 16, 28, plan)
        assert symbolic.up.subs(n, size) == number.up
        assert symbolic.down.subs(n, size) == number.down
    assert symbolic.flights == number.flights


def test_adjacent_flights_merge() -> None:
    three = Cost.of(("C", 1), ("S", 2), ("C", 3))
    assert (three + Cost.of(("C", 4), ("S", 5))).flights == "CSCS"
    assert (three + Cost.of(("S", 0), ("C", 1))).flights == "CSC"
    assert (Cost() + Cost.of(("C", 1))).flights == "C"


def test_conversions_and_extensions_add_no_flight() -> None:
    """Before what the client sends next, an upload, none but those of their comparisons."""
    upload = Cost.of(("C", 1))

    def flights(cost: Cost) -> str:
        return (cost + upload).flights

    assert flights(less_than_cost(300, 12)) == "CSC"
    assert flights(truncate_exact_cost(300, 28, 12)) == "CSCSC"
    assert flights(extend_cost(300, 12, 28)) == "CSCSC"
    assert flights(extend_with_headroom_cost(300, 12, 28)) == "SC"
    assert flights(relu_cost(300, 13, 13)) == flights(relu_cost(300, 13, 24)) == "CSCSCSC"


@pytest.mark.parametrize("file", sorted({pinned.file for pinned in PINNED.values()}))
def test_wire_bytes_match_the_baseline(file: str) -> None:
    """A change of what a protocol sends shows here; MOIETY_WRITE_BASELINES=1
    writes new ones, to be reviewed.
    """
    digests = {}
    for name, pinned in PINNED.items():
        if pinned.file == file:
            channels = run(CASES[name], uniform(pinned, name), seed=7).outcome.channels
            digests[name] = [channel.digest.hexdigest() for channel in channels]
    path = BASELINES / f"{file}.json"
    if os.environ.get("MOIETY_WRITE_BASELINES"):
        BASELINES.mkdir(exist_ok=True)
        path.write_text(json.dumps(digests, indent=1) + "\n")
    assert digests == json.loads(path.read_text())
