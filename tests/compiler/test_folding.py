"""Constants: nodes without secret operands are computed by onnxruntime, in every opset and type."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from moiety.compiler.ir.graph import Array
from moiety.compiler.onnx_import.folding import MAX_TRIPS
from moiety.compiler.onnx_import.load import import_onnx
from moiety.protocols.errors import BadModel
from tests.support.onnx_models import Build, ModelBuilder, build_model, run_model

ml_dtypes = pytest.importorskip("ml_dtypes")  # a dependency of onnx since it knows small types

IMAGE: list[int | str] = ["N", 3, 4, 4]


def added(build: Build, opset: int) -> Array:
    """The constant that `build` makes, as the importer has it: added to the input."""

    def with_input(b: ModelBuilder) -> str:
        constant = build(b)
        assert isinstance(constant, str)
        return b.op("Add", "x", b.op("Cast", constant, to=TensorProto.FLOAT))

    model = build_model(IMAGE, with_input, opset)
    (node,) = import_onnx(model).nodes
    (expected,) = run_model(model, np.zeros((1, 3, 4, 4), np.float32))
    np.testing.assert_array_equal(np.broadcast_to(node.consts["value"], expected.shape), expected)
    return expected[0]


def batchnorm(b: ModelBuilder) -> str:
    statistics = [b.constant(np.abs(b.normal(3)) + 0.5) for _ in range(4)]
    return b.op("BatchNormalization", b.constant(b.normal(1, 3, 4, 4)), *statistics)


@pytest.mark.parametrize(
    ("opset", "build"),
    [
        (9, batchnorm),
        (14, batchnorm),
        (17, batchnorm),
        (13, lambda b: b.op("LRN", b.constant(b.normal(1, 3, 4, 4)), size=3)),
        (11, lambda b: b.op("Softmax", b.constant(b.normal(1, 3, 4, 4)))),
        (11, lambda b: b.op("LogSoftmax", b.constant(b.normal(1, 3, 4, 4)))),
        (
            17,
            lambda b: b.op(
                "MaxPool", b.constant(b.normal(1, 3, 6, 4)), kernel_shape=[3, 1], pads=[0, 0, 0, 0]
            ),
        ),
        (
            17,
            lambda b: b.op(
                "MaxPool", b.constant(b.normal(1, 3, 4, 4)), kernel_shape=[3, 1], pads=[1, 0, 1, 0]
            ),
        ),
    ],
)
def test_constants_are_those_of_onnxruntime(opset: int, build: Build) -> None:
    added(build, opset)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32])
@pytest.mark.parametrize("opset", [10, 13, 19, 21])
def test_dequantised_weights(kind: type[np.generic], opset: int) -> None:
    """Per tensor, and per channel since opset 13; int32 as biases are."""
    rng = np.random.default_rng(3)
    integers = rng.integers(0, 120, (3, 4, 4)).astype(kind)
    wide = opset >= 13

    def build(b: ModelBuilder) -> str:
        scale = b.constant(
            np.array([0.5, 0.25, 2], np.float32) if wide else np.array(0.5, np.float32)
        )
        zero = [] if kind is np.int32 else [b.constant(np.zeros(3 if wide else (), kind) + kind(7))]
        axis = {"axis": 0} if wide else {}
        return b.op("DequantizeLinear", b.constant(integers), scale, *zero, **axis)

    scales = (
        np.array([0.5, 0.25, 2], np.float32)[:, None, None] if wide else np.array(0.5, np.float32)
    )
    shift = 0 if kind is np.int32 else 7
    np.testing.assert_array_equal(
        added(build, opset), (integers.astype(np.float32) - shift) * scales
    )


def test_four_bit_weights() -> None:
    """A type that neither NumPy nor onnxruntime's Python interface takes."""
    integers = np.arange(-8, 8).reshape(4, 4)

    def build(b: ModelBuilder) -> str:
        return b.op(
            "DequantizeLinear", b.constant(integers, ml_dtypes.int4), b.constant(0.5, np.float32)
        )

    np.testing.assert_array_equal(added(build, 21)[0], integers / 2)


def test_types_without_a_kernel_are_computed_in_wider_ones() -> None:
    value = np.random.default_rng(0).standard_normal((1, 3, 4, 4))
    for kind in (np.float64, np.float16, ml_dtypes.bfloat16):

        def build(b: ModelBuilder, kind: type = kind) -> str:
            doubled = b.op("LRN", b.constant(value, kind), size=3)
            return b.op("Add", "x", b.op("Cast", doubled, to=TensorProto.FLOAT))

        (node,) = import_onnx(build_model(IMAGE, build)).nodes
        exact = import_onnx(build_model(IMAGE, lambda b: build(b, np.float32))).nodes[0]
        np.testing.assert_allclose(node.consts["value"], exact.consts["value"], atol=2e-2)


def test_a_constant_that_cannot_be_computed_names_its_node() -> None:
    model = build_model(
        IMAGE, lambda b: b.op("Add", "x", b.op("Reshape", b.constant(b.normal(3)), b.ints(2, 2)))
    )
    with pytest.raises(BadModel, match=r"Reshape 'reshape0'.*onnxruntime cannot compute"):
        import_onnx(model)


def test_a_thousand_constant_nodes() -> None:
    """As PyTorch's exporter writes shape arithmetic."""

    def build(b: ModelBuilder) -> str:
        value = b.constant(0, np.int64)
        for _ in range(1000):
            value = b.op("Add", value, b.constant(1, np.int64))
        return b.op("Cast", value, to=TensorProto.FLOAT)

    assert (added(build, 17) == 1000).all()


@pytest.mark.parametrize("trips", [5, MAX_TRIPS + 1, None])
def test_a_loop_that_reads_constants_alone(trips: int | None) -> None:
    def tensor(name: str, kind: int, shape: list[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("Add", ["a", "a"], ["twice"]), helper.make_node("Not", ["b"], ["on"])],
        "body",
        [
            tensor("i", TensorProto.INT64, []),
            tensor("b", TensorProto.BOOL, []),
            tensor("a", TensorProto.FLOAT, [3, 4, 4]),
        ],
        [tensor("on", TensorProto.BOOL, []), tensor("twice", TensorProto.FLOAT, [3, 4, 4])],
    )

    def build(b: ModelBuilder) -> str:
        most = "" if trips is None else b.constant(trips)
        return b.op("Loop", most, b.constant(True), b.constant(b.normal(3, 4, 4)), body=body)

    if trips == 5:
        assert added(build, 17).shape == (3, 4, 4)
    else:
        with pytest.raises(BadModel, match=f"Loop .* at most {MAX_TRIPS} trips"):
            added(build, 17)
