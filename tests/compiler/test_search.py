"""The search for widths: its error model against the executor, its objective against real plans,
its outcome against exhaustive search.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from moiety.compiler.compile import CompileOptions, compile_graph
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.ops.pooling import MaxPool
from moiety.compiler.lowering.lower import lower
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.passes.manager import optimise
from moiety.compiler.planning.error import error_variances, predicted_error
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import Plan, make_plan
from moiety.compiler.planning.ranges import Ranges, calibrate
from moiety.compiler.planning.responses import measure_responses
from moiety.compiler.planning.search.descent import Search
from moiety.compiler.planning.search.objective import Objective
from moiety.compiler.planning.search.searched_plan import searched_plan
from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput, BadPlan, ContractViolation
from moiety.runtime.program import Gates, Rounding
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support import nets
from tests.support.graphs import GraphMaker
from tests.support.programs import uncommitted


def calibrated(graph: Graph, images: F32, probes: int = 8) -> tuple[Graph, Ranges]:
    graph = legalise(graph)
    ranges = calibrate(graph, images)
    return graph, replace(ranges, responses=measure_responses(graph, ranges, list(images), probes))


def network(folder: Path, family: str) -> tuple[Graph, Ranges, F32]:
    model = getattr(nets, family)()
    onnx.save(model, folder / "model.onnx")
    graph = optimise(import_onnx(folder / "model.onnx"))
    images = nets.random_images(graph.shapes[graph.inputs[0]][1:], 12, seed=3)
    return (*calibrated(graph, images, probes=4), images)


def small_graph() -> tuple[Graph, Ranges, F32]:
    """Two convolutions, a concatenation whose parts are compared, a third."""
    maker = GraphMaker(2, 8, 8, seed=6)
    a = maker.conv("x", 3)
    b = maker.conv(maker.affine_relu(a), 2)
    maker.conv(maker.affine_relu(maker.concat(a, b)), 2)
    images = maker.images(12)
    return (*calibrated(maker.graph(), images), images)


def random_state(search: Search, rng: np.random.Generator, least: int, most: int) -> list[int]:
    """Widths of 12 bits, the free ones drawn from `least` to `most`."""
    state = search.objective.variables.state(12, 12)
    for number in search.free:
        state[number] = int(rng.integers(least, most + 1))
    return state


def measured_error(plan: Plan, images: F32) -> float:
    """Root mean square over images and results, in the executor."""
    program, weights = lower(plan)
    executor = CleartextExecutor(program, weights, np.random.default_rng(1))
    (source,), (output,) = plan.graph.inputs, plan.graph.outputs
    expected = run_graph(plan.graph, {source: images.astype(np.float64)})[output]
    results = np.stack([executor.run(image)[output] for image in images])
    return float(np.sqrt(np.mean((results.reshape(expected.shape) - expected) ** 2)))


class TestErrorModel:
    @pytest.mark.parametrize("family", ["small_densenet", "small_resnet", "small_inception"])
    def test_predicted_is_measured(self, family: str, tmp_path: Path) -> None:
        """Over random widths; one draw of rounded weights is off by more than their mean."""
        graph, ranges, images = network(tmp_path, family)
        objective = Objective(make_plan(graph, ranges, PlanOptions()).formats)
        search, rng = Search(objective), np.random.default_rng(2)
        ratios = []
        for _ in range(10):
            state = random_state(search, rng, 9, 12)
            plan = make_plan(graph, ranges, PlanOptions(), search.widths(state))
            ratios.append(measured_error(plan, images) / predicted_error(plan))
        assert 0.75 < np.sqrt(np.mean(np.square(ratios))) < 1.25
        assert min(ratios) > 0.4
        assert max(ratios) < 2.5

    def test_every_kind_of_rounding_is_seen(self) -> None:
        graph, ranges, _ = small_graph()
        parts = error_variances(
            make_plan(graph, ranges, PlanOptions(activation_bits=10, weight_bits=10))
        )
        assert {name.partition(".")[0] for name, part in parts.items() if part > 0} == {
            "noise",
            "gate",
            "weight",
        }

    def test_more_bits_less_error(self) -> None:
        graph, ranges, _ = small_graph()
        errors = [
            predicted_error(make_plan(graph, ranges, PlanOptions(activation_bits=b, weight_bits=b)))
            for b in (8, 10, 12)
        ]
        assert errors[0] > 3 * errors[1] > 6 * errors[2]

    def test_ranges_keep_responses(self, tmp_path: Path) -> None:
        graph, ranges, _ = small_graph()
        ranges.save(tmp_path / "ranges")
        options = CompileOptions(PlanOptions(target_error=0.05))
        again = compile_graph(graph, tmp_path / "ranges", options)
        first = compile_graph(graph, ranges, options)
        assert uncommitted(again.program) == uncommitted(first.program)

    def test_ranges_without_responses(self) -> None:
        graph, ranges, _ = small_graph()
        with pytest.raises(BadInput, match="calibrate again"):
            searched_plan(graph, replace(ranges, responses=None), PlanOptions(target_error=0.1))


class TestObjective:
    @pytest.mark.parametrize("family", ["small_densenet", "small_resnet", "small_squeezenet"])
    def test_rings_and_errors_are_those_of_real_plans(self, family: str, tmp_path: Path) -> None:
        graph, ranges, _ = network(tmp_path, family)
        objective = Objective(make_plan(graph, ranges, PlanOptions()).formats)
        search, rng = Search(objective), np.random.default_rng(0)
        differing = layers = 0
        for _ in range(5):
            state = random_state(search, rng, 10, 13)
            plan = make_plan(graph, ranges, PlanOptions(), search.widths(state))
            differing += sum(
                objective.layers[v].widths(state)[1] != made.bits for v, made in plan.layers.items()
            )
            layers += len(plan.layers)
            error = np.sqrt(sum(term.evaluate(state)[1] for term in objective.terms))
            assert error == pytest.approx(predicted_error(plan), rel=0.3)
        assert differing <= 0.2 * layers

    def test_an_op_without_a_price_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Instead of being free of charge."""
        maker = GraphMaker(2, 8, 8)
        maker.conv(maker.pool("MaxPool", maker.conv("x", 2)), 2)
        graph, ranges = calibrated(maker.graph(), maker.images())
        formats = make_plan(graph, ranges, PlanOptions()).formats
        Objective(formats)
        monkeypatch.delattr(MaxPool, "comparisons")
        with pytest.raises(ContractViolation, match="op MaxPool has no price"):
            Objective(formats)


