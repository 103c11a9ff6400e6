"""Smooth activations: their formulas, how they are imported, fitted and computed."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.compiler.compile import Compiled, CompileOptions, compile_graph
from moiety.compiler.ir import formulas
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.ir.formulas import NAMED, Formula, exponential_unit
from moiety.compiler.ir.graph import Graph
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.manager import optimise
from moiety.compiler.planning.activations import slope_bits
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import make_plan
from moiety.compiler.planning.ranges import calibrate
from moiety.compiler.planning.spline_choice import density_of
from moiety.compiler.planning.splines import KNOTS, Density, fitted
from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadModel, BadPlan
from moiety.runtime.program import Combine, Gates, Program
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.graphs import GraphMaker
from tests.support.onnx_models import Build, ModelBuilder, build_model, run_model
from tests.support.whole_run import check_whole_run

POSITIVE = {"log", "sqrt", "reciprocal", "rsqrt"}
FORMULAS = NAMED | {
    "elu": exponential_unit(1.0, 0.7, 1.0),
    "selu": exponential_unit(1.05, 1.67, 1.0),
    "celu": exponential_unit(1.0, 0.6, 0.6),
}


def density(name: str) -> Density:
    if name in POSITIVE:
        return Density(0.1, 9.0, (2.0, 4.0), (1.0, 2.0))
    return Density(-7.0, 8.0, (0.0, -1.0), (2.0, 1.5))


# --- formulas -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMULAS)
def test_derivatives_are_those_of_differences(name: str) -> None:
    low, high = density(name).low, density(name).high
    x = np.random.default_rng(0).uniform(low, high, 500)
    x = x[np.abs(np.abs(x) - 3) > 1e-3]  # HardSwish has corners there
    x = x[np.abs(x) > 1e-3]
    difference = formulas.evaluate(FORMULAS[name], x + 1e-6) - formulas.evaluate(
        FORMULAS[name], x - 1e-6
    )
    found = formulas.derivative(FORMULAS[name], x)
    np.testing.assert_allclose(found, difference / 2e-6, rtol=1e-5, atol=1e-6)


def test_erf_is_that_of_the_library() -> None:
    x = np.linspace(-7, 7, 3001)
    exact = np.array([math.erf(at) for at in x])
    np.testing.assert_allclose(formulas.evaluate(NAMED["erf"], x), exact, atol=1e-10)


def test_nothing_overflows_far_outside() -> None:
    x = np.array([-1e4, 1e4], np.float32)
    for name in ("softplus", "mish", "silu", "gelu", "sigmoid", "tanh"):
        found = formulas.evaluate(NAMED[name], x)
        assert found.dtype == np.float32
        assert np.isfinite(found).all(), name


# --- import ---------------------------------------------------------------------------------------

B = ModelBuilder


def number(b: B, value: float) -> str:
    return b.constant(value, np.float32)


def erf_gelu(b: B, last: bool) -> str:
    """As PyTorch's two exporters write it before opset 20."""
    one = b.op("Add", b.op("Erf", b.op("Div", "x", number(b, math.sqrt(2)))), number(b, 1.0))
    if last:
        return b.op("Mul", b.op("Mul", "x", one), number(b, 0.5))
    return b.op("Mul", b.op("Mul", number(b, 0.5), "x"), one)


def tanh_gelu(b: B) -> str:
    cubic = b.op("Mul", number(b, 0.044715), b.op("Pow", "x", number(b, 3.0)))
    inner = b.op("Tanh", b.op("Mul", b.op("Add", "x", cubic), number(b, 0.7978845608)))
    return b.op("Mul", b.op("Mul", "x", number(b, 0.5)), b.op("Add", number(b, 1.0), inner))


