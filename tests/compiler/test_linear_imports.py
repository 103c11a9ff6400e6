"""Reductions, extrema, broadcast constants and their like: imports against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from moiety.compiler.compile import CompileOptions, compile_graph
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.manager import optimise
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.geometry import Pads, Pair
from tests.support.graphs import PRECISE
from tests.support.onnx_models import ModelBuilder as B
from tests.support.onnx_models import run_model

Form = Callable[[B, str], str]
"""Adds nodes that read a value of shape (1, 4, 6, 5); the value they make."""


def constant(*shape: int) -> Callable[[B], str]:
    return lambda b: b.constant(b.normal(*shape, scale=1.0))


def reduced(op: str, axes: list[int], keepdims: int = 1) -> Form:
    return lambda b, x: b.op(op, x, axes=axes, keepdims=keepdims)


FORMS: dict[str, Form] = {
    **{
        f"{op}-{axes}": reduced(op, axes)
        for op in ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceL1")
        for axes in ([2, 3], [1], [-1], [1, 2, 3])
    },
    "reduce-max-flat": reduced("ReduceMax", [2, 3], 0),
    "reduce-sum": lambda b, x: b.op("ReduceSum", x, b.ints(2, 3)),
    "reduce-sum-channels": lambda b, x: b.op("ReduceSum", x, b.ints(1), keepdims=0),
    "reduce-l1-noop": lambda b, x: b.op("ReduceL1", x, noop_with_empty_axes=1),
    "reduce-max-noop": lambda b, x: b.op("ReduceMax", x, noop_with_empty_axes=1),
    "reduce-sum-noop": lambda b, x: b.op("ReduceSum", x, noop_with_empty_axes=1),
    "cumsum": lambda b, x: b.op("CumSum", x, b.constant(2, np.int64)),
    "cumsum-reverse": lambda b, x: b.op(
        "CumSum", x, b.constant(1, np.int64), exclusive=1, reverse=1
    ),
    "max-zero": lambda b, x: b.op("Max", x, b.constant(0.0, np.float32)),
    "max-many": lambda b, x: b.op("Max", x, b.op("Neg", x), constant(4, 1, 1)(b), constant(5)(b)),
    "max-broadcast": lambda b, x: b.op("Max", x, b.op("GlobalAveragePool", x)),
    "min-many": lambda b, x: b.op("Min", constant(1, 6, 1)(b), x, b.op("Neg", x)),
    "min-one": lambda b, x: b.op("Min", x),
    "mask": lambda b, x: b.op("Mul", x, constant(1, 1, 6, 5)(b)),
    "mask-full": lambda b, x: b.op("Mul", constant(4, 6, 5)(b), x),
    "mask-two-axes": lambda b, x: b.op(
        "Div", x, b.constant(np.arange(1.0, 21).reshape(4, 1, 5), np.float32)
    ),
    "mask-enlarges": lambda b, x: b.op(
        "Mul", b.op("GlobalAveragePool", x), constant(1, 1, 6, 5)(b)
    ),
    "maxpool-dilated": lambda b, x: b.op("MaxPool", x, kernel_shape=[2, 3], dilations=[3, 1]),
    "averagepool-dilated": lambda b, x: b.op(
        "AveragePool",
        x,
        kernel_shape=[2, 2],
        dilations=[2, 3],
        strides=[2, 1],
        pads=[1, 1, 1, 1],
        ceil_mode=1,
    ),
    "averagepool-uneven": lambda b, x: b.op(
        "AveragePool", b.op("Concat", *[x] * 6, axis=2), kernel_shape=[29, 1], pads=[28, 0, 28, 0]
    ),
    "pools-of-different-windows": lambda b, x: b.op(
        "Concat",
        *(
            b.op("ReduceMean", b.op("Slice", x, b.ints(start), b.ints(stop), b.ints(3)), axes=[3])
            for start, stop in ((0, 2), (1, 4), (2, 5), (0, 5))
        ),
        axis=3,
    ),
    "sum-broadcast": lambda b, x: b.op("Sum", x, b.op("GlobalAveragePool", x), constant(5)(b)),
    "mean-of-tensors": lambda b, x: b.op("Mean", x, b.op("Relu", x), constant(4, 1, 1)(b)),
    "where": lambda b, x: b.op("Where", b.constant(np.eye(6, 5, dtype=bool)), x, b.op("Neg", x)),
    "where-constant": lambda b, x: b.op(
        "Where", b.constant(np.eye(6, 5, dtype=bool)), b.constant(-3.0, np.float32), x
    ),
    "matrix-on-the-left": lambda b, x: b.op("MatMul", constant(7, 6)(b), x),
    "matrices": lambda b, x: b.op("MatMul", x, constant(4, 5, 3)(b)),
    "matrices-on-the-left": lambda b, x: b.op("MatMul", constant(1, 4, 2, 6)(b), x),
    "prelu-by-pixel": lambda b, x: b.op("PRelu", x, constant(4, 6, 5)(b)),
}


@pytest.mark.parametrize("name", FORMS)
def test_import(name: str) -> None:
    b = B([1, 4, 6, 5], opset=opset_of(name))
    model = b.model(FORMS[name](b, "x"))
    agrees(model)


def opset_of(name: str) -> int:
    """The operator's, where it is not the usual one."""
    return 19 if name.startswith("averagepool") else 18 if name.endswith("noop") else 17


