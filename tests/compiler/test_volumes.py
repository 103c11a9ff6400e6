"""Volumes: layers and pools of three spatial axes against onnxruntime, and a network of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from moiety.compiler.compile import CompileOptions, compile_graph
from moiety.compiler.ir.evaluate import evaluate
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.manager import optimise
from moiety.compiler.planning.options import PlanOptions
from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadModel
from moiety.runtime.program.cleartext import CleartextExecutor


def model_of(
    nodes: list[onnx.NodeProto], shape: tuple[int, ...], weights: dict[str, F32]
) -> onnx.ModelProto:
    """A model from `x`, of `shape` with the batch, to `y`."""
    graph = helper.make_graph(
        nodes,
        "volumes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def expected(model: onnx.ModelProto, image: F32) -> F32:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": image})
    return np.asarray(result)


def check(model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    """Imported, and in normal form, the function is onnxruntime's."""
    image = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    wanted = expected(model, image)
    graph = import_onnx(model)
    for each in (graph, optimise(graph)):
        (found,) = evaluate(each, {"x": image})
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=1e-4)


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"pads": [1, 1, 1, 1, 1, 1]},
    "pads of their own": {"pads": [2, 0, 1, 0, 1, 2]},
    "strided": {"strides": [2, 3, 1], "pads": [1] * 6},
    "dilated": {"dilations": [2, 1, 2]},
    "dilated and strided": {"dilations": [2, 2, 1], "strides": [3, 1, 2], "pads": [2] * 6},
    "grouped": {"group": 2},
    "same": {"auto_pad": "SAME_UPPER", "strides": [2, 2, 2]},
    "same, lower": {"auto_pad": "SAME_LOWER", "strides": [2, 1, 2]},
    "valid": {"auto_pad": "VALID"},
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str) -> None:
    attrs = CONVOLUTIONS[name]
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(6, 4 // attrs.get("group", 1), 3, 2, 3)).astype(np.float32)
    weights = {"w": weight, "b": rng.normal(size=6).astype(np.float32)}
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], **attrs)
    check(model_of([node], (1, 4, 7, 6, 8), weights), (1, 4, 7, 6, 8))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_kernel_of_one_voxel(stride: int) -> None:
    weight = np.random.default_rng(2).normal(size=(5, 3, 1, 1, 1)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[stride] * 3)
    model = model_of([node], (1, 3, 4, 5, 6), {"w": weight})
    check(model, (1, 3, 4, 5, 6))
    if stride == 1:
        (conv,) = (node for node in import_onnx(model).nodes if node.op == "Conv")
        assert conv.consts["weight"].shape == (5, 3, 1, 1), "no zeros between slices"


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"strides": [2, 2, 2]},
        {"strides": [2, 2, 2], "pads": [1] * 6, "output_padding": [1, 0, 1]},
        {"strides": [3, 1, 2], "dilations": [1, 2, 1], "pads": [0, 1, 0, 1, 0, 0]},
        {"strides": [2, 2, 2], "group": 2},
    ],
)
def test_transposed_convolutions(attrs: dict[str, Any]) -> None:
    weight = np.random.default_rng(3).normal(size=(4, 3, 2, 3, 3)).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attrs)
    check(model_of([node], (1, 4, 3, 4, 5), {"w": weight}), (1, 4, 3, 4, 5))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attrs",
    [
        {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]},
        {"kernel_shape": [3, 2, 3], "strides": [2, 1, 2], "pads": [1, 0, 1, 1, 1, 0]},
        {"kernel_shape": [3, 3, 3], "strides": [2, 2, 2], "ceil_mode": 1},
        {"kernel_shape": [2, 3, 2], "auto_pad": "SAME_UPPER"},
    ],
)
def test_pools(op: str, attrs: dict[str, Any]) -> None:
    node = helper.make_node(op, ["x"], ["y"], **attrs)
    check(model_of([node], (1, 2, 6, 7, 6), {}), (1, 2, 6, 7, 6))


def test_padding_that_counts() -> None:
    attrs: dict[str, Any] = {"kernel_shape": [2, 2, 2], "pads": [1, 1, 0, 0, 0, 1]}
    node = helper.make_node("AveragePool", ["x"], ["y"], count_include_pad=1, **attrs)
    check(model_of([node], (1, 2, 4, 4, 4), {}), (1, 2, 4, 4, 4))


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools(op: str) -> None:
    check(model_of([helper.make_node(op, ["x"], ["y"])], (1, 3, 4, 5, 2), {}), (1, 3, 4, 5, 2))


def small_network() -> onnx.ModelProto:
    """Two levels: convolutions, batch norms, a skip connection, down and up again."""
    rng = np.random.default_rng(7)

    def normal(*shape: int) -> F32:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    weights: dict[str, F32] = {
        "w1": normal(4, 1, 3, 3, 3),
        "w2": normal(8, 4, 3, 3, 3),
        "w3": normal(8, 4, 2, 2, 2),
        "w4": normal(2, 8, 1, 1, 1),
    }
    for name, channels in (("n1", 4), ("n2", 8)):
        for field in ("scale", "bias", "mean"):
            weights[f"{name}{field}"] = (1 + rng.normal(size=channels) / 4).astype(np.float32)
        weights[f"{name}var"] = rng.uniform(0.5, 2, channels).astype(np.float32)

    def norm(name: str, x: str, y: str) -> onnx.NodeProto:
        fields = [f"{name}{field}" for field in ("scale", "bias", "mean", "var")]
        return helper.make_node("BatchNormalization", [x, *fields], [y])

    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1] * 6),
        norm("n1", "c1", "b1"),
        helper.make_node("Relu", ["b1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1] * 6, strides=[2, 2, 2]),
        norm("n2", "c2", "b2"),
        helper.make_node("Relu", ["b2"], ["r2"]),
        helper.make_node("ConvTranspose", ["r2", "w3"], ["u"], strides=[2, 2, 2]),
        helper.make_node("Concat", ["u", "r1"], ["j"], axis=1),
        helper.make_node("Conv", ["j", "w4"], ["y"]),
    ]
    weights["w4"] = normal(2, 8, 1, 1, 1)
    return model_of(nodes, (1, 1, 8, 8, 8), weights)


def test_batch_norms_meet_their_layers() -> None:
    """Passes see through the slices: no Scale is left, and no layer but the model's own."""
    graph = optimise(import_onnx(small_network()))
    ops = [node.op for node in graph.nodes]
    assert "Scale" not in ops
    assert ops.count("Conv") == 4
    assert ops.count("Relu") + ops.count("AffineRelu") == 2


def test_a_network_on_integers() -> None:
    model = small_network()
    images = np.random.default_rng(8).normal(size=(4, 1, 8, 8, 8)).astype(np.float32)
    options = CompileOptions(PlanOptions(activation_bits=16, weight_bits=14))
    compiled = compile_graph(optimise(import_onnx(model)), list(images), options)
    executor = CleartextExecutor(compiled.program, compiled.weights)
    (found,) = executor.run(images[0]).values()
    wanted = expected(model, images[:1])[0]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 2e-3 * np.abs(wanted).max()
    assert not executor.overflows


def test_refusals_name_the_axes() -> None:
    weight = np.ones((2, 2, 3, 3), np.float32)
    model = model_of([helper.make_node("Conv", ["x", "w"], ["y"])], (1, 2, 4, 5, 6), {})
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    with pytest.raises(BadModel, match=r"three axes|not valid|inferred"):
        import_onnx(model)
