"""A constant before a ReLU becomes its threshold: the same integers,
and ReLU6 shares its comparisons.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from moiety.compiler.compile import Compiled, CompileOptions, compile_graph, compile_model
from moiety.compiler.lowering import lower as lowering
from moiety.compiler.planning.options import PlanOptions
from moiety.runtime import program as ir
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.graphs import GraphMaker
from tests.support.nets import random_images, small_mobilenet

EXACT = CompileOptions(PlanOptions(rounding="exact"))


def count(compiled: Compiled, kind: type[ir.Step]) -> int:
    return sum(isinstance(step, kind) for step in compiled.program.steps)


def test_relu6_compares_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(small_mobilenet(), tmp_path / "model.onnx")
    images = random_images((3, 16, 16), n=12, seed=3)
    fused = compile_model(tmp_path / "model.onnx", images, EXACT)
    monkeypatch.setattr(lowering, "fuse_shifts", lambda steps, tensors: (steps, tensors))
    plain = compile_model(tmp_path / "model.onnx", images, EXACT)
    assert count(fused, ir.AddConst) == 0 < count(plain, ir.AddConst)
    assert count(fused, ir.Gates) >= count(plain, ir.AddConst)
    cheap, dear = image_cost(fused.program), image_cost(plain.program)
    assert cheap.up < dear.up
    assert cheap.down <= dear.down
    for image in images[:3]:
        one, two = (
            CleartextExecutor(each.program, each.weights).run(image)["logits"]
            for each in (fused, plain)
        )
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("shape", "fuses"), [((1, 1, 1, 1), True), ((1, 3, 1, 1), True), ((1, 1, 6, 1), False)]
)
def test_one_value_per_channel(shape: tuple[int, ...], fuses: bool) -> None:
    maker = GraphMaker(2, 6, 6)
    shifted = maker.add(
        "AddConst", maker.conv("x", 3), consts={"value": maker.rng.normal(size=shape)}
    )
    maker.conv(maker.add("Relu", shifted), 2)
    graph, images = maker.graph(), maker.images()
    apart = CompileOptions(replace(EXACT.plan, share_gates=False))
    compiled = compile_graph(graph, images, apart)
    assert count(compiled, ir.AddConst) == (0 if fuses else 1)
    (relu,) = (step for step in compiled.program.steps if isinstance(step, ir.Relu))
    assert relu.affine is fuses