FORMS: dict[str, tuple[int, Build]] = {
    "elu": (13, lambda b: b.op("Elu", "x", alpha=0.7)),
    "selu": (13, lambda b: b.op("Selu", "x")),
    "selu-given": (13, lambda b: b.op("Selu", "x", alpha=1.2, gamma=0.9)),
    "celu": (13, lambda b: b.op("Celu", "x", alpha=0.6)),
    "hardswish": (14, lambda b: b.op("HardSwish", "x")),
    "hardswish-written": (13, lambda b: b.op("Mul", "x", b.op("HardSigmoid", "x", alpha=1 / 6))),
    "hardswish-clip": (
        13,
        lambda b: b.op(
            "Div",
            b.op(
                "Mul",
                "x",
                b.op("Clip", b.op("Add", "x", number(b, 3)), number(b, 0), number(b, 6)),
            ),
            number(b, 6),
        ),
    ),
    "tanh": (13, lambda b: b.op("Tanh", "x")),
    "softplus": (13, lambda b: b.op("Softplus", "x")),
    "softsign": (13, lambda b: b.op("Softsign", "x")),
    "softsign-written": (
        13,
        lambda b: b.op("Div", "x", b.op("Add", number(b, 1), b.op("Abs", "x"))),
    ),
    "erf": (13, lambda b: b.op("Erf", "x")),
    "exp": (13, lambda b: b.op("Exp", "x")),
    "log": (13, lambda b: b.op("Log", b.op("Add", b.op("Relu", "x"), number(b, 1)))),
    "reciprocal": (13, lambda b: b.op("Reciprocal", b.op("Add", b.op("Relu", "x"), number(b, 1)))),
    "sqrt": (13, lambda b: b.op("Sqrt", b.op("Add", b.op("Relu", "x"), number(b, 1)))),
    "mish": (18, lambda b: b.op("Mish", "x")),
    "mish-written": (13, lambda b: b.op("Mul", "x", b.op("Tanh", b.op("Softplus", "x")))),
    "silu": (13, lambda b: b.op("Mul", "x", b.op("Sigmoid", "x"))),
    "silu-turned": (13, lambda b: b.op("Mul", b.op("Sigmoid", "x"), "x")),
    "quick-gelu": (
        13,
        lambda b: b.op("Mul", "x", b.op("Sigmoid", b.op("Mul", "x", number(b, 1.702)))),
    ),
    "gelu": (20, lambda b: b.op("Gelu", "x")),
    "gelu-approximate": (20, lambda b: b.op("Gelu", "x", approximate="tanh")),
    "gelu-erf": (13, lambda b: erf_gelu(b, last=False)),
    "gelu-erf-half-last": (13, lambda b: erf_gelu(b, last=True)),
    "gelu-tanh-written": (13, tanh_gelu),
    "sigmoid-inside": (13, lambda b: b.op("Neg", b.op("Sigmoid", "x"))),
    "thresholded-relu-at-0": (13, lambda b: b.op("ThresholdedRelu", "x", alpha=0.0)),
}


def before_a_layer(build: Build) -> Build:
    """Behind the last layer it would be the client's."""
    return lambda b: b.conv(str(build(b)), 3, 2, 1)


@pytest.mark.parametrize("name", FORMS)
def test_forms_are_one_op(name: str) -> None:
    """The function of onnxruntime, and one node when the passes are through."""
    opset, build = FORMS[name]
    model = build_model(["N", 3, 5, 4], before_a_layer(build), opset)
    graph = import_onnx(model)
    x = 3 * np.random.default_rng(1).standard_normal((2, 3, 5, 4)).astype(np.float32)
    (expected,) = run_model(model, x)
    for each in (graph, optimise(graph)):
        found = run_graph(each, {"x": x})[each.outputs[0]]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=5e-6)
    nodes = [node.op for node in optimise(graph).nodes]
    assert nodes == ["Relu" if name == "thresholded-relu-at-0" else "Activation", "Conv"]


