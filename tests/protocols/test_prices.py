"""The table of prices: the format's column never changes, and everything that is priced stands in
the table, and nothing else does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

import pytest

from moiety.protocols import prices
from moiety.protocols.compare import digits
from moiety.protocols.compare.digits import DigitPlan, plan_digits
from moiety.protocols.compare.extend import extend_cost
from moiety.protocols.compare.millionaires import less_than_cost
from moiety.protocols.compare.relu import relu_cost
from moiety.protocols.cost import Cost
from moiety.protocols.linear import planner
from moiety.protocols.network import LOOPBACK, NETWORKS, Network
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.ot.lookups import Lookup, lookups_cost
from moiety.runtime.cost.clock import predict
from moiety.runtime.cost.machine import REFERENCE_MACHINE, Machine
from moiety.runtime.cost.prepared import prepared_run, split
from moiety.runtime.cost.traffic import image_cost
from tests.support.runnable import small

FORMAT_2_DIGEST = "a49ffc42e2f4368ff02ba40e3d078e3dc3b72c58bdeee3555a645691595ee2c6"
PREPARED_1_DIGEST = "c9019a130315dfadd2c9710fcfcdfb223db586864317a86aa0527a5840fc1336"


class Noted(dict[str, float]):
    """A column that remembers which of its figures were asked for."""

    def __init__(self, column: Mapping[str, float]) -> None:
        super().__init__(column)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> float:
        self.used.add(name)
        return super().__getitem__(name)


def test_the_formats_column_is_as_it_was() -> None:
    """Another value changes how two parties cut comparisons into digits: a new column, not a new
    digest, is what it takes.
    """
    column = json.dumps([sorted(prices.FORMAT_2.items()), sorted(prices.SILENT_WIRE_2.items())])
    assert hashlib.sha256(column.encode()).hexdigest() == FORMAT_2_DIGEST


def test_the_column_of_prepared_runs_is_as_it_was() -> None:
    """Likewise, with the share of what is made beforehand and the least price of a bit."""
    numbers = [sorted(prices.PREPARED_1.items()), prices.OFFLINE_1, prices.BIT_1]
    assert hashlib.sha256(json.dumps(numbers).encode()).hexdigest() == PREPARED_1_DIGEST


def test_every_row_has_a_price_and_says_what_it_is() -> None:
    for name, figure in prices.FIGURES.items():
        assert name == figure.name
        assert figure.unit
        assert name in prices.FORMAT_2 or name in prices.REFERENCE
        assert set(figure.parts) <= set(prices.REFERENCE)


def test_both_columns_are_about_the_same_work() -> None:
    """Where a planned figure is made of measured ones, the sums are not far apart."""
    for name in set(prices.FORMAT_2) - {"wire_byte"}:
        ratio = 1000 * prices.on_reference(name) / prices.FORMAT_2[name]
        assert 0.7 < ratio < 2.3, name


def test_what_a_prepared_run_takes_in_the_place_of_a_figure_stands_in_the_table() -> None:
    """And is less, but for the answers of what is made beforehand."""
    replaced = [figure for figure in prices.FIGURES.values() if figure.online]
    assert replaced
    for figure in replaced:
        assert prices.REFERENCE[figure.online] < prices.REFERENCE[figure.name], figure.name
        assert prices.REFERENCE[figure.offline] <= 1.5 * prices.REFERENCE[figure.name], figure.name
    assert all(bool(figure.offline) == bool(figure.online) for figure in prices.FIGURES.values())


def test_planners_ask_for_every_figure_of_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    column, prepared = Noted(prices.FORMAT_2), Noted(prices.PREPARED_1)
    monkeypatch.setattr(digits, "FORMAT_2", column)
    monkeypatch.setattr(digits, "PREPARED_1", prepared)
    plan_digits.cache_clear()
    for network in (*NETWORKS.values(), Network(0, 50e6, 50e6), LOOPBACK, Network(0, 100e9, 100e9)):
        for count in (1, 25):
            plan_digits(9, count, 1000, network)
    for count in (1, 25):
        plan_digits(9, count, 1000, LOOPBACK.ahead)
    plan_digits.cache_clear()
    assert prepared.used == set(prices.PREPARED_1)
    layers = {
        "wire_byte": planner.BYTE,
        "product": planner.PRODUCT,
        "upload_residue": planner.UPLOAD_RESIDUE,
        "answer_residue": planner.ANSWER_RESIDUE,
    }
    assert column.used | set(layers) == set(prices.FORMAT_2)
    assert all(1000 * price == prices.FORMAT_2[name] for name, price in layers.items())


def every_kind_of_work() -> Iterator[Cost]:
    """Declared costs with all widths of digits and joins, one threshold and several."""
    for rounding in ("exact", "stochastic"):
        yield image_cost(small(rounding)[0])
        yield prepared_run(small(rounding)[0]).online
    for k in prices.WIDTHS:
        for count in (1, 2):
            yield less_than_cost(100, 2 * k, count, DigitPlan((k, k), ((2,),)))
    yield less_than_cost(100, 6, 1, DigitPlan((2, 2, 2), ((3,),)))
    yield less_than_cost(100, 8, 1, DigitPlan((2, 2, 2, 2), ((2, 2), (2,))))
    yield relu_cost(100, 13, 26)
    yield extend_cost(100, 12, 20)
    for k in prices.WIDTHS:
        yield lookups_cost("S", [Lookup.xor(100, k, 2)])


def test_declared_costs_ask_for_every_figure_of_a_machine() -> None:
    column = Noted(REFERENCE_MACHINE.figures)
    machine = Machine(description={}, figures=column)
    for silent_from in (1, NEVER_SILENT):
        costs = list(every_kind_of_work())
        costs += [split(cost).total for cost in costs]
        predict(costs, machine, NETWORKS["lan"], silent_from)
    assert column.used == set(prices.REFERENCE)