def agrees(model: onnx.ModelProto) -> None:
    """The imported Graph gives what onnxruntime gives."""
    graph = import_onnx(model)
    x = np.random.default_rng(1).standard_normal(graph.shapes["x"]).astype(np.float32)
    (expected,) = run_model(model, x)
    found = run_graph(graph, {"x": x})[graph.outputs[0]]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(st.integers(4, 11), st.integers(4, 11)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 3)] * 4),
)
def test_any_dilated_max_pool(
    size: Pair, kernel: Pair, strides: Pair, dilations: Pair, pads: Pads
) -> None:
    fits = all(max(pads[i], pads[i + 2]) < kernel[i] for i in range(2))
    reach = [(kernel[i] - 1) * dilations[i] + 1 for i in range(2)]
    assume(fits and all(reach[i] <= size[i] for i in range(2)))
    b = B([1, 2, *size])
    attrs = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads}
    agrees(b.model(b.op("MaxPool", "x", **attrs)))


@pytest.mark.parametrize(
    "name",
    [
        "ReduceMax-[2, 3]",
        "ReduceMin-[1]",
        "reduce-sum",
        "reduce-sum-channels",
        "cumsum",
        "max-many",
        "max-broadcast",
        "min-many",
        "maxpool-dilated",
        "averagepool-dilated",
        "pools-of-different-windows",
        "mask",
        "mask-two-axes",
        "sum-broadcast",
        "matrices",
        "where-constant",
        "matrices-on-the-left",
        "prelu-by-pixel",
    ],
)
def test_compiled(name: str) -> None:
    """Behind a layer, as the output and before a ReLU."""
    b = B([1, 3, 6, 5], opset=opset_of(name))
    y = FORMS[name](b, b.conv("x", 3, 4, 3, pads=[1, 1, 1, 1], bias=True))
    model = b.model(b.op("Relu", y), y)
    graph = optimise(import_onnx(model))
    images = np.random.default_rng(0).standard_normal((12, 3, 6, 5)).astype(np.float32)
    compiled = compile_graph(graph, images, CompileOptions(PRECISE))
    executor = CleartextExecutor(compiled.program, compiled.weights, np.random.default_rng(1))
    found = [executor.run(image) for image in images]
    for image, result in zip(images, found, strict=True):
        for output, expected in zip(graph.outputs, run_model(model, image[None]), strict=True):
            np.testing.assert_allclose(
                result[output], expected[0], atol=1e-3 * max(1.0, np.abs(expected).max())
            )
    assert not executor.overflows