def test_a_sigmoid_that_is_an_output_and_read_is_both() -> None:
    def build(b: B) -> list[str]:
        first = b.op("Sigmoid", b.conv("x", 3, 4, 3))
        return [first, b.conv(first, 4, 2, 3)]

    graph = import_onnx(build_model(["N", 3, 9, 9], build))
    assert [node.op for node in graph.nodes] == ["Conv", "Activation", "Conv"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b: b.op("ThresholdedRelu", "x", alpha=0.5), "jumps from 0 to 0.5"),
        (lambda b: b.op("Pow", "x", number(b, 2.5)), "exponents from 2.5"),
    ],
)
def test_what_is_no_activation_is_refused(build: Build, message: str) -> None:
    with pytest.raises(BadModel, match=message):
        import_onnx(build_model(["N", 3, 5, 4], before_a_layer(build)))


# --- fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMULAS)
def test_more_knots_err_less(name: str) -> None:
    """By the square of their number, nearly, as straight pieces of a smooth function do."""
    made = [fitted(FORMULAS[name], density(name), count) for count in KNOTS]
    errors = [spline.rms for spline in made]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 2.5 * errors[1] * (KNOTS[1] / KNOTS[-1]) ** 2
    for spline in made:
        assert (np.diff(spline.knots) > 0).all()
        assert spline.rms <= spline.largest


@given(
    st.sampled_from(sorted(set(FORMULAS) - POSITIVE)),
    st.floats(-20, 1),
    st.floats(0.01, 30),
    st.lists(st.tuples(st.floats(-1, 1), st.floats(1e-3, 3)), min_size=1, max_size=4),
    st.sampled_from(KNOTS),
)
def test_errors_are_what_a_fit_says(
    name: str, low: float, span: float, channels: list[tuple[float, float]], count: int
) -> None:
    """Between the grid's points, too; and nothing is worse than the line between the ends by
    much.
    """
    means, deviations = zip(*channels, strict=True)
    spline = fitted(FORMULAS[name], Density(low, low + span, means, deviations), count)
    x = np.linspace(low, low + span, 2999)
    values = formulas.evaluate(FORMULAS[name], x)
    error = np.abs(spline(x) - values).max()
    assert error <= spline.largest + 0.02 * np.ptp(values) + 1e-9
    line = np.interp(x, x[[0, -1]], values[[0, -1]])
    size = max(np.abs(values).max(), span)
    assert spline.rms <= 4 * np.abs(line - values).max() + 1e-6 * max(1.0, size)


@pytest.mark.parametrize(
    ("name", "slopes"),
    [
        ("silu", (0, 1)),
        ("gelu", (0, 1)),
        ("softplus", (0, 1)),
        ("hardswish", (0, 1)),
        ("mish", (0, 1)),
        ("elu", (0, 1)),
        ("sigmoid", (0, 0)),
        ("tanh", (0, 0)),
    ],
)
def test_beyond_the_range_a_fit_goes_on_as_its_function(name: str, slopes: tuple[int, int]) -> None:
    spline = fitted(FORMULAS[name], density(name), 12)
    np.testing.assert_allclose(spline.slopes[[0, -1]], slopes, atol=1e-3)
    far = np.array([-30.0, 30.0])
    assert np.abs(spline(far) - formulas.evaluate(FORMULAS[name], far)).max() < 0.05


def test_an_exact_fit_is_exact_on_any_grid() -> None:
    """ELU of positive values: what rounding leaves is no reason to call other knots worse."""
    positive = Density(0.0, 6.0, (1.0,), (1.0,))
    free, on_grid = (fitted(FORMULAS["elu"], positive, 4, cell) for cell in (0.0, 0.25))
    assert free.rms == pytest.approx(on_grid.rms, rel=1e-3)
    assert on_grid.rms < 1e-5


