"""Quantised models in QDQ form: exact weights, activations without the rounding, and a note."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.onnx_import.quantisation import NOTE
from moiety.compiler.passes.manager import optimise
from moiety.protocols.errors import BadModel
from tests.support.onnx_models import Build, ModelBuilder, build_model, run_model

IMAGE: list[int | str] = ["N", 3, 8, 8]
STEP = 1 / 32


def fake(b: ModelBuilder, value: str, zero: int, kind: type[np.generic]) -> str:
    """A value through integers and back."""
    parameters = [b.constant(STEP, np.float32), b.constant(zero, kind)]
    return b.op("DequantizeLinear", b.op("QuantizeLinear", value, *parameters), *parameters)


def quantised_conv(b: ModelBuilder, value: str, cin: int, cout: int) -> str:
    """Weights int8 per channel, bias int32."""
    integers = b.rng.integers(-127, 128, (cout, cin, 3, 3))
    scales = b.constant(b.rng.uniform(0.001, 0.01, cout), np.float32)
    zeros = b.constant(np.zeros(cout), np.int8)
    weight = b.op("DequantizeLinear", b.constant(integers, np.int8), scales, zeros, axis=0)
    bias = b.op(
        "DequantizeLinear", b.constant(b.rng.integers(-99, 99, cout), np.int32), scales, axis=0
    )
    return b.op("Conv", value, weight, bias)


def network(swallowed: bool) -> Build:
    """`swallowed`: the quantiser has taken the ReLU out, whose work its zero point does."""

    def build(b: ModelBuilder) -> str:
        value = quantised_conv(b, fake(b, "x", 0, np.int8), 3, 4)
        value = fake(b, value if swallowed else b.op("Relu", value), -128, np.int8)
        return quantised_conv(b, b.op("MaxPool", value, kernel_shape=[2, 2]), 4, 2)

    return build


@pytest.mark.parametrize("swallowed", [True, False])
def test_a_quantised_network(swallowed: bool) -> None:
    """The Graph is near the quantised model, and no nearer than half steps allow."""
    model = build_model(IMAGE, network(swallowed))
    notes: list[str] = []
    graph = import_onnx(model, note=notes.append)
    assert notes == [NOTE]
    assert [node.op for node in graph.nodes].count("Clip") == swallowed
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    (expected,) = run_model(model, x)
    found = run_graph(optimise(graph), {"x": x})[graph.outputs[0]]
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_weights_are_those_that_are_dequantised() -> None:
    model = build_model(IMAGE, lambda b: quantised_conv(b, "x", 3, 4))
    (node,) = import_onnx(model).nodes
    scales, _, integers, *_ = (numpy_helper.to_array(each) for each in model.graph.initializer)
    np.testing.assert_array_equal(
        node.consts["weight"], integers.astype(np.float32) * scales[:, None, None, None]
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda b: b.op(
                "DequantizeLinear",
                b.op("QuantizeLinear", "x", *[b.constant(1, np.float32), b.constant(0, np.int8)]),
                *[b.constant(2, np.float32), b.constant(0, np.int8)],
            ),
            "scale 2 and zero point 0 are not those",
        ),
        (
            lambda b: b.op(
                "DequantizeLinear",
                b.op(
                    "MaxPool",
                    b.op("QuantizeLinear", "x", b.constant(1, np.float32), b.constant(0, np.int8)),
                    kernel_shape=[2, 2],
                ),
                *[b.constant(1, np.float32), b.constant(0, np.int8)],
            ),
            "integers are read by MaxPool 'maxpool1'; give the float model",
        ),
        (lambda b: fake(b, "x", 127, np.int8), "cuts off all positive values"),
        (
            lambda b: b.op(
                "QuantizeLinear", "x", b.constant(1, np.float32), b.constant(0, np.int8)
            ),
            "output .* holds the integers of a QuantizeLinear",
        ),
        (
            lambda b: b.op(
                "QLinearConv",
                b.op(
                    "QuantizeLinear",
                    "x",
                    *(parameters := [b.constant(1, np.float32), b.constant(0, np.int8)]),
                ),
                *parameters,
                b.constant(np.ones((2, 3, 1, 1)), np.int8),
                *parameters,
                *parameters,
            ),
            "integers are read by QLinearConv",
        ),
    ],
)
def test_refusals(build: Build, message: str) -> None:
    with pytest.raises(BadModel, match=message):
        import_onnx(build_model(IMAGE, build, 17))
