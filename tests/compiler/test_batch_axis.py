"""The batch axis that a model is given: `rewritten(x[None]) == original(x)[None]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from moiety.compiler.compile import CompileOptions
from moiety.compiler.compile_files import Pictures, compile_files
from moiety.compiler.description import Described
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.onnx_import.batch_axis import with_batch_axis
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.simulate import simulate
from moiety.protocols.errors import BadModel
from moiety.runtime.cli.verdicts import Given
from tests.support.onnx_models import ModelBuilder as B
from tests.support.onnx_models import build_model, run_model


def small_network(b: B) -> str:
    """Which makes a batch by itself."""
    image = b.op("Unsqueeze", "x", b.ints(0))
    maps = b.op("Relu", b.batchnorm(b.conv(image, 3, 4, 3, bias=True), 4))
    pooled = b.op("GlobalAveragePool", b.op("MaxPool", maps, kernel_shape=[2, 2]))
    return b.op("Squeeze", b.gemm(b.op("Flatten", pooled), 4, 2), b.ints(0))


FORMS: dict[str, tuple[Sequence[int], Callable[[B], str]]] = {
    "image": ([3, 9, 8], lambda b: small_network(b)),
    "vector": ([5], lambda b: b.op("Relu", b.op("Add", "x", b.constant(b.normal(5))))),
    "larger-constant": ([4, 5], lambda b: b.op("Mul", "x", b.constant(b.normal(3, 4, 5)))),
    "ranks": (
        [3, 4],
        lambda b: b.op("Add", "x", b.op("ReduceMean", "x", axes=[0], keepdims=0)),
    ),
    "concat": ([3, 4], lambda b: b.op("Concat", "x", b.op("Neg", "x"), axis=0)),
    "split": ([4, 3], lambda b: b.multi_op(2, "Split", "x", b.ints(1, 3))[1]),
    "gather": ([4, 3], lambda b: b.op("Gather", "x", b.ints(2, 0, -1))),
    "reduce-all": ([3, 4], lambda b: b.op("ReduceSum", "x", keepdims=0)),
    "reduce-first": ([3, 4], lambda b: b.op("ReduceMax", "x", axes=[0])),
    "cumsum": ([3, 4], lambda b: b.op("CumSum", "x", b.constant(0, np.int64))),
    "squeeze": ([1, 3, 1], lambda b: b.op("Squeeze", "x")),
    "unsqueeze": ([3], lambda b: b.op("Unsqueeze", "x", b.ints(0, 2))),
    "reshape": ([3, 4], lambda b: b.op("Reshape", "x", b.ints(2, -1))),
    "flatten": ([2, 3, 4], lambda b: b.op("Flatten", "x", axis=2)),
    "transpose": ([2, 3, 4], lambda b: b.op("Transpose", "x", perm=[2, 0, 1])),
    "transpose-default": ([2, 3, 4], lambda b: b.op("Transpose", "x")),
    "slice": ([5, 4], lambda b: b.op("Slice", "x", b.ints(3, 1), b.ints(-6, 3), "", b.ints(-1, 1))),
    "expand": ([3, 1], lambda b: b.op("Expand", "x", b.ints(2, 1, 4))),
    "tile": ([2, 3], lambda b: b.op("Tile", "x", b.ints(3, 2))),
    "pad": ([2, 3], lambda b: b.op("Pad", "x", b.ints(1, 0, 0, 2), b.constant(1.5, np.float32))),
    "matrix": ([3, 4], lambda b: b.op("MatMul", "x", b.constant(b.normal(4, 2)))),
    "matrix-on-the-left": ([3, 4], lambda b: b.op("MatMul", b.constant(b.normal(2, 3)), "x")),
    "vector-by-matrices": ([4], lambda b: b.op("MatMul", "x", b.constant(b.normal(2, 4, 3)))),
    "matrices": ([2, 3, 4], lambda b: b.op("MatMul", "x", b.constant(b.normal(2, 4, 5)))),
    "matrix-by-vector": ([2, 3, 4], lambda b: b.op("MatMul", "x", b.constant(b.normal(4)))),
    "inner-product": ([4], lambda b: b.op("MatMul", "x", b.constant(b.normal(4)))),
    "gemm": (
        [4, 3],
        lambda b: b.op(
            "Gemm",
            "x",
            b.constant(b.normal(5, 4)),
            b.constant(b.normal(3, 5)),
            transA=1,
            transB=1,
            alpha=0.5,
            beta=2.0,
        ),
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_rewritten(name: str) -> None:
    shape, build = FORMS[name]
    b = B(shape)
    model = b.model(build(b))
    rewritten = with_batch_axis(model)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    (expected,) = run_model(model, x)
    (found,) = run_model(rewritten, x[None])
    np.testing.assert_allclose(found, expected[None], atol=1e-6)
    graph = import_onnx(rewritten)
    result = run_graph(graph, {"x": x[None]})[graph.outputs[0]]
    assert result.shape == (1, *expected.shape)
    np.testing.assert_allclose(result, expected[None], atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "build", "message"),
    [
        (
            [2, 3, 4, 4],
            lambda b: b.op("MaxPool", "x", kernel_shape=[2, 2]),
            "MaxPool 'maxpool0': its operand .* is no batch",
        ),
        (["N", 3], lambda b: b.op("Squeeze", b.op("Neg", "x")), "must fix all sizes"),
        (
            [3, 4],
            lambda b: b.op("Gemm", b.constant(b.normal(2, 3)), "x"),
            "only its first matrix may be computed",
        ),
    ],
)
def test_refusals(shape: list[int | str], build: Callable[[B], str], message: str) -> None:
    b = B(shape)
    with pytest.raises(BadModel, match=message):
        with_batch_axis(b.model(build(b)))


def test_the_command_gives_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Compiled, and compared with the model as it is."""
    onnx.save(build_model([3, 9, 8], small_network), tmp_path / "m.onnx")
    files = [tmp_path / f"{number}.npy" for number in range(4)]
    for number, file in enumerate(files):
        np.save(file, np.random.default_rng(number).standard_normal((3, 9, 8), np.float32))
    folder, widths = tmp_path / "compiled", PlanOptions(activation_bits=14, weight_bits=12)
    given = Pictures(files, Described("none"))
    with pytest.raises(BadModel):
        compile_files(tmp_path / "m.onnx", folder, given, CompileOptions(widths))
    compile_files(tmp_path / "m.onnx", folder, given, CompileOptions(widths, batch_axis=False))
    simulate(folder, Given(files), tmp_path / "m.onnx", seed=0, batch_axis=False)
    said = capsys.readouterr().out
    assert 0 < float(said.split("from the float model: ")[1].split()[0]) < 0.01