class TestSearch:
    @pytest.mark.parametrize(("rounding", "worst"), [("exact", 1.25), ("stochastic", 1.02)])
    def test_close_to_exhaustive(self, rounding: Rounding, worst: float) -> None:
        """With exact rounding prices have more steps, one at every digit of a truncation, and the
        Lagrangian misses the best of them at some target.
        """
        graph, ranges, _ = small_graph()
        options = PlanOptions(rounding=rounding)
        objective = Objective(make_plan(graph, ranges, options).formats)
        search = Search(objective, 8, 12)
        assert len(search.free) == 4
        states = []
        for widths in itertools.product(range(8, 13), repeat=len(search.free)):
            state = objective.variables.state(12, 12)
            for number, width in zip(search.free, widths, strict=True):
                state[number] = width
            price, error = map(
                sum, zip(*(term.evaluate(state) for term in objective.terms), strict=True)
            )
            states.append((price, error))
        errors, excess = sorted(error**0.5 for _, error in states), []
        for target in np.quantile(errors, [0.1, 0.3, 0.5, 0.7, 0.9]):
            best = min(price for price, error in states if error <= target**2)
            found = search.cheapest(float(target))
            price, error = map(
                sum, zip(*(term.evaluate(found) for term in objective.terms), strict=True)
            )
            assert error <= target**2 * (1 + 1e-12)
            excess.append(price / best)
        assert max(excess) <= worst
        assert np.median(excess) <= 1.01

    @pytest.mark.parametrize("rounding", ["exact", "stochastic"])
    def test_the_bound_holds_and_is_cheaper_than_uniform_widths(
        self, rounding: Rounding, tmp_path: Path
    ) -> None:
        graph, ranges, images = network(tmp_path, "small_densenet")
        uniform = make_plan(
            graph, ranges, PlanOptions(rounding=rounding, activation_bits=10, weight_bits=10)
        )
        bound = predicted_error(uniform)
        plan = searched_plan(graph, ranges, PlanOptions(rounding=rounding, target_error=bound))
        assert predicted_error(plan) <= bound
        assert measured_error(plan, images) < 1.5 * bound
        objective = Objective(uniform.formats)
        search = Search(objective)
        found = search.cheapest(bound)
        price = {
            name: sum(term.evaluate(state)[0] for term in objective.terms)
            for name, state in (("uniform", objective.variables.state(10, 10)), ("searched", found))
        }
        assert price["searched"] < price["uniform"]

    def test_narrow_parts_of_a_wide_concatenation(self) -> None:
        """A part is compared in its own ring; the results are those of the same
        plan with every ReLU by itself.
        """
        graph, ranges, images = small_graph()
        objective = Objective(make_plan(graph, ranges, PlanOptions(rounding="exact")).formats)
        search = Search(objective)
        state = objective.variables.state(12, 12)
        (narrow,) = (
            n
            for n in search.free
            if objective.variables.all[n].values == ("conv2",)
            and objective.variables.all[n].kind == "activation"
        )
        state[narrow] = 8
        results = []
        for share in (True, False):
            options = PlanOptions(rounding="exact", share_gates=share)
            program, weights = lower(make_plan(graph, ranges, options, search.widths(state)))
            gates = [s.compared for s in program.steps if isinstance(s, Gates)]
            assert gates == ([13, 9] if share else [])
            executor = CleartextExecutor(program, weights)
            results.append([executor.run(image) for image in images])
        for one, other in zip(*results, strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])

    def test_what_cannot_be_met(self) -> None:
        graph, ranges, _ = small_graph()
        with pytest.raises(BadPlan, match="cannot be met"):
            searched_plan(graph, ranges, PlanOptions(target_error=1e-7))

    def test_a_relative_bound(self) -> None:
        """A part of the results' span; out of reach, as good as the widths given."""
        graph, ranges, _ = small_graph()
        uniform = predicted_error(make_plan(graph, ranges, PlanOptions()))
        for part in (0.01, 1e-9):
            span = np.sqrt(
                np.mean((ranges.high[graph.outputs[0]] - ranges.low[graph.outputs[0]]) ** 2)
            )
            error = predicted_error(searched_plan(graph, ranges, PlanOptions(relative_error=part)))
            assert error <= max(part * span, uniform)