def test_a_fit_reaches_beyond_what_few_values_were_seen_of() -> None:
    """A vector's channel has one value per image; with maps nothing changes."""
    maker = GraphMaker(4, 1, 1, seed=3)
    maker.gemm(maker.add("Activation", maker.gemm(maker.flatten("x"), 4), formula=NAMED["tanh"]), 2)
    graph = maker.graph()
    (node,) = graph.nodes_of("Activation")
    images = np.random.default_rng(0).standard_normal((6, 4, 1, 1)).astype(np.float32)
    ranges = calibrate(graph, images)
    found = density_of(node, ranges, PlanOptions())
    (value,) = node.inputs
    low, high = float(ranges.low[value].min()), float(ranges.high[value].max())
    half = (high - low) / 2
    assert low - half <= found.low < low < high < found.high <= high + half
    x = np.linspace(found.low, found.high, 101)
    assert np.abs(fitted(NAMED["tanh"], found, 12)(x) - np.tanh(x)).max() < 0.05
    positive = replace(node, attrs={"formula": NAMED["log"]})
    assert density_of(positive, ranges, PlanOptions()).low == low


# --- plans ----------------------------------------------------------------------------------------


def network(formula: Formula, classes: int = 3) -> Graph:
    """Two activations, after a convolution and after a sum, and a flat end."""
    maker = GraphMaker(2, 8, 8, seed=3)
    x = maker.add("Activation", maker.conv("x", 4), formula=formula)
    y = maker.add("Add", x, maker.conv(x, 4))
    x = maker.add("Activation", y, formula=formula)
    x = maker.pool("AvgPool", maker.conv(x, 4), 8, 8)
    maker.gemm(maker.flatten(x), classes)
    return maker.graph()


def pictures(seed: int, n: int = 24) -> F32:
    """Smooth ones: errors of neighbouring places are alike."""
    x = np.random.default_rng(seed).standard_normal((n, 2, 8, 8)).cumsum(2).cumsum(3)
    return (x / 4).astype(np.float32)


@cache
def compiled(name: str, options: PlanOptions) -> Compiled:
    return compile_graph(network(FORMULAS[name]), pictures(0), CompileOptions(options))


def measured(name: str, made: Compiled, images: F32) -> float:
    graph = network(FORMULAS[name])
    (output,) = graph.outputs
    executor = CleartextExecutor(made.program, made.weights, np.random.default_rng(1))
    found = np.stack([executor.run(image)[output] for image in images])
    assert not executor.overflows
    expected = run_graph(graph, {"x": images.astype(np.float64)})[output]
    return float(np.sqrt(np.mean((found - expected) ** 2)))


@pytest.mark.parametrize("rounding", ["exact", "stochastic"])
@pytest.mark.parametrize("name", ["silu", "gelu", "tanh", "selu"])
def test_the_predicted_error_is_kept(name: str, rounding: str) -> None:
    """By images that calibration has not seen; and where the fit is most of it, too."""
    for bound in (1.25e-3, 5e-3):
        options = PlanOptions(relative_error=bound, rounding=rounding)  # type: ignore[arg-type]
        made = compiled(name, options)
        assert made.report.predicted_error is not None
        assert measured(name, made, pictures(5)) <= 1.5 * made.report.predicted_error


@pytest.mark.parametrize("name", ["hardswish", "softsign", "mish", "sigmoid", "celu"])
def test_given_widths_get_a_fit_of_their_own_precision(name: str) -> None:
    errors = [
        measured(name, compiled(name, PlanOptions(activation_bits=bits)), pictures(5, 8))
        for bits in (8, 14)
    ]
    assert errors[1] < errors[0] / 4


def test_uniform_style_and_minimal_disclosure() -> None:
    uniform = compiled("silu", PlanOptions(bits=34, scale=12))
    assert measured("silu", uniform, pictures(5, 8)) < 0.01
    minimal = [
        compile_graph(
            network(NAMED["gelu"]),
            pictures(seed) * size,
            CompileOptions(PlanOptions(disclose="minimal", input_reach=8.0)),
        ).program
        for seed, size in ((0, 1.0), (1, 0.5))
    ]
    assert minimal[0].steps == minimal[1].steps


