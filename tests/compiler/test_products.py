"""Products of two values: legalisation, units, shifts and rings; the executor against the float
meaning; the error model, and the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.compiler.compile import CompileOptions, compile_graph
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import OPS
from moiety.compiler.ir.scales import propagate
from moiety.compiler.lowering.lower import lower
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.planning.error import error_variances, predicted_error
from moiety.compiler.planning.margins import with_margins
from moiety.compiler.planning.options import USUAL_OVERFLOW, PlanOptions
from moiety.compiler.planning.plan import Plan, make_plan
from moiety.compiler.planning.product_price import product_price, square_price
from moiety.compiler.planning.ranges import Ranges, calibrate
from moiety.compiler.planning.responses import measure_responses
from moiety.compiler.planning.search.descent import Search
from moiety.compiler.planning.search.objective import Objective
from moiety.compiler.planning.search.searched_plan import searched_plan
from moiety.compiler.planning.unit_choice import Widths
from moiety.protocols.arrays import I64
from moiety.protocols.compare.product import product_cost, square_cost
from moiety.protocols.cost import Send
from moiety.protocols.errors import BadPlan, ContractViolation
from moiety.protocols.network import Network
from moiety.runtime import program as ir
from moiety.runtime.program import Rounding
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.graphs import PRECISE, GraphMaker, compile_and_compare
from tests.support.whole_run import check_whole_run

STYLES = {
    "precise": (PRECISE, 2e-3),
    "exact": (PlanOptions(), 0.05),
    "stochastic": (PlanOptions(rounding="stochastic"), 0.05),
    "uniform": (PlanOptions(bits=42, scale=14), 0.02),
    "minimal": (PlanOptions(disclose="minimal"), 0.05),
}


def channel_gate(seed: int = 0) -> GraphMaker:
    """Squeeze and excite, with a ReLU as the gate, in a residual block."""
    maker = GraphMaker(3, 8, 8, seed=seed)
    x = maker.add("Relu", maker.conv("x", 6))
    gate = maker.add("Relu", maker.conv(maker.pool("AvgPool", x, 8, 8), 3, 1))
    gate = maker.add("Relu", maker.conv(gate, 6, 1))
    total = maker.add("Add", maker.add("Mul", x, gate), maker.conv("x", 6))
    maker.conv(maker.add("Relu", total), 2)
    return maker


def pixel_gate(seed: int = 0) -> GraphMaker:
    """One gate for all channels of a pixel."""
    maker = GraphMaker(3, 8, 8, seed=seed)
    x = maker.conv("x", 4)
    gate = maker.add("Relu", maker.conv(maker.add("Relu", x), 1, 1))
    maker.conv(maker.add("Mul", x, gate), 2)
    return maker


def square(seed: int = 0) -> GraphMaker:
    """Of a value that has two signs and no ReLU; pooled, and compared."""
    maker = GraphMaker(2, 6, 6, seed=seed)
    x = maker.conv("x", 4)
    z = maker.add("Mul", x, x)
    x = maker.conv(maker.add("Relu", maker.pool("MaxPool", z)), 3, 1)
    maker.conv(maker.add("Relu", x), 2)
    return maker


def both_wide(seed: int = 0) -> GraphMaker:
    """Of one shape, in a ring with others, and the cube of the image."""
    maker = GraphMaker(2, 6, 6, seed=seed)
    a, b = maker.conv("x", 3), maker.add("Relu", maker.conv("x", 3))
    cube = maker.add("Mul", maker.add("Mul", "x", "x"), "x")
    joined = maker.concat(maker.add("Mul", a, b), a, cube)
    x = maker.conv(maker.add("Relu", joined), 2)
    maker.conv(maker.add("Relu", x), 2)
    return maker


MAKERS = {each.__name__: each for each in (channel_gate, pixel_gate, square, both_wide)}


def calibrated(maker: GraphMaker, images: int = 16) -> tuple[Graph, Ranges]:
    graph, calibration = legalise(maker.graph()), maker.images(images)
    ranges = calibrate(graph, calibration)
    return graph, replace(ranges, responses=measure_responses(graph, ranges, list(calibration), 4))


def measured_error(plan: Plan, seed: int = 7) -> float:
    """Root mean square over images and results."""
    program, weights = lower(plan)
    images = np.random.default_rng(seed).normal(size=(8, *plan.graph.shapes["x"][1:]))
    executor = CleartextExecutor(program, weights, np.random.default_rng(1))
    (output,) = plan.graph.outputs
    expected = run_graph(plan.graph, {"x": images})[output]
    found = np.stack([executor.run(image)[output] for image in images])
    return float(np.sqrt(np.mean((found.reshape(expected.shape) - expected) ** 2)))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", MAKERS)
def test_the_program_is_the_float_graph(name: str, style: str) -> None:
    options, tolerance = STYLES[style]
    compile_and_compare(MAKERS[name](), options=options, tolerance=tolerance)


@given(st.data())
def test_the_adjoint_is_that_of_a_bilinear_map(data: st.DataObject) -> None:
    """`<grad, x' * y + x * y'> = <back_x, x'> + <back_y, y'>`."""
    shape = data.draw(st.tuples(*[st.integers(1, 3)] * 3))
    broadcast = tuple(data.draw(st.sampled_from((1, size))) for size in shape)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, dx, grad = rng.normal(size=(3, 1, *shape))
    y, dy = rng.normal(size=(2, 1, *broadcast))
    node = Node("Mul", "z", ("x", "y"), "z")
    back_x, back_y = OPS["Mul"].adjoint(node, [x, y], x * y, grad)
    assert (back_x.shape, back_y.shape) == (x.shape, y.shape)
    moved = np.sum(grad * (dx * y + x * dy))
    assert moved == pytest.approx(np.sum(back_x * dx) + np.sum(back_y * dy))


class TestLegalise:
    def test_a_product_in_a_residual_sum_gets_a_layer(self) -> None:
        graph = legalise(channel_gate().graph())
        (product,) = graph.nodes_of("Mul")
        (layer,) = graph.consumers(product.output)
        assert layer.op == "Scale"
        assert [node.op for node in graph.consumers(layer.output)] == ["Add"]

    @pytest.mark.parametrize("maker", [pixel_gate, square, both_wide])
    def test_where_nothing_is_tied_there_is_none(self, maker: Callable[[], GraphMaker]) -> None:
        assert not list(legalise(maker().graph()).nodes_of("Scale"))

    def test_channels_that_a_reshape_mixes_are_tied(self) -> None:
        maker = GraphMaker(2, 4, 4)
        x = maker.conv("x", 4)
        mixed = maker.add("Reshape", maker.add("Mul", x, x), shape=(1, 2, 8, 4))
        maker.conv(mixed, 2)
        with pytest.raises(ContractViolation, match="legalise first"):
            make_plan(maker.graph(), calibrate(maker.graph(), maker.images()), PlanOptions())
        assert len(list(legalise(maker.graph()).nodes_of("Scale"))) == 1
        compile_and_compare(maker)

    def test_an_average_is_rescaled_before_it_is_multiplied(self) -> None:
        maker = GraphMaker(2, 4, 4)
        x = maker.conv("x", 3)
        z = maker.add("Mul", x, maker.pool("AvgPool", x, 4, 4))
        maker.conv(z, 2)
        with pytest.raises(ContractViolation, match="multiplies a value that has a multiplier"):
            propagate(maker.graph())
        compile_and_compare(maker)

    def test_an_output_that_is_a_product(self) -> None:
        maker = GraphMaker(2, 4, 4)
        x = maker.conv("x", 3)
        compile_and_compare(maker, maker.add("Mul", x, x))


class TestUnits:
    @pytest.mark.parametrize("options", [PlanOptions(), PlanOptions(disclose="minimal")])
    @pytest.mark.parametrize("name", MAKERS)
    def test_they_follow_from_the_operands(self, name: str, options: PlanOptions) -> None:
        """To the last bit, after all refinements; and the calibrated range fits."""
        graph, ranges = calibrated(MAKERS[name]())
        formats = make_plan(graph, ranges, options).formats
        for node in formats.graph.nodes_of("Mul"):
            x, y, z = (formats.unit(value) for value in (*node.inputs, node.output))
            np.testing.assert_array_equal(z, x * y * 2.0 ** formats.shift(node.output))
            reach = np.maximum(-ranges.low[node.output], ranges.high[node.output])
            assert (reach <= z * 2.0 ** (options.activation_bits - 1) * (1 + 1e-6)).all()

    def test_the_shift_is_the_least_that_fits(self) -> None:
        graph, ranges = calibrated(square())
        formats = make_plan(graph, ranges, PlanOptions()).formats
        (node,) = formats.graph.nodes_of("Mul")
        reach, room = ranges.high[node.output], 2.0  # it is pooled
        steps = reach * room / formats.unit(node.output)
        assert 2.0 ** (12 - 2) < steps.max() <= 2.0 ** (12 - 1) * (1 + 1e-6)

    def test_with_minimal_disclosure_it_is_known_before_any_weight(self) -> None:
        options = PlanOptions(disclose="minimal", input_reach=4.0)
        shifts = {
            shift
            for seed in range(3)
            for shift in make_plan(
                *calibrated(pixel_gate(seed)), options
            ).formats.units.shifts.values()
        }
        assert shifts == {options.activation_bits - 2}

    def test_the_margins_of_the_operands_add(self) -> None:
        """Pictures of nearly twice the calibrated range make products of four times theirs."""
        maker = GraphMaker(2, 6, 6)
        x, y = maker.conv("x", 3, bias=0), maker.conv("x", 3, bias=0)
        z = maker.add("Mul", maker.add("Relu", x), maker.add("Relu", y))
        maker.conv(z, 2)
        images = maker.images(12)  # few enough to calibrate on all of them
        compiled = compile_graph(maker.graph(), images, CompileOptions(PlanOptions()))
        assert [row.bits for row in compiled.report.tensors if row.value == z] == [12 + 2]
        executor = CleartextExecutor(compiled.program, compiled.weights)
        for image in images:
            executor.run(image * 1.99)
        assert not executor.overflows

    def test_a_ring_that_there_is_not(self) -> None:
        graph, ranges = calibrated(square())
        with pytest.raises(
            BadPlan, match=r"Mul 'mul1': the product of its operands takes 6\d bits"
        ):
            make_plan(graph, ranges, PlanOptions(activation_bits=32))

    def test_a_narrow_operand_of_mixed_channels_has_its_headroom(self) -> None:
        """Of all channels that a Reshape puts into one, the loud one last."""
        maker = GraphMaker(2, 4, 4)
        x = maker.conv("x", 2)
        loud = maker.add("Scale", x, consts={"scale": np.array([1.0, 9.0]), "shift": np.zeros(2)})
        mixed = maker.add("Reshape", loud, shape=(1, 1, 8, 4))
        maker.conv(maker.add("Mul", mixed, mixed), 2)
        compiled, executor = compile_and_compare(maker, options=PlanOptions(), tolerance=0.05)
        (square_at,) = (
            i for i, step in enumerate(compiled.program.steps) if isinstance(step, ir.Square)
        )
        for image in GraphMaker(2, 4, 4, seed=1).images(64):
            executor.run(image)
        assert square_at not in executor.overflows

    def test_a_product_that_never_becomes_large(self) -> None:
        """One factor is nearly 0 where the other is not: the product's ring holds both none the
        less.
        """
        maker = GraphMaker(2, 6, 6)
        x = maker.conv("x", 3)
        minus = maker.add("Scale", x, consts={"scale": -np.ones(3), "shift": np.full(3, 0.02)})
        z = maker.add("Mul", maker.add("Relu", x), maker.add("Relu", minus))
        maker.conv(maker.add("Relu", z), 2)
        compile_and_compare(maker, tolerance=0.005)
        graph, ranges = calibrated(maker)
        program, weights = lower(make_plan(graph, ranges, PlanOptions(), Widths({z: 5})))
        (at,) = (i for i, step in enumerate(program.steps) if isinstance(step, ir.Product))
        reduced = program.steps[at + 1]
        assert isinstance(reduced, ir.Reduce)
        assert reduced.bits < max(each.bits for each in program.operands(program.steps[at]))
        executor = CleartextExecutor(program, weights)
        for image in maker.images():
            executor.run(image)
        assert not executor.overflows

    def test_a_product_that_was_nothing_says_nothing(self) -> None:
        """Its ring is then that of operands which fill their bits."""
        maker = GraphMaker(2, 6, 6)
        x = maker.add("Relu", maker.conv("x", 3))
        off = maker.add("Scale", x, consts={"scale": np.ones(3), "shift": np.full(3, -1e3)})
        maker.conv(maker.add("Mul", x, maker.add("Relu", off)), 2)
        compiled, _ = compile_and_compare(maker, options=PlanOptions(), tolerance=0.05)
        assert [row.shift for row in compiled.report.products] == [10]


class TestLowering:
    def test_exact_rounding_is_to_nearest(self) -> None:
        graph, ranges = calibrated(pixel_gate())
        program, weights = lower(make_plan(graph, ranges, PlanOptions()))
        (at,) = (i for i, step in enumerate(program.steps) if isinstance(step, ir.Product))
        _, half, truncate = program.steps[at : at + 3]
        assert isinstance(half, ir.AddConst)
        assert isinstance(truncate, ir.Truncate)
        seen: dict[int, I64] = {}
        executor = CleartextExecutor(program, weights)
        image = np.random.default_rng(3).normal(size=(3, 8, 8))
        executor.run_integers(image, lambda index, values: seen.update({index: values}))
        exact = seen[at] / 2.0**truncate.shift
        np.testing.assert_array_equal(seen[at + 2], np.floor(exact + 0.5))

    def test_the_operand_that_is_free_to_be_wide_is_wide(self) -> None:
        """A ReLU writes the product's ring; the other operand stays as narrow as it is."""
        graph, ranges = calibrated(both_wide())
        program, _ = lower(make_plan(graph, ranges, PlanOptions()))
        products = [step for step in program.steps if isinstance(step, ir.Product)]
        (of_convs,) = (step for step in products if step.shape[0] == 3)
        wide, narrow = program.operands(of_convs)
        assert isinstance(wide, ir.Relu | ir.Reduce)
        assert wide.bits == of_convs.bits > narrow.bits
        assert not [step for step in program.steps if isinstance(step, ir.Extend)][2:]

    def test_what_a_layer_reads_is_made_in_its_ring(self) -> None:
        """Through a product, too, as long as there are rings; then one result is extended."""
        maker = GraphMaker(2, 6, 6)
        x, gate = (maker.add("Relu", maker.conv("x", 3)) for _ in range(2))
        for _ in range(6):
            x = maker.add("Mul", x, gate)
        maker.conv(x, 2)
        compiled, _ = compile_and_compare(maker, options=PlanOptions(), tolerance=0.1)
        rings = [row.ring_bits for row in compiled.report.products]
        narrowest = rings.index(min(rings))
        assert rings[:narrowest] == sorted(rings[:narrowest], reverse=True)
        assert rings[narrowest + 1 :] == sorted(rings[narrowest + 1 :], reverse=True)
        extended = [step for step in compiled.program.steps if isinstance(step, ir.Extend)]
        assert [step.name for step in extended] == [compiled.report.products[narrowest].value]

    def test_what_is_disclosed(self) -> None:
        graph, ranges = calibrated(pixel_gate())

        def said(options: PlanOptions) -> list[str]:
            program, _ = lower(make_plan(graph, ranges, options))
            return [each for each in program.disclosed if "products of two values" in each]

        assert len(said(PlanOptions())) == 1
        assert not said(PlanOptions(disclose="minimal"))
        assert not said(PlanOptions(bits=42, scale=12))


