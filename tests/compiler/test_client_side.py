"""What stands behind the last secret layer: where the cut is, and that the client's expression is
onnxruntime's result, operator by operator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from moiety.compiler.compile import CompileOptions, compile_graph, compile_model
from moiety.compiler.ir.evaluate import results
from moiety.compiler.ir.queries import result_forms
from moiety.compiler.onnx_import.client.call import TRANSLATORS
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.manager import optimise
from moiety.compiler.planning.options import PlanOptions
from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadModel
from moiety.runtime.program import Program
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.expression.text import lines
from tests.support.masked import normalised
from tests.support.onnx_models import Build, ModelBuilder, build_model, run_model, typed

SHAPE: list[int | str] = ["N", 3, 4, 5]
B = ModelBuilder


def p(b: B) -> str:
    """Behind this everything is the client's."""
    return b.op("Sigmoid", "x")


def one(b: B, value: float) -> str:
    return b.constant(value, np.float32)


def model_of(build: Build, shape: list[int | str] = SHAPE, opset: int = 17) -> onnx.ModelProto:
    return typed(build_model(shape, build, opset))


def of_no_axes(b: B, op: str) -> str:
    return b.op(op, b.op("Abs", b.op("Tanh", "x")), noop_with_empty_axes=1)


def smooth(b: B, op: str) -> str:
    return b.op(op, b.op("Neg", b.op("Softsign", "x")))


