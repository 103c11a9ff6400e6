"""Networks of several inputs that belong together, as ONNX models, and cases for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from moiety.protocols.arrays import F32
from tests.support.onnx_models import ModelBuilder, run_model

Cases = list[dict[str, F32]]


def clinical(sizes: Sequence[int | str] = (1, 8, 8), **builder: int) -> onnx.ModelProto:
    """A picture `x` and a vector `clinical` of age and sex, in years and 0 or 1, joined before the
    last layer.
    """
    b = ModelBuilder(["N", *sizes], **builder)
    seen = b.op("Relu", b.conv("x", 1, 4, 3, bias=True, pads=[1, 1, 1, 1]))
    seen = b.op("Flatten", b.op("GlobalAveragePool", seen))
    scaled = b.op("Mul", "clinical", b.constant([0.02, 1.0], np.float32))
    joined = b.op("Concat", scaled, seen, axis=1)
    b.gemm(b.op("Relu", b.gemm(joined, 6, 5)), 5, 3)
    return b.model(inputs=[helper.make_tensor_value_info("clinical", TensorProto.FLOAT, ["N", 2])])


def two_views(second: Sequence[int | str] = ("N", 1, 8, 8)) -> onnx.ModelProto:
    """A frontal view `x` and a `lateral` one through a branch each; the features are added."""
    b = ModelBuilder(["N", 1, 8, 8], seed=2)
    branches = [
        b.op("Relu", b.conv(view, 1, 4, 3, bias=True, pads=[1, 1, 1, 1]))
        for view in ("x", "lateral")
    ]
    b.gemm(b.op("Flatten", b.op("GlobalAveragePool", b.op("Add", *branches))), 4, 3)
    view = helper.make_tensor_value_info("lateral", TensorProto.FLOAT, list(second))
    return b.model(inputs=[view])


def fused() -> onnx.ModelProto:
    """Pictures `x`, `z` and `w` of one shape that meet before any layer: in a sum, in a
    concatenation, and in their maximum.
    """
    b = ModelBuilder(["N", 1, 8, 8], seed=3)
    met = [b.op("Sum", "x", "z", "w"), b.op("Concat", "w", "x", axis=1), b.op("Max", "x", "z")]
    seen = b.op("Relu", b.conv(b.op("Concat", *met, axis=1), 4, 4, 3, bias=True))
    b.gemm(b.op("Flatten", b.op("GlobalAveragePool", seen)), 4, 3)
    others = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1, 8, 8]) for name in "zw"
    ]
    return b.model(inputs=others)


def clinical_cases(count: int, seed: int = 0) -> Cases:
    rng = np.random.default_rng(seed)
    return [
        {
            "x": rng.normal(size=(1, 8, 8)).astype(np.float32),
            "clinical": np.array([rng.integers(18, 95), rng.integers(2)], np.float32),
        }
        for _ in range(count)
    ]


def view_cases(count: int, seed: int = 0) -> Cases:
    rng = np.random.default_rng(seed)
    names = ("x", "lateral")
    return [
        {name: rng.normal(size=(1, 8, 8)).astype(np.float32) for name in names}
        for _ in range(count)
    ]


def fused_cases(count: int, seed: int = 0) -> Cases:
    """Of sizes far apart."""
    rng = np.random.default_rng(seed)
    sizes = {"x": 1, "z": 20, "w": 4}
    return [
        {
            name: (rng.normal(size=(1, 8, 8)) * size).astype(np.float32)
            for name, size in sizes.items()
        }
        for _ in range(count)
    ]


def expected(model: onnx.ModelProto, cases: Iterable[dict[str, F32]]) -> F32:
    """The one output of each case, by onnxruntime."""
    found = [run_model(model, {name: t[None] for name, t in case.items()})[0] for case in cases]
    return np.concatenate(found)