class TestErrorModelAndSearch:
    @pytest.mark.parametrize("rounding", ["exact", "stochastic"])
    def test_predicted_is_measured(self, rounding: Rounding) -> None:
        """Over random widths of all kinds of products; rings and shifts as the search thinks."""
        ratios = []
        for name, maker in MAKERS.items():
            graph, ranges = calibrated(maker())
            options = PlanOptions(rounding=rounding)
            objective = Objective(make_plan(graph, ranges, options).formats)
            search, rng = Search(objective), np.random.default_rng(2)
            for _ in range(3):
                state = objective.variables.state(12, 12)
                for number in search.free:
                    state[number] = int(rng.integers(9, 13))
                plan = make_plan(graph, ranges, options, search.widths(state))
                for value, factors in objective.factors.items():
                    made = plan.products[value].shift, plan.products[value].bits
                    assert factors.widths(state) == made, name
                error = math.sqrt(sum(term.evaluate(state)[1] for term in objective.terms))
                assert error == pytest.approx(predicted_error(plan), rel=0.25)
                ratios.append(measured_error(plan) / predicted_error(plan))
        assert 0.75 < np.sqrt(np.mean(np.square(ratios))) < 1.25
        assert max(ratios) < 2.5

    @pytest.mark.parametrize("name", MAKERS)
    def test_margins_from_images(self, name: str) -> None:
        """The product's own, not both operands': nothing overflows, and the search knows."""
        graph, ranges = calibrated(MAKERS[name]())
        options = PlanOptions(overflow_probability=USUAL_OVERFLOW)
        options = with_margins(graph, ranges, options)
        objective = Objective(make_plan(graph, ranges, options).formats)
        search = Search(objective)
        for width in (9, 11):
            state = objective.variables.state(width, 12)
            plan = make_plan(graph, ranges, options, search.widths(state))
            for value, factors in objective.factors.items():
                made = plan.products[value]
                assert factors.widths(state) == (made.shift, made.bits)
                assert plan.formats.bits(value) == width + options.margin_bits
            assert measured_error(plan) < 2.5 * predicted_error(plan)

    def test_the_truncation_is_a_part_of_the_error(self) -> None:
        graph, ranges = calibrated(square())
        parts = error_variances(make_plan(graph, ranges, PlanOptions(activation_bits=10)))
        assert parts["noise.mul1"] > 0

    @pytest.mark.parametrize("rounding", ["exact", "stochastic"])
    def test_the_bound_holds(self, rounding: Rounding) -> None:
        graph, ranges = calibrated(pixel_gate())
        options = PlanOptions(rounding=rounding, activation_bits=10)
        bound = predicted_error(make_plan(graph, ranges, options))
        plan = searched_plan(graph, ranges, replace(options, target_error=bound))
        assert predicted_error(plan) <= bound
        assert measured_error(plan) < 1.5 * bound

    def test_parts_of_one_operand_have_one_width(self) -> None:
        """There is one shift for all channels: what one part has more, it would lose."""
        maker = GraphMaker(2, 6, 6)
        a, b = maker.conv("x", 2), maker.conv("x", 3)
        maker.conv(maker.add("Mul", maker.concat(a, b), maker.conv("x", 1)), 2)
        graph, ranges = calibrated(maker)
        variables = Objective(make_plan(graph, ranges, PlanOptions()).formats).variables
        assert (a, b) in [variable.values for variable in variables.all]

    def test_prices_are_those_of_what_is_sent(self) -> None:
        """What a slower line adds is the bits that the protocols declare, correlations aside."""
        slow, slower = (Network(0.0, rate, rate) for rate in (2e6, 1e6))
        n, group, bits, narrow = 500, 64, 25, 13
        for price, declared in (
            (
                partial(product_price, n * group, n, bits, narrow),
                product_cost(n, group, bits, narrow),
            ),
            (partial(square_price, n * group, bits, narrow), square_cost(n * group, narrow, bits)),
        ):
            per_bit = (price(slower) - price(slow)) / (slower.bit - slow.bit) * 1000
            sent = 8 * sum(event.nbytes for event in declared.events if isinstance(event, Send))
            assert per_bit == pytest.approx(sent, rel=0.1)


@pytest.mark.parametrize("maker", [square, both_wide])
def test_two_parties_compute_the_oracles_bits(maker: Callable[[], GraphMaker]) -> None:
    graph, images = maker().graph(), maker().images()
    compiled = compile_graph(graph, images, CompileOptions(PlanOptions()))
    check_whole_run(compiled.program, compiled.weights, images[0])