FORMS: dict[str, tuple[int, Build]] = {
    **{
        op.lower(): (17, lambda b, op=op: b.op(op, "x"))  # type: ignore[misc]
        for op in ("Ceil", "Erf", "Exp", "Floor", "Log", "Reciprocal", "Round", "Sigmoid", "Sign")
    },
    **{
        op.lower(): (17, lambda b, op=op: b.op(op, "x"))  # type: ignore[misc]
        for op in ("Softplus", "Softsign", "Sqrt", "Tanh", "IsNaN", "LogSoftmax", "Softmax")
    },
    **{
        f"{op.lower()} behind": (17, lambda b, op=op: b.op(op, b.op("Tanh", "x")))  # type: ignore[misc]
        for op in ("Abs", "Neg", "Relu", "Identity", "LeakyRelu", "HardSigmoid")
    },
    "softsign behind": (17, lambda b: b.op("Softsign", b.op("Tanh", "x"))),
    **{
        f"{op.lower()} behind": (20, partial(smooth, op=op))
        for op in ("Celu", "Elu", "Gelu", "HardSwish", "Mish", "Selu")
    },
    "gelu tanh behind": (20, lambda b: b.op("Gelu", b.op("Tanh", "x"), approximate="tanh")),
    "prelu": (17, lambda b: b.op("PRelu", b.op("Tanh", "x"), b.constant(b.normal(3, 1, 1)))),
    "one minus": (17, lambda b: b.op("Sub", one(b, 1), p(b))),
    "per label": (17, lambda b: b.op("Mul", p(b), b.constant(b.normal(3, 1, 1)))),
    "enlarged": (17, lambda b: b.op("Add", p(b), b.constant(b.normal(2, 1, 1, 1)))),
    "two revealed": (17, lambda b: b.op("Div", b.op("Relu", "x"), b.op("Exp", "x"))),
    "of two values": (17, lambda b: b.op("Div", "x", b.op("Add", "x", one(b, 5)))),
    "by a tensor": (17, lambda b: b.op("Div", one(b, 2), "x")),
    "silu": (17, lambda b: b.op("Mul", "x", b.op("Sigmoid", "x"))),
    "pow": (17, lambda b: b.op("Pow", p(b), one(b, 2.5))),
    "pow of integer": (17, lambda b: b.op("Pow", p(b), b.ints(2))),
    "pow of places": (17, lambda b: b.op("Pow", b.op("ArgMax", "x", axis=1), one(b, 1.5))),
    "thresholded relu": (17, lambda b: b.op("ThresholdedRelu", "x", alpha=0.5)),
    "max": (17, lambda b: b.op("Max", p(b), one(b, 0.5), b.constant(b.normal(4, 1)))),
    "min": (17, lambda b: b.op("Min", p(b), b.op("Tanh", "x"))),
    "mean": (17, lambda b: b.op("Mean", p(b), b.op("Tanh", "x"), p(b))),
    "sum": (17, lambda b: b.op("Sum", p(b), b.op("Tanh", "x"))),
    "clip": (17, lambda b: b.op("Clip", p(b), one(b, 0.3), one(b, 0.6))),
    "clip above": (17, lambda b: b.op("Clip", p(b), "", one(b, 0.6))),
    "clip old": (9, lambda b: b.op("Clip", p(b), min=0.3, max=0.6)),
    "softmax last": (13, lambda b: b.op("Softmax", "x", axis=-1)),
    "softmax channels": (13, lambda b: b.op("Softmax", "x", axis=1)),
    "softmax flattens": (11, lambda b: b.op("Softmax", "x", axis=2)),
    "log softmax flattens": (9, lambda b: b.op("LogSoftmax", "x")),
    "argmax": (17, lambda b: b.op("ArgMax", "x", axis=1)),
    "argmin last": (17, lambda b: b.op("ArgMin", "x", axis=-1, keepdims=0, select_last_index=1)),
    "argmax to float": (
        17,
        lambda b: b.op("Cast", b.op("ArgMax", "x", axis=1), to=TensorProto.FLOAT),
    ),
    "topk": (17, lambda b: b.multi_op(2, "TopK", "x", b.ints(2), axis=3)),
    "topk smallest": (17, lambda b: b.multi_op(2, "TopK", "x", b.ints(3), axis=1, largest=0)),
    "greater": (17, lambda b: b.op("Greater", p(b), b.constant([[[0.5]], [[0.1]], [[0.9]]], "f4"))),
    "less or equal": (17, lambda b: b.op("LessOrEqual", "x", one(b, 0.2))),
    "equal": (17, lambda b: b.op("Equal", b.op("ArgMax", "x", axis=1), b.ints(1))),
    "and": (
        17,
        lambda b: b.op("And", b.op("Less", "x", one(b, 0)), b.constant([[True], [False]] * 2)),
    ),
    "logic": (
        17,
        lambda b: b.op(
            "Or",
            b.op("Not", b.op("Less", "x", one(b, 0))),
            b.op("Xor", b.op("GreaterOrEqual", "x", one(b, 1)), b.constant(True)),
        ),
    ),
    "where": (
        17,
        lambda b: b.op("Where", b.op("Less", "x", one(b, 0)), b.op("Exp", "x"), b.op("Neg", p(b))),
    ),
    "cast": (17, lambda b: b.op("Cast", b.op("Mul", p(b), one(b, 7.5)), to=TensorProto.INT64)),
    "cast to bool": (17, lambda b: b.op("Cast", b.op("Floor", "x"), to=TensorProto.BOOL)),
    "reduce l1": (17, lambda b: b.op("ReduceL1", p(b), axes=[1, 3])),
    **{
        f"{op} of no axes": (18, partial(of_no_axes, op=op))
        for op in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")
    },
    "reduce l2": (17, lambda b: b.op("ReduceL2", "x", axes=[1], keepdims=0)),
    "reduce log sum exp": (17, lambda b: b.op("ReduceLogSumExp", "x", axes=[-1], keepdims=0)),
    "reduce log sum": (17, lambda b: b.op("ReduceLogSum", p(b), axes=[2])),
    "reduce prod": (17, lambda b: b.op("ReduceProd", "x", axes=[2])),
    "reduce sum square": (17, lambda b: b.op("ReduceSumSquare", "x", axes=[1, 2])),
    "reduce max": (17, lambda b: b.op("ReduceMax", p(b), axes=[1], keepdims=0)),
    "reduce min": (18, lambda b: b.op("ReduceMin", p(b), b.ints(-1))),
    "reduce mean": (17, lambda b: b.op("ReduceMean", p(b), axes=[-1, 1])),
    "reduce sum": (17, lambda b: b.op("ReduceSum", p(b), b.ints(2), keepdims=0)),
    "reduce sum none": (17, lambda b: b.op("ReduceSum", p(b), noop_with_empty_axes=1)),
    "lp 1": (17, lambda b: b.op("LpNormalization", "x", axis=1, p=1)),
    "lp 2": (17, lambda b: b.op("LpNormalization", "x")),
    "reshape": (17, lambda b: b.op("Reshape", p(b), b.ints(0, -1, 2))),
    "flatten": (17, lambda b: b.op("Flatten", p(b), axis=2)),
    "squeeze": (17, lambda b: b.op("Squeeze", b.op("ArgMax", "x", axis=1), b.ints(1))),
    "unsqueeze": (17, lambda b: b.op("Unsqueeze", p(b), b.ints(1, -1))),
    "transpose": (17, lambda b: b.op("Transpose", p(b), perm=[0, 2, 3, 1])),
    "concat": (17, lambda b: b.op("Concat", p(b), b.op("Tanh", "x"), p(b), axis=-1)),
    "split": (17, lambda b: b.multi_op(2, "Split", p(b), b.ints(1, 3), axis=2)),
    "slice": (
        17,
        lambda b: b.op("Slice", p(b), b.ints(-1, 1), b.ints(-9, 9), b.ints(3, 2), b.ints(-2, 1)),
    ),
    "gather": (17, lambda b: b.op("Gather", p(b), b.ints(2, -1), axis=3)),
    "gather scalar": (17, lambda b: b.op("Gather", p(b), b.constant(1, np.int64), axis=1)),
    "gather elements": (
        17,
        lambda b: b.op("GatherElements", "x", b.op("ArgMax", "x", axis=2), axis=2),
    ),
    "expand": (17, lambda b: b.op("Expand", p(b), b.ints(2, 1, 3, 1, 1))),
    "tile": (17, lambda b: b.op("Tile", p(b), b.ints(1, 2, 1, 3))),
    "shape of a public value": (
        17,
        lambda b: b.op("Reshape", p(b), b.op("Shape", b.op("Flatten", p(b), axis=2))),
    ),
    "constants that are no numbers": (
        17,
        lambda b: b.op(
            "Where",
            b.op("Less", "x", b.constant([np.nan, np.inf, -np.inf, 0.5, 1], np.float32)),
            p(b),
            one(b, -np.inf),
        ),
    ),
    "under a mask": (17, lambda b: normalised(b, p(b), np.linspace(0, 1, 60).reshape(1, 3, 4, 5))),
    **{
        f"{name} of the batch": (17, build)
        for name, build in {
            "squeeze": lambda b: b.op("Squeeze", b.op("Relu", "x"), b.ints(0)),
            "reshape": lambda b: b.op("Reshape", b.op("Relu", "x"), b.ints(-1)),
            "softmax of places": lambda b: b.op("Softmax", b.op("Reshape", "x", b.ints(-1, 5))),
            "flatten": lambda b: b.op("Flatten", "x", axis=3),
            "transpose": lambda b: b.op("Transpose", "x", perm=[1, 2, 3, 0]),
            "gather": lambda b: b.op("Gather", "x", b.constant(0, np.int64), axis=0),
            "concat": lambda b: b.op("Concat", "x", b.op("Relu", "x"), axis=0),
            "mean": lambda b: b.op("ReduceMean", "x", keepdims=0),
            "sum": lambda b: b.op("ReduceSum", "x", b.ints(0, 2), keepdims=0),
        }.items()
    },
    "image too": (17, lambda b: b.op("Mul", b.op("Softmax", b.op("Relu", "x"), axis=1), "x")),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_onnxruntimes(name: str) -> None:
    """On random inputs, ordinary, tiny and huge; NaN and infinities in the same places."""
    opset, build = FORMS[name]
    model = model_of(build, opset=opset)
    graph = import_onnx(model)
    rng = np.random.default_rng(0)
    for scale in (1.0, 1e-3, 40.0):
        x = (rng.standard_normal((1, 3, 4, 5)) * scale).astype(np.float32)
        found = results(graph, {"x": x})
        for form, expected in zip(result_forms(graph), run_model(model, x), strict=True):
            values = found[form.name]
            assert values.dtype.kind == expected.dtype.kind
            assert form.shape == values.shape[1:]
            np.testing.assert_allclose(
                values.reshape(expected.shape), expected, rtol=2e-4, atol=1e-6 * max(1.0, scale)
            )


def test_every_translator_has_a_form() -> None:
    tried = {
        node.op_type
        for opset, build in FORMS.values()
        for node in model_of(build, opset=opset).graph.node
    }
    assert TRANSLATORS.keys() - tried == {"CastLike", "Dropout", "Swish"}


def small_network(b: B) -> tuple[str, str]:
    """A Conv's feature maps `(N, 4, 4, 5)`, and a Gemm's four logits."""
    maps = b.op("Relu", b.conv("x", 3, 4, 3, bias=True, pads=(1, 1, 1, 1)))
    pooled = b.op("Flatten", b.op("GlobalAveragePool", maps))
    return maps, b.gemm(pooled, 4, 4)


def compiled(build: Build, images: F32) -> tuple[Program, list[dict[str, Any]]]:
    plan = PlanOptions(activation_bits=20, weight_bits=16, rounding="exact")
    graph = optimise(import_onnx(model_of(build)))
    done = compile_graph(graph, images, CompileOptions(plan))
    executor = CleartextExecutor(done.program, done.weights)
    return done.program, [executor.run(image) for image in images]


def check(build: Build, shown: int, formulas: list[str]) -> Program:
    """In fixed point; so many values are revealed, and computed with so."""
    images = np.random.default_rng(3).standard_normal((6, 3, 4, 5)).astype(np.float32)
    program, found = compiled(build, images)
    expected = run_model(model_of(build), images)
    for (name, _), values in zip(found[0].items(), expected, strict=True):
        actual = np.stack([each[name] for each in found])
        np.testing.assert_allclose(actual.reshape(values.shape), values, atol=2e-3)
    assert len(program.outputs) == shown
    names = [f"r{number}" for number in range(shown)]
    assert [line.split(" = ")[1] for line in lines(program.expression, names)] == formulas
    return program


class TestCut:
    def test_what_both_can_compute_stays_secret_before_the_cut(self) -> None:
        def build(b: B) -> str:
            _, logits = small_network(b)
            return b.op("Softmax", b.op("Mul", b.op("Relu", logits), one(b, 2)), axis=1)

        check(build, 1, ["softmax(r0, axis 1)"])

    def test_two_heads_share_what_is_revealed(self) -> None:
        def build(b: B) -> list[str]:
            _, logits = small_network(b)
            probabilities = b.op("Softmax", logits, axis=-1)
            best = b.op("ArgMax", probabilities, axis=1, keepdims=0)
            return [logits, probabilities, best]

        program = check(build, 1, ["softmax(r0, axis 1)", "argmax(v5, axis 1)"])
        assert [result.kind for result in program.results()] == ["real", "real", "integer"]
        assert [result.probabilities for result in program.results()] == [False, True, False]
        assert [result.shape for result in program.results()] == [(4,), (4,), ()]

    def test_sigmoids_of_different_layers_joined(self) -> None:
        def build(b: B) -> str:
            maps, logits = small_network(b)
            mask = b.op("Sigmoid", b.conv(maps, 4, 1, 1, bias=True))
            return b.op("Concat", b.op("Flatten", mask), b.op("Sigmoid", logits), axis=1)

        check(build, 2, ["concat(reshape(sigmoid(r0), (1, 20)), sigmoid(r1), axis 1)"])

    def test_boxes(self) -> None:
        """`exp(w) * anchor` and `sigmoid(x) + grid`, as detectors decode them."""

        def build(b: B) -> str:
            maps, _ = small_network(b)
            head = b.op("Transpose", b.conv(maps, 4, 4, 1, bias=True), perm=[0, 2, 3, 1])
            rows = b.op("Reshape", head, b.ints(0, -1, 4))
            place, size = b.multi_op(2, "Split", rows, b.ints(2, 2), axis=2)
            grid = b.constant(np.indices((4, 5)).reshape(2, -1).T, np.float32)
            centre = b.op("Add", b.op("Sigmoid", place), grid)
            extent = b.op("Mul", b.op("Exp", size), b.constant([1.5, 2], np.float32))
            return b.op("Concat", centre, extent, axis=-1)

        program = check(
            build,
            2,
            ["concat((sigmoid(r0) + 40 constants), (exp(r1) * 2 constants), axis 2)"],
        )
        assert any(line.startswith("42 numbers of the model") for line in program.disclosed)
        assert not any("tells more" in line for line in program.disclosed)

    def test_a_label_tells_less_than_what_is_shown_and_it_is_said(self) -> None:
        def build(b: B) -> str:
            return b.op("ArgMax", small_network(b)[1], axis=1)

        program = check(build, 1, ["argmax(r0, axis 1)"])
        assert any("it tells more than that output does" in line for line in program.disclosed)

    def test_the_image_itself_is_shown_by_way_of_a_layer(self) -> None:
        def build(b: B) -> str:
            maps, _ = small_network(b)
            return b.op("Mul", "x", b.op("Sigmoid", b.conv(maps, 4, 1, 1)))

        check(build, 2, ["(r1 * sigmoid(r0))"])

    def test_before_a_secret_layer_the_client_computes_nothing(self) -> None:
        def build(b: B) -> str:
            maps, _ = small_network(b)
            return b.conv(b.op("Mul", maps, b.op("Floor", maps)), 4, 2, 1)

        with pytest.raises(
            BadModel, match=r"Floor 'floor\d+': stands before Conv 'conv\d+', which"
        ):
            import_onnx(model_of(build))

    @pytest.mark.parametrize(
        "build",
        [
            lambda b, y: b.op("Pow", y, one(b, 2)),
            lambda b, y: b.op("ReduceL1", y, axes=[1]),
            lambda b, y: b.op("Where", b.constant([True, False] * 2), y, one(b, 0)),
        ],
    )
    def test_what_a_protocol_computes_exactly_is_not_begun_with(
        self, build: Callable[[B, str], str]
    ) -> None:
        """The client is not shown what a square, a sum or a mask is made of."""
        graph = import_onnx(model_of(lambda b: build(b, small_network(b)[1])))
        assert not graph.expression.operations

    def test_branches_of_an_if_belong_to_the_model(self) -> None:
        """PyTorch writes squeeze() so."""
        b = B(["N", 1, 4, 5])
        probabilities = b.op("Sigmoid", b.conv("x", 1, 1, 1))
        size = b.op("Gather", b.op("Shape", probabilities), b.constant(1, np.int64))
        chosen = b.op("Equal", size, b.constant(1, np.int64))

        def branch(name: str, op: str, *inputs: str) -> onnx.GraphProto:
            made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            node = helper.make_node(op, [probabilities, *inputs], [name])
            return helper.make_graph([node], name, [], [made])

        b.op(
            "If",
            chosen,
            then_branch=branch("yes", "Squeeze", b.ints(1)),
            else_branch=branch("no", "Identity"),
        )
        model = b.model()
        graph = import_onnx(model)
        x = np.random.default_rng(0).standard_normal((1, 1, 4, 5)).astype(np.float32)
        (found,) = results(graph, {"x": x}).values()
        (expected,) = run_model(model, x)
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_a_batch_of_several_images_is_never_mixed(self) -> None:
        graph = import_onnx(model_of(lambda b: b.op("ReduceMax", p(b), axes=[1]), [8, 3, 4, 5]))
        assert result_forms(graph)[0].shape == (1, 4, 5)
        for build in (
            lambda b: b.op("ReduceMax", p(b), axes=[0]),
            lambda b: b.op("Transpose", p(b), perm=[1, 0, 2, 3]),
            lambda b: b.op("Reshape", p(b), b.ints(-1)),
            lambda b: b.op("Softmax", "x", axis=0),
        ):
            with pytest.raises(BadModel, match="the 8 images of the batch"):
                import_onnx(model_of(build, [8, 3, 4, 5]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b: b.op("Add", p(b), b.constant(b.normal(300, 300, 4, 5))), "it becomes public"),
        (lambda b: b.op("Div", b.op("ArgMax", "x", axis=1), b.ints(2)), "is integer, not real"),
        (lambda b: b.op("Cast", p(b), to=TensorProto.STRING), "to STRING"),
        (lambda b: b.op("Squeeze", p(b), b.ints(1)), "are not all 1"),
        (lambda b: b.op("Slice", p(b), b.ints(9), b.ints(9), b.ints(1)), "takes nothing"),
        (lambda b: b.multi_op(2, "TopK", "x", b.ints(9), axis=1), "9 elements of an axis of 3"),
    ],
)
def test_what_has_no_public_form_is_named(build: Build, message: str) -> None:
    with pytest.raises(BadModel, match=message):
        import_onnx(build_model(SHAPE, build))


def test_one_number_many_times_is_stored_once() -> None:
    graph = import_onnx(
        model_of(lambda b: b.op("Add", p(b), b.constant(np.ones((1, 3, 4, 5), "f4"))))
    )
    assert len(graph.expression.operations) == 4


def test_constants_are_the_model_s_and_the_rest_of_the_program_is_not() -> None:
    """Two sets of weights of one architecture: the same Programs, but for what is disclosed."""
    images = np.random.default_rng(3).standard_normal((4, 3, 4, 5)).astype(np.float32)
    made = []
    for seed in (1, 2):
        b = B(SHAPE, seed=seed)
        b.op(
            "Greater",
            b.op("Sigmoid", small_network(b)[1]),
            b.constant([0.1 * seed, 0.2, 0.3, 0.4], "f4"),
        )
        plan = PlanOptions(disclose="minimal", input_reach=5.0, activation_bits=14, weight_bits=12)
        made.append(compile_model(typed(b.model()), images, CompileOptions(plan)).program)
    first, second = made
    assert first.steps == second.steps
    assert first.expression != second.expression
    assert any("4 numbers of the model" in line for line in first.disclosed)