def test_usual_disclosure_names_the_slopes() -> None:
    said = compiled("silu", PlanOptions()).program.disclosed
    assert any(
        "slopes of the straight pieces of each of the 2 activations" in each for each in said
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("reciprocal", PlanOptions(), "no finite value somewhere"),
        ("log", PlanOptions(disclose="minimal", input_reach=8.0), "over a fixed range, -8 to 8"),
    ],
)
def test_what_cannot_be_fitted_is_refused(name: str, options: PlanOptions, message: str) -> None:
    maker = GraphMaker(1, 4, 4)
    one = {"weight": np.ones((1, 1, 1, 1)), "bias": np.zeros(1)}
    same = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "groups": 1}
    x = maker.add("Activation", maker.add("Conv", "x", consts=one, **same), formula=NAMED[name])
    maker.add("Conv", x, consts=one, **same)
    images = maker.images() if name != "log" else np.abs(maker.images()) + 1
    with pytest.raises((BadModel, BadPlan), match=message):
        compile_graph(maker.graph(), images, CompileOptions(options))


def test_the_report_says_how_good_the_fits_are() -> None:
    made = compiled("gelu", PlanOptions(relative_error=5e-3))
    rows = made.report.activations
    assert [row.function for row in rows] == ["gelu", "gelu"]
    assert all(0 < row.rms_error < row.largest_error < 0.5 for row in rows)
    assert [row.knots for row in rows] == knots_of(made.program)


def test_integer_slopes_lose_less_than_a_unit() -> None:
    graph, images = network(NAMED["gelu"]), pictures(0)
    plan = make_plan(graph, calibrate(graph, images), PlanOptions())
    for value, made in plan.splines.items():
        (unit,) = set(plan.formats.unit(value).tolist())
        assert made.shift == slope_bits(plan.formats.compared_bits(value))
        assert not (made.threshold % (1 << made.low)).any()
        for constant in made.constant.tolist():
            steps = np.arange(-1500, 1500)
            shifted = steps + made.threshold[:, None]
            below = made.flip[:, None] == 1
            opened = np.where(below, np.minimum(shifted, 0), np.maximum(shifted, 0))
            total = np.array(made.factors) @ opened + constant
            wanted = made.spline(steps * unit) / unit
            error = (total >> made.shift) - wanted
            assert np.ptp(error) < 1.5
            assert np.abs(error).max() < 1 + 3 * made.spline.rms / unit


# --- Programs -------------------------------------------------------------------------------------


def knots_of(program: Program) -> list[int]:
    return [len(step.factors) for step in program.steps if isinstance(step, Combine)]


def test_more_knots_than_share_a_comparison() -> None:
    """Bit for bit, and the error of 20-bit activations."""
    made = compiled("gelu", PlanOptions(activation_bits=20, weight_bits=16))
    assert max(knots_of(made.program)) > 32
    assert measured("gelu", made, pictures(5, 8)) < 0.004
    check_whole_run(made.program, made.weights, pictures(7)[0])


@pytest.mark.parametrize("name", ["silu", "gelu", "sqrt"])
def test_two_parties_compute_the_oracles_bits(name: str) -> None:
    """Sqrt: after a ReLU and a constant; its slope on the left takes a gate that is turned."""
    options = PlanOptions(activation_bits=9, weight_bits=9)
    if name == "sqrt":
        maker = GraphMaker(2, 8, 8, seed=3)
        x = maker.add("Relu", maker.conv("x", 4))
        x = maker.add("AddConst", x, consts={"value": np.full((1, 1, 1, 1), 0.25)})
        maker.conv(maker.add("Activation", x, formula=NAMED["sqrt"]), 2)
        made = compile_graph(maker.graph(), pictures(0), CompileOptions(options))
    else:
        made = compiled(name, options)
    assert all(count >= 4 for count in knots_of(made.program))
    shared = [step.shape[0] for step in made.program.steps if isinstance(step, Gates)]
    assert sorted(shared)[-len(knots_of(made.program)) :] == sorted(knots_of(made.program))
    check_whole_run(made.program, made.weights, pictures(7)[0])
