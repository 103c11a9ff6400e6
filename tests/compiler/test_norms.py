"""Norms: import, the fit of powers, units and rings, rounding, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.compiler.compile import CompileOptions, compile_graph, normal_form
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.ir.graph import Graph
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.planning.error import error_variances
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import make_plan
from moiety.compiler.planning.powers import fitted_power
from moiety.compiler.planning.ranges import calibrate
from moiety.compiler.planning.splines import KNOTS
from moiety.protocols.errors import BadModel, BadPlan
from moiety.runtime.program import Combine, Square, SumPool, Truncate
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.graphs import GraphMaker
from tests.support.onnx_models import ModelBuilder, run_model

Build = Callable[[ModelBuilder], str]


def _affine(b: ModelBuilder, size: int) -> list[str]:
    return [b.constant(b.normal(size) + 1), b.constant(b.normal(size))]


def _decomposed(b: ModelBuilder) -> str:
    """A layer norm as exporters wrote it before opset 17."""
    last = b.op("Transpose", "x", perm=[0, 2, 3, 1])
    centred = b.op("Sub", last, b.op("ReduceMean", last, axes=[-1]))
    square = b.op("Pow", centred, b.constant(2.0, np.float32))
    variance = b.op("ReduceMean", square, axes=[-1])
    root = b.op("Sqrt", b.op("Add", variance, b.constant(1e-5, np.float32)))
    normal = b.op("Mul", b.op("Div", centred, root), b.constant(b.normal(6)))
    return b.op("Transpose", normal, perm=[0, 3, 1, 2])


def _response_norm(b: ModelBuilder) -> str:
    """The global response norm of ConvNeXt-V2 (Woo et al. 2023)."""
    size = b.op("ReduceL2", "x", axes=[2, 3])
    mean = b.op("ReduceMean", size, axes=[1])
    return b.op("Mul", "x", b.op("Div", size, b.op("Add", mean, b.constant(1e-6, np.float32))))


IMAGE, ROW, VOLUME = (1, 6, 5, 4), (1, 6, 10), (1, 6, 3, 4, 2)

CASES: dict[str, tuple[tuple[int, ...], int, Build]] = {
    "instance": (IMAGE, 17, lambda b: b.op("InstanceNormalization", "x", *_affine(b, 6))),
    "instance-row": (ROW, 7, lambda b: b.op("InstanceNormalization", "x", *_affine(b, 6))),
    "instance-volume": (VOLUME, 17, lambda b: b.op("InstanceNormalization", "x", *_affine(b, 6))),
    "group": (
        IMAGE,
        21,
        lambda b: b.op("GroupNormalization", "x", *_affine(b, 6), num_groups=3),
    ),
    "group-volume": (
        VOLUME,
        21,
        lambda b: b.op("GroupNormalization", "x", *_affine(b, 6), num_groups=2),
    ),
    "layer-last": (IMAGE, 17, lambda b: b.op("LayerNormalization", "x", *_affine(b, 4))),
    "layer-all": (
        IMAGE,
        17,
        lambda b: b.op("LayerNormalization", "x", b.constant(b.normal(6, 5, 4)), axis=1),
    ),
    "layer-decomposed": (IMAGE, 13, _decomposed),
    "root-mean-square": (
        IMAGE,
        23,
        lambda b: b.op("RMSNormalization", "x", b.constant(b.normal(5, 4)), axis=2),
    ),
    "mean-variance": (IMAGE, 9, lambda b: b.op("MeanVarianceNormalization", "x", axes=[2, 3])),
    "lp-1": (IMAGE, 7, lambda b: b.op("LpNormalization", "x", axis=1, p=1)),
    "lp-2": (IMAGE, 17, lambda b: b.op("LpNormalization", "x", axis=-1)),
    "local-response": (IMAGE, 7, lambda b: b.op("LRN", "x", size=3, alpha=0.01)),
    "local-response-usual": (IMAGE, 13, lambda b: b.op("LRN", "x", size=5)),
    "local-response-of-all": (
        IMAGE,
        13,
        lambda b: b.op("LRN", "x", size=13, alpha=0.02, beta=0.5, bias=2.0),
    ),
    "response": (IMAGE, 17, _response_norm),
    "l2": (VOLUME, 7, lambda b: b.op("ReduceL2", "x", axes=[2, 3, 4], keepdims=1)),
    "l2-of-operand": (IMAGE, 18, lambda b: b.op("ReduceL2", "x", b.ints(2, 3))),
    "sum-square-of-operand": (IMAGE, 18, lambda b: b.op("ReduceSumSquare", "x", b.ints(1))),
    "root-of-sum": (IMAGE, 7, lambda b: b.op("Sqrt", b.op("ReduceSumSquare", "x", axes=[1]))),
    "inverse": (IMAGE, 7, lambda b: b.op("Reciprocal", b.op("ReduceL2", "x", axes=[1]))),
    "sum-square": (IMAGE, 7, lambda b: b.op("ReduceSumSquare", "x", axes=[1], keepdims=0)),
}


def imported(name: str, folder: Path) -> tuple[Graph, onnx.ModelProto]:
    shape, opset, build = CASES[name]
    b = ModelBuilder(["N", *shape[1:]], opset=opset)
    # A layer behind it, for what follows the last one is the client's.
    row = b.op("Reshape", build(b), b.ints(1, 1, 1, -1))
    model = b.model(b.op("Conv", row, b.constant(np.ones((1, 1, 1, 1)), np.float32)))
    onnx.save(model, folder / "model.onnx")
    return import_onnx(folder / "model.onnx"), model


@pytest.mark.parametrize("name", CASES)
def test_imported_norms_are_onnxruntimes(name: str, tmp_path: Path) -> None:
    graph, model = imported(name, tmp_path)
    image = np.random.default_rng(0).normal(1, 2, CASES[name][0]).astype(np.float32)
    (expected,) = run_model(model, image)
    found = run_graph(graph, {graph.inputs[0]: image})[graph.outputs[0]]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_integers_come_near(name: str, tmp_path: Path) -> None:
    imported(name, tmp_path)
    graph = normal_form(tmp_path / "model.onnx", CompileOptions())
    images = np.random.default_rng(1).normal(1, 2, (12, *CASES[name][0][1:])).astype(np.float32)
    options = PlanOptions(activation_bits=16, weight_bits=14)
    measured = compile_graph(graph, images, CompileOptions(options)).report.measured_error
    assert measured is not None
    assert measured.overflows == 0
    model = onnx.load(tmp_path / "model.onnx")
    largest = max(np.abs(run_model(model, image[None])[0]).max() for image in images)
    assert measured.largest < 4e-3 * largest


# --- the fit --------------------------------------------------------------------------------------


@given(
    exponent=st.sampled_from([-1.0, -0.5, 0.5, 0.75]),
    ratio=st.floats(4.0, 2.0**20),
    count=st.sampled_from(KNOTS[2:]),
)
def test_a_fit_has_one_relative_error(exponent: float, ratio: float, count: int) -> None:
    """On every piece the same, and below the bound that the module states."""
    fit = fitted_power(exponent, ratio, count)
    x = np.exp(np.linspace(0, np.log(ratio), 2000))
    error = fit(x) / x**exponent - 1
    step = np.log(ratio) / (count - 1)
    assert np.abs(error).max() <= fit.largest * (1 + 1e-6) + 1e-12
    if step < 0.5:
        assert fit.largest <= 1.3 * abs(exponent * (exponent - 1)) / 12 * step**2 + 1e-9
    for first in (0, 1000):
        assert np.abs(error[first : first + 1000]).max() > 0.3 * fit.largest


def test_below_its_range_a_fit_is_sane() -> None:
    """An inverse root stays what it is at the end of the range, a root goes to 0."""
    inverse, root = fitted_power(-0.5, 100.0, 12), fitted_power(0.5, 100.0, 12)
    assert inverse(np.array([0.0]))[0] == inverse.start
    assert inverse(np.array([1e9]))[0] == pytest.approx(0.1, rel=0.02)
    assert root(np.array([0.0]))[0] == pytest.approx(0.0, abs=1e-9)


# --- plans ----------------------------------------------------------------------------------------


def instance_norm(channels: int = 4) -> GraphMaker:
    maker = GraphMaker(2, 8, 8)
    x = maker.conv("x", channels)
    centred = maker.add("Sub", x, maker.pool("AvgPool", x, 8, 8))
    scale, shift = np.ones(channels), np.full(channels, 1e-5)
    variance = maker.add("MeanProduct", centred, centred)
    shifted = maker.add("Scale", variance, consts={"scale": scale, "shift": shift})
    normal = maker.add("Mul", centred, maker.add("Power", shifted, exponent=-0.5))
    maker.conv(maker.add("Relu", normal), 2)
    return maker


def test_squares_are_summed_before_they_are_rounded() -> None:
    maker = instance_norm()
    steps = compile_graph(maker.graph(), maker.images()).program.steps
    (square,) = [number for number, step in enumerate(steps) if isinstance(step, Square)]
    pool = next(number for number, step in enumerate(steps) if step.inputs[:1] == (square,))
    assert isinstance(steps[pool], SumPool)
    cut = [step for step in steps if isinstance(step, Truncate) and step.name == steps[pool].name]
    assert [step.shape for step in cut] == [(4, 1, 1)]


def test_units_of_a_power_follow_in_every_channel() -> None:
    """Those of quiet channels are as much finer as these are quieter."""
    graph = legalise(instance_norm().graph())
    formats = make_plan(graph, calibrate(graph, instance_norm().images()), PlanOptions()).formats
    for node in formats.graph.nodes_of("Power"):
        given, made = formats.unit(node.inputs[0]), formats.unit(node.output)
        np.testing.assert_allclose(made / given**-0.5, (made / given**-0.5)[0], rtol=1e-12)
    for node in formats.graph.nodes_of("MeanProduct"):
        expected = formats.unit(node.inputs[0]) ** 2 / 64 * 2.0 ** formats.shift(node.output)
        np.testing.assert_allclose(formats.unit(node.output), expected, rtol=1e-12)


@pytest.mark.parametrize("rounding", ["exact", "stochastic"])
def test_the_error_is_predicted(rounding: str) -> None:
    maker = instance_norm()
    graph, images = maker.graph(), maker.images(24)
    options = PlanOptions.of_choices(rounding=rounding, target_error=0.01)
    compiled = compile_graph(graph, images, CompileOptions(options))
    report = compiled.report
    assert report.measured_error is not None
    assert report.predicted_error is not None
    assert report.measured_error.error <= 0.01
    assert report.measured_error.error < 2 * report.predicted_error
    (fit,) = [row for row in report.activations if row.function == "x^-0.5"]
    assert fit.rms_error < 0.02


def test_coarser_fits_err_more() -> None:
    maker = instance_norm()
    graph = legalise(maker.graph())
    options = CompileOptions(PlanOptions.of_choices(target_error=0.01))
    ranges = compile_graph(maker.graph(), maker.images(), options).ranges
    (node,) = graph.nodes_of("Power")
    errors = ranges.fit_responses(node.output)
    assert (np.diff(errors) < 0).all()
    plan = make_plan(graph, ranges, PlanOptions())
    assert error_variances(plan)[f"fit.{node.output}"] >= errors[-1]


def test_pictures_of_half_and_twice_the_contrast_overflow_nothing() -> None:
    maker = instance_norm()
    images = maker.images()
    compiled = compile_graph(maker.graph(), images)
    executor = CleartextExecutor(compiled.program, compiled.weights)
    (result,) = maker.graph().outputs
    for factor in (0.6, 1.0, 1.7):
        found = executor.run(images[0] * factor)[result]
        expected = run_graph(maker.graph(), {"x": images[:1] * np.float32(factor)})[result][0]
        np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    assert not executor.overflows


def test_minimal_disclosure_tells_no_range() -> None:
    """Pictures of which some are much quieter than others make the same pieces."""
    maker = instance_norm()
    options = CompileOptions(PlanOptions(disclose="minimal", input_reach=4.0, output_frac=8))
    pieces = []
    for quietest in (1.0, 0.2):
        loudness = np.linspace(quietest, 1.0, len(maker.images()), dtype=np.float32)
        images = maker.images() * loudness[:, None, None, None]
        steps = compile_graph(maker.graph(), images, options).program.steps
        (combine,) = [step for step in steps if isinstance(step, Combine)]
        pieces.append(combine.factors)
    assert pieces[0] == pieces[1]


def test_the_uniform_style_has_no_norms() -> None:
    maker = instance_norm()
    with pytest.raises(BadPlan, match="needs a scale of its own, which the uniform style has not"):
        compile_graph(maker.graph(), maker.images(), CompileOptions(PlanOptions(bits=41, scale=12)))


def test_what_is_not_positive_has_no_power() -> None:
    maker = GraphMaker(2, 4, 4)
    maker.conv(maker.add("Power", maker.conv("x", 2), exponent=-1.0), 2)
    with pytest.raises(BadModel, match=r"Power .*: its operand lies between -.* add an epsilon"):
        compile_graph(maker.graph(), maker.images())
