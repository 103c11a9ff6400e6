"""ONNX import: every supported form of every op against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from moiety.compiler.ir.evaluate import results, run_graph
from moiety.compiler.ir.queries import result_forms
from moiety.compiler.ir.verify import verify
from moiety.compiler.onnx_import.load import import_onnx
from moiety.protocols.errors import BadInput, BadModel
from tests.support.onnx_models import Build, ModelBuilder, build_model, run_model

B = ModelBuilder


def _function(shape: list[int | str], build: Build, opset: int = 17, batch: int = 1) -> None:
    """Import what `build` adds to a model on input `x`; ops, shapes and
    values must be onnxruntime's.
    """
    model = build_model(shape, build, opset)
    graph = import_onnx(model)
    verify(graph)
    x = (
        np.random.default_rng(1).standard_normal((batch, *graph.shapes["x"][1:])).astype(np.float32)
        * 3
    )
    found = results(graph, {"x": x})
    assert list(found) == [output.name for output in model.graph.output]
    for values, expected in zip(found.values(), run_model(model, x), strict=True):
        assert values.shape == expected.shape
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


IMAGE: list[int | str] = ["N", 4, 9, 8]
SIGNAL: list[int | str] = ["N", 4, 17]

FORMS: dict[str, tuple[list[int | str], Build]] = {
    "conv": (
        IMAGE,
        lambda b: b.conv(
            "x", 4, 6, 3, bias=True, strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2]
        ),
    ),
    "conv-defaults": (IMAGE, lambda b: b.op("Conv", "x", b.constant(b.normal(5, 4, 2, 3)))),
    "conv-same-upper": (
        IMAGE,
        lambda b: b.conv("x", 4, 6, (4, 3), auto_pad="SAME_UPPER", strides=[2, 3]),
    ),
    "conv-same-lower": (
        IMAGE,
        lambda b: b.conv("x", 4, 6, (4, 3), auto_pad="SAME_LOWER", strides=[2, 3]),
    ),
    "conv-valid": (IMAGE, lambda b: b.conv("x", 4, 6, 3, auto_pad="VALID")),
    "conv-groups": (IMAGE, lambda b: b.conv("x", 4, 6, 3, group=2)),
    "batchnorm": (IMAGE, lambda b: b.batchnorm("x", 4)),
    "conv-signal": (
        SIGNAL,
        lambda b: b.op(
            "Conv",
            "x",
            b.constant(b.normal(6, 2, 3)),
            group=2,
            strides=[2],
            pads=[1, 2],
            dilations=[2],
        ),
    ),
    "convtranspose-signal": (
        SIGNAL,
        lambda b: b.op("ConvTranspose", "x", b.constant(b.normal(4, 3, 4)), strides=[2]),
    ),
    "maxpool-signal": (
        SIGNAL,
        lambda b: b.op("MaxPool", "x", kernel_shape=[3], strides=[2], auto_pad="SAME_UPPER"),
    ),
    "avgpool-signal": (
        SIGNAL,
        lambda b: b.op("AveragePool", "x", kernel_shape=[3], strides=[2], pads=[1, 1]),
    ),
    "globalaveragepool-signal": (SIGNAL, lambda b: b.op("GlobalAveragePool", "x")),
    "globalmaxpool-signal": (SIGNAL, lambda b: b.op("GlobalMaxPool", "x")),
    "relu": (IMAGE, lambda b: b.op("Relu", "x")),
    "relu6": (
        IMAGE,
        lambda b: b.op("Clip", "x", b.constant(0, np.float32), b.constant(6, np.float32)),
    ),
    "clip-both": (
        IMAGE,
        lambda b: b.op("Clip", "x", b.constant(-1, np.float32), b.constant(2, np.float32)),
    ),
    "clip-above": (IMAGE, lambda b: b.op("Clip", "x", "", b.constant(2, np.float32))),
    "leakyrelu": (IMAGE, lambda b: b.op("LeakyRelu", "x", alpha=0.2)),
    "prelu": (IMAGE, lambda b: b.op("PRelu", "x", b.constant(b.normal(4, 1, 1)))),
    "abs": (IMAGE, lambda b: b.op("Abs", "x")),
    "hardsigmoid": (IMAGE, lambda b: b.op("HardSigmoid", "x")),
    "pad-reflect": (
        IMAGE,
        lambda b: b.op("Pad", "x", b.ints(0, 0, 2, 1, 0, 0, 0, 3), mode="reflect"),
    ),
    "pad-edge": (IMAGE, lambda b: b.op("Pad", "x", b.ints(0, 0, 2, 1, 0, 0, -1, 3), mode="edge")),
    "pad-value": (
        IMAGE,
        lambda b: b.op("Pad", "x", b.ints(0, 0, 1, -1, 0, 0, 2, 3), b.constant(1.5, np.float32)),
    ),
    "slice-backwards": (
        IMAGE,
        lambda b: b.op("Slice", "x", b.ints(-1), b.ints(-99), b.ints(3), b.ints(-2)),
    ),
    "clip-below": (IMAGE, lambda b: b.op("Clip", "x", b.constant(0, np.float32))),
    "clip-huge": (
        IMAGE,
        lambda b: b.op("Clip", "x", b.constant(0, np.float32), b.constant(3.4e38, np.float32)),
    ),
    "clip-open": (IMAGE, lambda b: b.op("Clip", b.op("Relu", "x"))),
    "maxpool": (
        IMAGE,
        lambda b: b.op("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    ),
    "maxpool-ceil": (
        IMAGE,
        lambda b: b.op("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1),
    ),
    "maxpool-ceil-dropped": (
        IMAGE,
        lambda b: b.op("MaxPool", "x", kernel_shape=[1, 2], strides=[4, 5], ceil_mode=1),
    ),
    "maxpool-same": (
        IMAGE,
        lambda b: b.op("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    ),
    "globalmaxpool": (IMAGE, lambda b: b.op("GlobalMaxPool", "x")),
    "avgpool": (
        IMAGE,
        lambda b: b.op("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    ),
    "avgpool-counted": (
        IMAGE,
        lambda b: b.op(
            "AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
        ),
    ),
    "avgpool-ceil": (
        IMAGE,
        lambda b: b.op("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    ),
    "globalaveragepool": (IMAGE, lambda b: b.op("GlobalAveragePool", "x")),
    "reducemean": (IMAGE, lambda b: b.op("ReduceMean", "x", axes=[2, 3], keepdims=1)),
    "reducemean-flat": (IMAGE, lambda b: b.op("ReduceMean", "x", axes=[-1, -2], keepdims=0)),
    "reducemean-rows": (IMAGE, lambda b: b.op("ReduceMean", "x", axes=[2], keepdims=0)),
    "reducemean-channels": (IMAGE, lambda b: b.op("ReduceMean", "x", axes=[1], keepdims=1)),
    "reducemean-two": (IMAGE, lambda b: b.op("ReduceMean", "x", axes=[1, 3], keepdims=0)),
    "reducemean-channels-last": (
        ["N", 5, 6, 3],
        lambda b: b.op("ReduceMean", "x", axes=[1, 2], keepdims=0),
    ),
    "reducemean-sequence": (["N", 5, 6], lambda b: b.op("ReduceMean", "x", axes=[2])),
    "concat": (IMAGE, lambda b: b.op("Concat", "x", b.op("Relu", "x"), "x", axis=-3)),
    "split-sizes": (IMAGE, lambda b: b.multi_op(2, "Split", "x", b.ints(1, 3), axis=1)),
    "split-even": (IMAGE, lambda b: b.multi_op(2, "Split", "x", axis=-3)),
    "slice": (
        IMAGE,
        lambda b: b.op("Slice", "x", b.ints(1, -7), b.ints(99, 8), b.ints(1, 3), b.ints(2, 3)),
    ),
    "slice-no-axes": (IMAGE, lambda b: b.op("Slice", "x", b.ints(0, 1), b.ints(9, 3))),
    "gather": (IMAGE, lambda b: b.op("Gather", "x", b.ints(1, 3), axis=1)),
    "gather-scalar": (IMAGE, lambda b: b.op("Gather", "x", b.constant(-1, np.int64), axis=1)),
    "add": (IMAGE, lambda b: b.op("Add", "x", b.op("Relu", "x"))),
    "sub": (IMAGE, lambda b: b.op("Sub", "x", b.op("Relu", "x"))),
    "sum": (IMAGE, lambda b: b.op("Sum", "x", b.op("Relu", "x"), "x")),
    "neg": (IMAGE, lambda b: b.op("Neg", "x")),
    "add-scalar": (IMAGE, lambda b: b.op("Add", b.constant(1.5, np.float32), "x")),
    "add-position": (IMAGE, lambda b: b.op("Add", "x", b.constant(b.normal(9, 1)))),
    "sub-channel": (IMAGE, lambda b: b.op("Sub", "x", b.constant(b.normal(4, 1, 1)))),
    "sub-left": (IMAGE, lambda b: b.op("Sub", b.constant(b.normal(4, 1, 1)), "x")),
    "mul-scalar": (IMAGE, lambda b: b.op("Mul", b.constant([-0.5], np.float32), "x")),
    "mul-channel": (IMAGE, lambda b: b.op("Mul", b.constant(b.normal(1, 4, 1, 1)), "x")),
    "mul-columns": (IMAGE, lambda b: b.op("Mul", "x", b.constant(b.normal(8)))),
    "mul-extra-rank": (
        ["N", 4],
        lambda b: b.op("Mul", "x", b.constant(b.normal(1, 1, 4).reshape(1, 4))),
    ),
    "mul-tensors": (IMAGE, lambda b: b.op("Mul", "x", b.op("Relu", "x"))),
    "mul-channel-gate": (IMAGE, lambda b: b.op("Mul", "x", b.op("GlobalAveragePool", "x"))),
    "mul-gate-first": (IMAGE, lambda b: b.op("Mul", b.op("GlobalAveragePool", "x"), "x")),
    "mul-pixel-gate": (
        IMAGE,
        lambda b: b.op("Mul", "x", b.op("Conv", "x", b.constant(b.normal(1, 4, 1, 1)))),
    ),
    "mul-outer": (
        IMAGE,
        lambda b: b.op(
            "Mul",
            b.op("AveragePool", "x", kernel_shape=[9, 1]),
            b.op("AveragePool", "x", kernel_shape=[1, 8]),
        ),
    ),
    "mul-lower-rank": (
        [1, 5, 4, 5],
        lambda b: b.op("Mul", b.op("Flatten", b.op("GlobalAveragePool", "x")), "x"),
    ),
    "pow-1": (IMAGE, lambda b: b.op("Pow", "x", b.constant(1, np.float32))),
    "pow-2": (IMAGE, lambda b: b.op("Pow", "x", b.constant(2, np.float32))),
    "pow-3": (IMAGE, lambda b: b.op("Pow", "x", b.constant([3.0], np.float32))),
    "pow-4": (IMAGE, lambda b: b.op("Pow", "x", b.constant(4, np.float32))),
    "div": (
        IMAGE,
        lambda b: b.op("Div", "x", b.constant([[[2.0]], [[-4.0]], [[0.5]], [[1.0]]], np.float32)),
    ),
    "gemm": (["N", 7], lambda b: b.gemm("x", 7, 3)),
    "gemm-plain": (
        ["N", 7],
        lambda b: b.op(
            "Gemm", "x", b.constant(b.normal(7, 3)), b.constant(b.normal(1, 3)), alpha=0.5, beta=2.0
        ),
    ),
    "gemm-no-bias": (["N", 7], lambda b: b.op("Gemm", "x", b.constant(b.normal(7, 3)))),
    "matmul": (
        ["N", 7],
        lambda b: b.op(
            "Add", b.op("MatMul", "x", b.constant(b.normal(7, 3))), b.constant(b.normal(3))
        ),
    ),
    "matmul-sequence": (["N", 5, 7], lambda b: b.op("MatMul", "x", b.constant(b.normal(7, 3)))),
    "matmul-image": (["N", 5, 6, 7], lambda b: b.op("MatMul", "x", b.constant(b.normal(7, 3)))),
    "flatten": (IMAGE, lambda b: b.op("Flatten", "x")),
    "reshape-zero": (IMAGE, lambda b: b.op("Reshape", "x", b.ints(0, 4, -1))),
    "reshape-minus-one": (IMAGE, lambda b: b.op("Reshape", "x", b.ints(-1, 288))),
    "squeeze": (["N", 4, 1, 1], lambda b: b.op("Squeeze", "x", b.ints(2, -1))),
    "unsqueeze": (["N", 4], lambda b: b.op("Unsqueeze", "x", b.ints(-1, 2))),
    "transpose": (IMAGE, lambda b: b.op("Transpose", "x", perm=[0, 2, 3, 1])),
    "pad": (IMAGE, lambda b: b.op("Pad", "x", b.ints(0, 0, 1, 2, 0, 1, 0, 3))),
    "pad-crop": (IMAGE, lambda b: b.op("Pad", "x", b.ints(0, 0, -1, 2, 0, 0, -2, -3))),
    "space-to-depth": (["N", 4, 6, 8], lambda b: b.op("SpaceToDepth", "x", blocksize=2)),
    "depth-to-space": (["N", 8, 3, 2], lambda b: b.op("DepthToSpace", "x", blocksize=2)),
    "depth-to-space-crd": (
        ["N", 8, 3, 2],
        lambda b: b.op("DepthToSpace", "x", blocksize=2, mode="CRD"),
    ),
    "identity": (IMAGE, lambda b: b.op("Relu", b.op("Identity", "x"))),
    "dropout": (IMAGE, lambda b: b.op("Dropout", b.op("Relu", "x"))),
    "cast": (
        IMAGE,
        lambda b: b.op(
            "Cast", b.op("Cast", b.op("Relu", "x"), to=TensorProto.DOUBLE), to=TensorProto.FLOAT
        ),
    ),
    "sigmoid": (["N", 7], lambda b: b.op("Sigmoid", b.gemm("x", 7, 3))),
    "passthrough": (IMAGE, lambda b: b.op("Identity", "x")),
}


FOR_ONE = ("slice-no-axes", "mul-lower-rank")
"""Forms that mix images of a batch."""


@pytest.mark.parametrize("name", FORMS)
def test_form(name: str) -> None:
    batch = 1 if name in FOR_ONE else 2
    _function(*FORMS[name], batch=batch)


OLD = (
    "reducemean",
    "split",
    "pad",
    "squeeze",
    "unsqueeze",
    "slice",
    "relu6",
    "clip",
    "sum",
    "dropout",
)


@pytest.mark.parametrize("name", [name for name in FORMS if not name.startswith(OLD)])
@pytest.mark.parametrize("opset", [11, 13, 21])
def test_form_in_other_opsets(name: str, opset: int) -> None:
    _function(*FORMS[name], opset=opset, batch=1 if name in FOR_ONE else 2)


FORMS_OF_OPSETS: list[tuple[int, list[int | str], Build]] = [
    (7, IMAGE, lambda b: b.op("Clip", "x", min=0.0, max=6.0)),
    (7, IMAGE, lambda b: b.op("Slice", "x", starts=[1], ends=[3], axes=[1])),
    (7, IMAGE, lambda b: b.op("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 0, 3])),
    (7, IMAGE, lambda b: b.op("Dropout", b.op("Relu", "x"), ratio=0.3)),
    (7, IMAGE, lambda b: b.multi_op(2, "Split", "x", axis=1, split=[1, 3])),
    (7, ["N", 4, 1, 1], lambda b: b.op("Squeeze", "x", axes=[2, 3])),
    (7, ["N", 4], lambda b: b.op("Unsqueeze", "x", axes=[2, 3])),
    (11, ["N", 4], lambda b: b.op("Softmax", "x")),
    (18, IMAGE, lambda b: b.op("ReduceMean", "x", b.ints(2, 3), keepdims=0)),
    (18, IMAGE, lambda b: b.multi_op(2, "Split", "x", axis=2, num_outputs=2)),
    (18, IMAGE, lambda b: b.op("Pad", "x", b.ints(1, 2, 0, 3), "", b.ints(2, 3))),
    (
        19,
        IMAGE,
        lambda b: b.op("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 3], dilations=[1, 1]),
    ),
    (7, IMAGE, lambda b: b.op("Upsample", "x", scales=[1.0, 1.0, 2.0, 3.0], mode="nearest")),
    (9, IMAGE, lambda b: b.op("Upsample", "x", b.constant([1, 1, 2, 3], np.float32))),
    (10, IMAGE, lambda b: b.op("Resize", "x", b.constant([1, 1, 2, 3], np.float32))),
    (
        11,
        IMAGE,
        lambda b: b.op(
            "Resize", "x", b.constant([], np.float32), b.constant([1, 1, 2, 3], np.float32)
        ),
    ),
    (8, ["N", 1, 9, 8], lambda b: b.op("Expand", "x", b.ints(1, 4, 9, 8))),
    (7, IMAGE, lambda b: b.op("Tile", "x", b.ints(1, 1, 2, 3))),
    (7, IMAGE, lambda b: b.op("ReduceMean", "x", axes=[2, 3])),
    (7, IMAGE, lambda b: b.multi_op(2, "Split", "x", axis=1)),
    (7, IMAGE, lambda b: b.op("BatchNormalization", "x", *[b.constant(b.normal(4) ** 2)] * 4)),
    (
        7,
        ["N", 7],
        lambda b: b.op("Gemm", "x", b.constant(b.normal(7, 3)), b.constant(b.normal(3))),
    ),
    (7, IMAGE, lambda b: b.op("PRelu", "x", b.constant(b.normal(4, 1, 1)))),
    (7, ["N", 4], lambda b: b.op("Softmax", "x")),
    (13, IMAGE, lambda b: b.op("Identity", b.op("Softmax", "x", axis=1))),
    (7, IMAGE, lambda b: b.op("Sum", "x", b.op("Relu", "x"))),
]
"""Those that only some opsets have, with the first."""


@pytest.mark.parametrize(("opset", "shape", "build"), FORMS_OF_OPSETS)
def test_forms_of_one_opset(opset: int, shape: list[int | str], build: Build) -> None:
    _function(shape, build, opset)


def test_ceil_mode_with_counted_padding() -> None:
    """What ceil_mode adds on the right never counts, the written pads do (the
    reference implementation says so too).
    """
    b = B(["N", 1, 4, 4])
    b.op(
        "AveragePool",
        "x",
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 0, 0],
        count_include_pad=1,
        ceil_mode=1,
    )
    graph = import_onnx(b.model())
    (y,) = (
        run_graph(graph, {"x": np.ones((1, 1, 4, 4), np.float32)})[name] for name in graph.outputs
    )
    assert graph.shapes[graph.outputs[0]] == (1, 1, 2, 2)
    np.testing.assert_allclose(y[0, 0], [[4 / 9, 6 / 9], [6 / 9, 1]], rtol=1e-6)
    b = B(["N", 1, 5, 5])
    b.op("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2], count_include_pad=1, ceil_mode=1)
    graph = import_onnx(b.model())
    y = run_graph(graph, {"x": np.ones((1, 1, 5, 5), np.float32)})[graph.outputs[0]]
    np.testing.assert_allclose(y, np.ones((1, 1, 3, 3)))


def test_shape_arithmetic_folds() -> None:
    """`x.view(x.size(0), -1)` and a batch norm that was written as
    arithmetic on reshaped constants.
    """
    b = B(["N", 4, 3, 3])
    gamma = b.op("Unsqueeze", b.op("Sqrt", b.constant(np.abs(b.normal(4)))), b.ints(1, 2))
    beta = b.op("Reshape", b.constant(b.normal(4)), b.ints(1, 4, 1, 1))
    y = b.op("Add", b.op("Mul", gamma, "x"), beta)
    batch = b.op("Gather", b.op("Shape", y), b.constant(0, np.int64))
    target = b.op("Concat", b.op("Unsqueeze", batch, b.ints(0)), b.ints(-1), axis=0)
    b.op("Reshape", y, target)
    model = b.model()
    graph = import_onnx(model)
    assert [node.op for node in graph.nodes] == ["Scale", "AddConst", "Reshape"]
    x = np.random.default_rng(0).standard_normal((1, 4, 3, 3)).astype(np.float32)
    np.testing.assert_allclose(
        run_graph(graph, {"x": x})[graph.outputs[0]], run_model(model, x)[0], rtol=1e-5
    )


def test_constant_nodes_and_constant_conditions() -> None:
    b = B(["N", 1, 4])
    value = b.op("Constant", value=numpy_helper.from_array(np.array([2.0], np.float32)))
    rank = b.op("Size", b.op("Shape", "x"))
    condition = b.op("Equal", rank, b.constant(3, np.int64))
    then = helper.make_graph(
        [helper.make_node("Mul", ["x", value], ["doubled"])],
        "then",
        [],
        [helper.make_tensor_value_info("doubled", 1, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Tanh", ["x"], ["bent"])],
        "else",
        [],
        [helper.make_tensor_value_info("bent", 1, None)],
    )
    b.op("If", condition, then_branch=then, else_branch=other)
    graph = import_onnx(b.model())
    assert [node.op for node in graph.nodes] == ["Transpose", "Scale", "Transpose"] or [
        n.op for n in graph.nodes
    ] == ["Scale"]
    np.testing.assert_allclose(
        run_graph(graph, {"x": np.ones((1, 1, 4), np.float32)})[graph.outputs[0]],
        np.full((1, 1, 4), 2),
    )


def test_float16_weights_become_float32() -> None:
    b = B(["N", 3, 5, 5])
    half = b.constant(b.normal(2, 3, 3, 3), np.float16)
    b.op("Conv", "x", b.op("Cast", half, to=TensorProto.FLOAT))
    model = b.model()
    graph = import_onnx(model)
    assert graph.nodes[0].consts["weight"].dtype == np.float32
    x = np.random.default_rng(0).standard_normal((1, 3, 5, 5)).astype(np.float32)
    np.testing.assert_allclose(
        run_graph(graph, {"x": x})[graph.outputs[0]], run_model(model, x)[0], rtol=1e-4, atol=1e-5
    )


def test_a_model_wholly_in_float16() -> None:
    b = B(["N", 3, 5, 5])
    b.op("Relu", b.op("Conv", "x", b.constant(b.normal(2, 3, 3, 3), np.float16)))
    model = b.model()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    graph = import_onnx(model)
    assert graph.nodes[0].consts["weight"].dtype == np.float32


def test_fixed_batch_becomes_one() -> None:
    b = B([8, 4, 3, 3])
    b.gemm(b.op("Reshape", b.op("Relu", "x"), b.ints(8, 36)), 36, 2)
    graph = import_onnx(b.model())
    assert graph.shapes["x"] == (1, 4, 3, 3)
    assert graph.shapes[graph.outputs[0]] == (1, 2)


def test_open_size_is_resolved_by_input_shape() -> None:
    b = B(["N", 3, "height", "width"])
    b.op("GlobalAveragePool", b.conv("x", 3, 2, 3))
    model = b.model()
    with pytest.raises(BadModel, match=r"'x' is open, \(N, 3, height, width\).*--input-shape"):
        import_onnx(model)
    assert import_onnx(model, (3, 8, 9)).shapes["x"] == (1, 3, 8, 9)
    assert import_onnx(model, (1, 3, 8, 9)).shapes["x"] == (1, 3, 8, 9)
    for wrong, message in (
        ((4, 8, 9), "contradicts"),
        ((2, 3, 8, 9), "batch"),
        ((8, 9), "dimensions"),
        ((3, 0, 9), "positive"),
    ):
        with pytest.raises(BadInput, match=message):
            import_onnx(model, wrong)


def test_outputs_keep_their_names_and_order() -> None:
    b = B(["N", 4])
    first = b.op("Relu", "x")
    same = b.op("Identity", first)
    second = b.gemm(first, 4, 2)
    graph = import_onnx(b.model(second, first, same))
    assert [form.name for form in result_forms(graph)] == [second, first, same]
    assert graph.outputs == (second, first), "a value is revealed once"
    verify(graph)


def test_model_local_functions_are_inlined() -> None:
    b = B(["N", 4])
    b.nodes.append(helper.make_node("Twice", ["x"], ["y"], domain="local", name="call"))
    model = b.model("y")
    body = [helper.make_node("Add", ["a", "a"], ["b"], name="inner")]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "Twice", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    graph = import_onnx(model)
    assert [node.op for node in graph.nodes] == ["Add"]
