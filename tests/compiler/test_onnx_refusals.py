"""ONNX import: the message of every refusal, and files that are damaged or in pieces."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from moiety.compiler.ir.verify import verify
from moiety.compiler.onnx_import.load import import_onnx
from moiety.protocols.errors import BadInput, BadModel, MoietyError
from tests.support.onnx_models import Build, ModelBuilder, build_model

B = ModelBuilder

IMAGE: list[int | str] = ["N", 4, 9, 8]


def before_pool(op: str, operand: tuple[int, ...] | None = None, **attrs: Any) -> Build:
    """An operator with a secret layer behind it."""

    def build(b: B) -> str:
        operands = () if operand is None else (b.ints(*operand),)
        return b.op("GlobalAveragePool", b.op(op, "x", *operands, **attrs))

    return build


@pytest.mark.parametrize(
    ("shape", "build", "message"),
    [
        (
            IMAGE,
            lambda b: b.op("Cos", "x"),
            "Cos 'cos0': not supported; express it with the operators",
        ),
        (IMAGE, lambda b: b.conv(b.op("Softmax", "x", axis=1), 4, 4, 3), "stands before Conv"),
        (
            IMAGE,
            lambda b: b.op("Clip", "x", b.constant(1, np.float32), b.constant(-1, np.float32)),
            r"bounds \(1, -1\)",
        ),
        (
            ["N", 4, 5],
            lambda b: b.op("Mul", "x", b.op("Slice", "x", b.ints(0), b.ints(3), b.ints(1))),
            r"tensors of shapes \(1, 4, 5\) and \(1, 3, 5\) do not broadcast",
        ),
        (
            IMAGE,
            lambda b: b.conv(b.op("Pow", "x", b.constant(0.7, np.float32)), 4, 4, 3),
            "exponents from 0.7 to 0.7; one",
        ),
        (IMAGE, lambda b: b.op("Div", "x", b.constant(0, np.float32)), "NaN or infinite"),
        (IMAGE, lambda b: b.op("HardSigmoid", "x", alpha=math.nan), "its scale is NaN or infinite"),
        (IMAGE, lambda b: b.op("MaxPool", "x", kernel_shape=[2, 2], strides=[0, 1]), "strides="),
        (
            IMAGE,
            lambda b: b.conv("x", 4, 2, 1, strides=[4, 4], auto_pad="SAME_UPPER"),
            "different runtimes; write the pads out",
        ),
        (
            IMAGE,
            lambda b: b.op(
                "GlobalAveragePool", b.op("MaxPool", "x", kernel_shape=[2, 2], ceil_mode=2)
            ),
            "ceil_mode=2 is neither 0 nor 1",
        ),
        (
            ["N", 4, 4],
            lambda b: b.op("Add", "x", b.op("ReduceMean", "x", axes=[2], keepdims=0)),
            "they must have one rank",
        ),
        (["N", 4, 4], lambda b: b.op("MatMul", "x", "x"), "two secret tensors"),
        (
            ["N", 4],
            lambda b: b.op("MatMul", b.constant(b.normal(3, 1)), "x"),
            "whose rows are the batch",
        ),
        (
            ["N", 4, 5, 5, 5, 5],
            lambda b: b.op("Conv", "x", b.constant(b.normal(2, 4, 3, 3, 3, 3))),
            "images .*, volumes .* and signals",
        ),
        (IMAGE, before_pool("Transpose", perm=[1, 0, 2, 3]), "moves the batch axis"),
        (IMAGE, before_pool("Reshape", (4, -1)), "does not keep the batch first"),
        (["N", 4, 1, 1], before_pool("Squeeze"), "removes the batch axis"),
        (
            IMAGE,
            lambda b: b.op("Pad", "x", b.ints(0, 0, 1, 1, 0, 0, 1, 1), mode="mirror"),
            "'mirror' is not supported",
        ),
        (IMAGE, lambda b: b.op("MaxPool", "x", kernel_shape=[2, 2], dilations=[0, 2]), "dilations"),
        (IMAGE, before_pool("ReduceMean"), "cannot be reduced"),
        ([3, 4], lambda b: b.op("Unsqueeze", "x", b.ints(0)), "keep the batch first"),
        ([3, 4], lambda b: b.op("Flatten", "x", axis=0), "flatten from axis 1 on"),
        ([3, 4], lambda b: b.op("Slice", "x", b.ints(0), b.ints(2), b.ints(0)), "cuts the batch"),
        (IMAGE, before_pool("Gather", (0,), axis=0), "out of the batch"),
        (
            IMAGE,
            lambda b: b.conv(
                b.op("Cast", b.op("Cast", "x", to=TensorProto.INT64), to=TensorProto.FLOAT), 4, 4, 3
            ),
            "cannot become INT64",
        ),
        (IMAGE, lambda b: b.op("RandomNormalLike", "x"), "inference mode"),
        (IMAGE, lambda b: b.op("Dropout", "x", "", b.constant(True)), "training mode"),
        (
            IMAGE,
            lambda b: [b.op("Neg", "x"), b.op("Relu", b.constant(b.normal(3)))],
            "does not depend on the input",
        ),
        (
            IMAGE,
            lambda b: b.op("Conv", "x", b.constant(np.full((2, 4, 1, 1), np.nan, np.float32))),
            "'c0' has 8 NaN",
        ),
        (
            IMAGE,
            lambda b: b.op(
                "BatchNormalization",
                "x",
                *[b.constant(np.ones(4, np.float32))] * 3,
                b.constant(-np.ones(4, np.float32)),
            ),
            "negative variances",
        ),
        (
            IMAGE,
            lambda b: b.multi_op(
                3,
                "BatchNormalization",
                "x",
                *[b.constant(b.normal(4) + 5)] * 4,
                training_mode=1,
            )[0],
            "training",
        ),
        (
            ["N", 4],
            lambda b: b.op("Gemm", b.op("Relu", "x"), b.constant(b.normal(1, 3)), transA=1),
            "transA=1",
        ),
    ],
)
def test_refusals_name_the_node_and_what_to_do(
    shape: list[int | str], build: Build, message: str
) -> None:
    model = build_model(shape, build)
    with pytest.raises(BadModel, match=message):
        import_onnx(model)


def test_data_dependent_control_flow() -> None:
    b = B(["N", 4])
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"])],
        "then",
        [],
        [helper.make_tensor_value_info("r", 1, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["n"])],
        "else",
        [],
        [helper.make_tensor_value_info("n", 1, None)],
    )
    b.op(
        "If",
        b.op("Cast", b.op("ReduceSum", "x", keepdims=0), to=TensorProto.BOOL),
        then_branch=branch,
        else_branch=other,
    )
    with pytest.raises(BadModel, match="ReduceSum"):
        import_onnx(b.model())


def test_integer_input_and_opsets_and_domains() -> None:
    b = B(["N", 4])
    b.op("Cast", "x", to=TensorProto.FLOAT)
    model = b.model()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.BOOL
    with pytest.raises(BadModel, match="BOOL"):
        import_onnx(model)
    for opset in (6, 26):
        b = B(["N", 4], opset=opset)
        b.op("Relu", "x")
        with pytest.raises(BadModel, match=rf"opset {opset}.*7 to 25.*opset_version=17"):
            import_onnx(b.model())
    b = B(["N", 4])
    b.nodes.append(helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft"))
    model = b.model()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(BadModel, match=r"com\.microsoft\.FusedConv.*custom operators"):
        import_onnx(model)


def _file(tmp_path: Path) -> tuple[Path, onnx.ModelProto]:
    b = B(["N", 3, 8, 8])
    b.op("Relu", b.conv("x", 3, 40, 5))
    path = tmp_path / "model.onnx"
    model = b.model()
    onnx.save_model(model, path)
    return path, model


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path, _ = _file(tmp_path)
    assert import_onnx(path).name == "model"
    data = path.read_bytes()
    for damaged in (
        data[: len(data) // 2],
        data[:5],
        b"",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"not a model",
        bytes(range(256)) * 40,
    ):
        path.write_bytes(damaged)
        with pytest.raises(BadModel, match=r"model\.onnx is no ONNX model"):
            import_onnx(path)
    with pytest.raises(BadInput, match="cannot read the model"):
        import_onnx(tmp_path / "absent.onnx")


def test_damaged_files_never_crash_the_importer(tmp_path: Path) -> None:
    """Bytes overwritten, cut out or cut off: either another valid model, or a MoietyError."""
    b = B(["N", 3, 8, 8])
    b.gemm(
        b.op("Flatten", b.op("MaxPool", b.batchnorm(b.conv("x", 3, 2, 3), 2), kernel_shape=[6, 6])),
        2,
        1,
    )
    data, path, rng = (
        b.model().SerializeToString(),
        tmp_path / "model.onnx",
        np.random.default_rng(0),
    )
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            start = int(rng.integers(len(damaged)))
            damaged[start : start + int(rng.integers(1, 4))] = rng.bytes(int(rng.integers(0, 4)))
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(MoietyError):
            verify(import_onnx(path))


def test_external_data(tmp_path: Path) -> None:
    path, model = _file(tmp_path)
    expected = import_onnx(path)
    onnx.save_model(
        model, path, save_as_external_data=True, location="weights.bin", size_threshold=16
    )
    np.testing.assert_array_equal(
        import_onnx(path).nodes[0].consts["weight"], expected.nodes[0].consts["weight"]
    )
    with pytest.raises(BadModel, match="import the model from its file"):
        import_onnx(onnx.load_model(path, load_external_data=False))
    (tmp_path / "weights.bin").write_bytes(b"short")
    with pytest.raises(BadModel, match=r"stored in 'weights\.bin', which cannot be read"):
        import_onnx(path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BadModel, match=r"stored in 'weights\.bin'.*beside model\.onnx"):
        import_onnx(path)
