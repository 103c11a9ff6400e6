"""The error that a plan promises: measured on images that the calibration did not see, corrected
where the prediction is too low, refused where no widths reach it; and layers behind average pools,
whose weights were starved by wide activations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moiety.compiler.compile import (
    Compiled,
    CompileOptions,
    calibration_ranges,
    compile_graph,
)
from moiety.compiler.compile_report import plan_warnings, promise_rows
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.ir.graph import Graph
from moiety.compiler.measure import Measurement
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.planning.error import predicted_error
from moiety.compiler.planning.options import USUAL_ERROR, PlanOptions
from moiety.compiler.planning.plan import Plan
from moiety.compiler.planning.ranges import calibrate
from moiety.compiler.planning.report import Measured
from moiety.compiler.planning.search.searched_plan import searched_plan
from moiety.compiler.planning.starved import averages_rescaled, fully_relieved, relieved
from moiety.compiler.samples import ENOUGH, HELD_OUT, HELD_OUT_OF, Samples
from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput, BadPlan
from moiety.runtime.program import Rounding
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.compiler.test_lower import random_chain
from tests.compiler.test_pool_bias import smooth_images
from tests.compiler.test_search import calibrated, small_graph
from tests.support.graphs import GraphMaker

DEFAULT = PlanOptions(relative_error=USUAL_ERROR)


def pooled(size: int, pools: int, gain: float = 1.0) -> Graph:
    """Convolutions with max-pools between them, the mean over all places, and a layer whose results
    are `gain` times as large as its operand.
    """
    maker = GraphMaker(2, size, size, seed=3)
    value = maker.conv("x", 4)
    for _ in range(pools):
        value = maker.conv(maker.add("Relu", maker.pool("MaxPool", value)), 6)
    value = maker.pool("AvgPool", maker.add("Relu", value), maker.shapes[value][2], 1)
    maker.gemm(maker.flatten(value), 3)
    graph = maker.graph()
    *below, last = graph.nodes
    scaled = {name: array * np.float32(gain) for name, array in last.consts.items()}
    return replace(graph, nodes=(*below, last.with_(consts=scaled)))


def residual() -> Graph:
    """Two residual sums and the mean over all places."""
    maker = GraphMaker(2, 12, 12, seed=5)
    value = maker.add("Relu", maker.conv("x", 4))
    for _ in range(2):
        inner = maker.conv(maker.add("Relu", maker.conv(value, 4)), 4)
        value = maker.add("Relu", maker.add("Add", value, inner))
    maker.gemm(maker.flatten(maker.pool("AvgPool", value, 12, 12)), 3)
    return maker.graph()


def error_on(compiled: Compiled, graph: Graph, images: F32) -> float:
    """Root mean square, in the executor, on any images."""
    executor = CleartextExecutor(compiled.program, compiled.weights, np.random.default_rng(5))
    (output,) = graph.outputs
    expected = run_graph(graph, {"x": images.astype(np.float64)})[output]
    results = np.stack([executor.run(image)[output] for image in images])
    return float(np.sqrt(np.mean((results.reshape(expected.shape) - expected) ** 2)))


def flat(images: F32) -> F32:
    """The same with constant lower halves."""
    half = images.copy()
    half[:, :, images.shape[2] // 2 :] = 0.3
    return half


class TestPromise:
    @pytest.mark.parametrize("rounding", ["exact", "stochastic"])
    @pytest.mark.parametrize("border", [0.0, 0.3])
    def test_max_pools_and_flat_images(self, rounding: Rounding, border: float) -> None:
        """Where rounding errors have a mean, or are alike all over an image."""
        graph = pooled(48, 2)
        images = np.concatenate([smooth_images(border), flat(smooth_images(border))])
        compiled = compile_graph(graph, images, CompileOptions(replace(DEFAULT, rounding=rounding)))
        report = compiled.report
        assert report.measured_error is not None
        assert report.asked_error is not None
        assert report.measured_error.held_out
        assert report.measured_error.error <= report.asked_error
        assert error_on(compiled, graph, images) < 1.5 * report.asked_error

    def test_a_residual_network(self) -> None:
        graph, rng = residual(), np.random.default_rng(2)
        images = rng.normal(size=(24, 2, 12, 12)).astype(np.float32)
        compiled = compile_graph(graph, images, CompileOptions(PlanOptions(target_error=0.002)))
        assert compiled.report.measured_error is not None
        assert compiled.report.measured_error.error <= 0.002
        assert error_on(compiled, graph, images) < 1.5 * 0.002

    @settings(max_examples=8, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 11), min_size=2, max_size=5))
    @example(0, [5, 7, 7]).via("an average of an average")
    def test_random_graphs(self, seed: int, choices: list[int]) -> None:
        maker, result = random_chain(seed, choices)
        report = compile_graph(maker.graph(result), maker.images(), CompileOptions(DEFAULT)).report
        assert report.measured_error is not None
        assert report.asked_error is not None
        assert report.measured_error.error <= report.asked_error

    def test_small_results(self) -> None:
        """Which the usual fractional bits of results are too coarse for."""
        graph = pooled(16, 0, gain=2e-4)
        report = compile_graph(graph, smooth_images(0.0)[:, :, :16, :16], CompileOptions(DEFAULT))
        assert report.report.measured_error is not None
        assert report.report.asked_error is not None
        assert report.report.asked_error < 2.0 ** -PlanOptions().output_frac
        assert report.report.measured_error.error <= report.report.asked_error

    def test_beyond_fourteen_bits(self) -> None:
        maker = GraphMaker(2, 8, 8, seed=1)
        maker.conv(maker.add("Relu", maker.conv("x", 3)), 2)
        options = PlanOptions(target_error=1e-5)
        report = compile_graph(maker.graph(), maker.images(), CompileOptions(options)).report
        assert report.measured_error is not None
        assert report.measured_error.error <= 1e-5

    def test_out_of_reach(self) -> None:
        maker = GraphMaker(2, 8, 8, seed=1)
        maker.conv("x", 3)
        with pytest.raises(
            BadPlan, match=r"of up to 22 bits is predicted .*, measured \S+\. Allow"
        ):
            compile_graph(
                maker.graph(), maker.images(), CompileOptions(PlanOptions(target_error=1e-9))
            )

    def test_a_wish_out_of_reach_is_near_the_best(self) -> None:
        maker = GraphMaker(2, 8, 8, seed=1)
        maker.conv("x", 3)
        options = PlanOptions(relative_error=1e-9)
        report = compile_graph(maker.graph(), maker.images(), CompileOptions(options)).report
        (warning,) = plan_warnings(report)
        assert warning.startswith("accuracy: out-of-reach")

    def test_too_low_a_prediction_is_corrected(self) -> None:
        """A measurement of three times the prediction: the search aims three times lower."""
        graph, ranges, _ = small_graph()

        def measure(plan: Plan) -> Measured:
            return Measured(3 * predicted_error(plan), 0.0, 8, True, 0)

        options = PlanOptions(target_error=0.01)
        assert predicted_error(searched_plan(graph, ranges, options)) > 0.008
        plan = searched_plan(graph, ranges, options, measure=measure)
        assert 0.002 < predicted_error(plan) <= 0.01 / 3


class TestOverflow:
    def test_a_bound_that_it_breaks_is_refused(self) -> None:
        """Without trying wider and wider activations."""
        graph, ranges, _ = small_graph()
        measured: list[Plan] = []

        def measure(plan: Plan) -> Measured:
            measured.append(plan)
            return Measured(1.0, 9.0, 8, True, overflows=3)

        with pytest.raises(BadPlan, match=r"3 values .* leave their rings .*--margin-bits"):
            searched_plan(graph, ranges, PlanOptions(target_error=0.01), measure=measure)
        assert len(measured) == 1

    def test_it_is_said(self) -> None:
        graph, _, images = small_graph()
        report = compile_graph(graph, images, CompileOptions(PlanOptions())).report
        overflowed = msgspec.structs.replace(
            report, measured_error=Measured(1.0, 9.0, 8, True, overflows=3)
        )
        assert not list(plan_warnings(report))
        assert any(line.startswith("overflow: 3 ") for line in plan_warnings(overflowed))


def graph_of(shape: tuple[int, int, int]) -> Graph:
    """One that takes such images."""
    maker = GraphMaker(*shape, seed=1)
    return maker.graph(maker.gemm(maker.add("Reshape", "x", shape=(1, int(np.prod(shape)))), 1))


class TestSamples:
    def test_every_image_is_in_one_part(self) -> None:
        for total in (1, ENOUGH - 1, ENOUGH, 24, 200):
            images = np.arange(total, dtype=np.float32).reshape(-1, 1, 1, 1)
            samples = Samples(images, graph_of((1, 1, 1)))
            assert [float(image["x"][0, 0, 0]) for image in samples] == list(range(total))
            held_out = {float(image["x"][0, 0, 0]) for image in samples.held_out}
            assert held_out == samples.ranged
            assert len(held_out) == (min(HELD_OUT, total // HELD_OUT_OF) if total >= ENOUGH else 0)
            assert held_out.isdisjoint(float(image["x"][0, 0, 0]) for image in samples.kept)
            assert samples.measured is (samples.held_out or samples.kept)

    def test_ranges_alone_follow_from_those_held_out(self) -> None:
        maker = GraphMaker(2, 8, 8, seed=1)
        maker.conv(maker.add("Relu", maker.conv("x", 3)), 2)
        graph, images = maker.graph(), maker.images(20)
        samples = Samples(images, graph)
        found = calibration_ranges(graph, samples)
        others = [image for n, image in enumerate(images) if n not in samples.ranged]
        everything, without = calibrate(graph, images), calibrate(graph, others)
        assert found.images == 20
        for value, low in everything.low.items():
            np.testing.assert_array_equal(found.low[value], low)
            np.testing.assert_array_equal(found.high[value], everything.high[value])
        for value, mean in without.mean.items():
            np.testing.assert_array_equal(found.mean[value], mean)

    def test_an_unknown_number(self) -> None:
        def images() -> Iterator[F32]:
            yield from np.zeros((40, 1, 1, 1), np.float32)

        samples = Samples(images(), graph_of((1, 1, 1)))
        assert sum(1 for _ in samples) == 40
        assert not samples.held_out
        assert len(samples.measured) == 8

    def test_a_bad_image_is_numbered_as_given(self) -> None:
        images = [np.zeros((1, 2, 2))] * 20
        images[7] = np.zeros((1, 3, 3))
        with pytest.raises(BadInput, match=r"calibration image 7: it has shape \(1, 3, 3\)"):
            list(Samples(images, graph_of((1, 2, 2))))


class TestMeasurement:
    def test_it_is_the_executors_error(self) -> None:
        """Over all outputs."""
        maker = GraphMaker(2, 8, 8, seed=4)
        a = maker.conv("x", 3)
        b = maker.conv(maker.add("Relu", a), 2)
        graph, images = maker.graph(b, a), maker.images(4)
        compiled = compile_graph(graph, images, CompileOptions(PlanOptions()))
        measured = Measurement(legalise(graph), list(images), False).of(
            compiled.program, compiled.weights
        )
        executor = CleartextExecutor(compiled.program, compiled.weights)
        values, errors = run_graph(graph, {"x": images.astype(np.float64)}), []
        for number, image in enumerate(images):
            integers = executor.run_integers(image)
            for (index, step), value in zip(executor.program.outputs.items(), (b, a), strict=True):
                errors.append((integers[index] * step.scale - values[value][number]).ravel())
        error = np.concatenate(errors)
        assert measured.error == pytest.approx(float(np.sqrt(np.mean(error**2))), rel=1e-2)
        assert measured.largest == pytest.approx(float(np.abs(error).max()), rel=1e-2)
        assert (measured.images, measured.held_out, measured.overflows) == (4, False, 0)

    def test_what_is_said(self) -> None:
        graph, ranges, images = small_graph()
        given = compile_graph(graph, images, CompileOptions(PlanOptions()))
        assert " on 8 images of the calibration, the largest" in said(given)["error"]
        searched = compile_graph(
            graph, GraphMaker(2, 8, 8).images(16), CompileOptions(PlanOptions(target_error=0.05))
        )
        assert " on 4 images held out, the largest" in said(searched)["error"]
        assert said(searched)["error"].endswith(", asked for 0.05")
        unmeasured = compile_graph(graph, ranges, CompileOptions(PlanOptions(target_error=0.05)))
        assert said(unmeasured)["error"].startswith("not measured, for want of images; predicted")


def said(compiled: Compiled) -> dict[str, str]:
    """The promises, by name."""
    found: dict[str, str] = {}
    for name, value in promise_rows(compiled.report):
        if name:
            last, found[name] = name, value
        else:
            found[last] += f"; {value}"
    return found


class TestStarvedLayers:
    """A layer behind an average of 1024 elements: 12-bit activations left its weights 9 bits of 16,
    20-bit ones 2.
    """

    graph, images = pooled(32, 0), 0.05 * smooth_images(0.0)[:, :, :32, :32]

    def compiled(self, bits: int) -> tuple[Compiled, float]:
        options = PlanOptions(activation_bits=bits, weight_bits=16)
        compiled = compile_graph(self.graph, self.images, CompileOptions(options))
        return compiled, error_on(compiled, self.graph, self.images)

    def test_more_bits_are_never_worse(self) -> None:
        errors = [self.compiled(bits)[1] for bits in (8, 10, 12, 14, 16, 18, 20)]
        assert max(errors[3:]) < 1.2 * min(errors)
        assert errors[0] > errors[1] > errors[2]

    def test_what_is_left_is_said(self) -> None:
        assert not list(plan_warnings(self.compiled(12)[0].report))
        report = self.compiled(24)[0].report
        assert any(layer.missing_bits for layer in report.layers)
        assert any(line.startswith("weights: Scale ") for line in plan_warnings(report))

    def test_only_where_it_helps(self) -> None:
        plain = legalise(self.graph)
        _, ranges = calibrated(fully_relieved(plain), self.images)
        for bits, rescaled in ((6, 0), (18, 1)):
            options = PlanOptions(activation_bits=bits, weight_bits=16)
            made = relieved(plain, ranges, options)
            assert len(averages_rescaled(made)) == rescaled
        known = {v: array for v, array in ranges.low.items() if "::rescaled" not in v}
        earlier = replace(ranges, low=known)
        assert relieved(plain, earlier, options) is plain
