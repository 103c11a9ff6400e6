"""Guard bits from the planner's side: every exact layer is truncated at once, and has those guard
bits that make the two together cheapest.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from moiety.compiler.compile import Compiled, CompileOptions, compile_graph
from moiety.compiler.planning import shifts
from moiety.compiler.planning.guards import (
    GUARDS,
    KEPT,
    UNAFFORDABLE,
    comparison_price,
    guarded_price,
    layer_price,
)
from moiety.protocols.network import LAN, NETWORKS
from moiety.runtime import program as ir
from tests.support.convolutions import Conv
from tests.support.graphs import PRECISE, GraphMaker
from tests.support.whole_run import check_whole_run

EXACT = replace(PRECISE, rounding="exact")


def branching() -> GraphMaker:
    """A layer that a sum, a concatenation and a ReLU read, and one that is a result itself."""
    maker = GraphMaker(2, 6, 6)
    first = maker.conv("x", 3)
    total = maker.add("Add", maker.add("Relu", first), maker.conv("x", 3))
    maker.conv(maker.add("Concat", first, total, axis=1), 2)
    return maker


def compiled(rounding: ir.Rounding = "exact") -> tuple[Compiled, GraphMaker]:
    maker = branching()
    options = CompileOptions(replace(EXACT, rounding=rounding))
    return compile_graph(maker.graph(), maker.images(), options), maker


def check_truncated_at_once(program: ir.Program) -> None:
    layers = [i for i, step in enumerate(program.steps) if isinstance(step, ir.Linear)]
    assert len(layers) == 3
    for index in layers:
        layer, following = program.steps[index], program.steps[index + 1]
        assert isinstance(layer, ir.Linear)
        assert isinstance(following, ir.Truncate)
        assert following.inputs == (index,)
        assert following.shift >= layer.guard >= 1
        assert sum(index in step.inputs for step in program.steps) == 1


def test_every_exact_layer_is_truncated_at_once() -> None:
    exact, maker = compiled()
    check_truncated_at_once(exact.program)
    check_whole_run(exact.program, exact.weights, maker.images()[0])


def test_so_is_one_that_shifts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before an output."""
    by_peak = shifts.by_peak

    def unshifted(log_peak: float, weight_bits: int, ring: int, averaged: int = 0) -> shifts.Shift:
        return by_peak(log_peak, weight_bits, ring, averaged)._replace(shift=0)

    monkeypatch.setattr(shifts, "by_peak", unshifted)
    exact, maker = compiled()
    check_truncated_at_once(exact.program)
    truncations = [step for step in exact.program.steps if isinstance(step, ir.Truncate)]
    layers = [step for step in exact.program.steps if isinstance(step, ir.Linear)]
    assert [step.shift for step in truncations] == [layer.guard for layer in layers]
    check_whole_run(exact.program, exact.weights, maker.images()[0])


def test_stochastic_layers_leave_behind_what_the_truncation_would_drop() -> None:
    """All but a few bits."""
    steps = compiled("stochastic")[0].program.steps
    for layer, following in itertools.pairwise(steps):
        if isinstance(layer, ir.Linear):
            assert layer.guard < 0
            assert isinstance(following, ir.Truncate)
            assert following.shift == KEPT


@pytest.mark.parametrize("shift", [0, 3, 11])
@pytest.mark.parametrize("conv", [Conv(64, (28, 28), 32), Conv(16, (7, 7), 16, (3, 3))])
def test_guard_bits_are_the_cheapest(conv: Conv, shift: int) -> None:
    prices = {
        guard: layer_price(conv.geometry, 24, 9, guard)
        + comparison_price(conv.geometry.outputs, shift + guard, 1, LAN)
        for guard in GUARDS
    }
    found = guarded_price(conv.geometry, 24, 9, shift, "exact", LAN)
    assert found.ns == min(prices.values()) == prices[found.guard]
    assert found.guard == min(guard for guard in GUARDS if prices[guard] == found.ns)
    left = min(0, KEPT - shift)
    without = guarded_price(conv.geometry, 24, 9, shift, "stochastic", LAN)
    assert (without.guard, without.ns) == (left, layer_price(conv.geometry, 24, 9, left))


def test_a_layer_that_nothing_holds_is_unaffordable() -> None:
    found = guarded_price(Conv(64, (8, 8), 8).geometry, 52, 20, 4, "exact", NETWORKS["wan"])
    assert found.ns >= UNAFFORDABLE


def test_lowering_asks_for_what_the_search_prices() -> None:
    program = compiled()[0].program
    for index, layer in enumerate(program.steps):
        if isinstance(layer, ir.Linear):
            spec = layer.spec(program.first_operand(layer).shape)
            truncation = program.steps[index + 1]
            assert isinstance(truncation, ir.Truncate)
            shift = truncation.shift - layer.guard
            found = guarded_price(spec.geometry, spec.bits, spec.weight_bits, shift, "exact", LAN)
            assert layer.guard == found.guard
