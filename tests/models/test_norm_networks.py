"""Networks with norms: every exported form, fixed point, two parties."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest

from moiety.compiler.compile import Compiled, CompileOptions, compile_model
from moiety.compiler.planning.options import PlanOptions
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support import nets
from tests.support.graphs import PRECISE
from tests.support.norm_nets import NETWORKS
from tests.support.whole_run import check_whole_run

IMAGES = nets.random_images((3, 16, 16), n=3, seed=77)
PLANS = {
    "precise": PRECISE,
    "exact": PlanOptions(),
    "stochastic": PlanOptions(rounding="stochastic"),
}


@cache
def compiled(name: str, plan: str, opset: int = 17) -> Compiled:
    calibration = nets.random_images((3, 16, 16), n=24, seed=1)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(NETWORKS[name](opset=opset), path)
        return compile_model(path, calibration, CompileOptions(PLANS[plan]))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", NETWORKS)
def test_fixed_point_is_the_float_network(name: str, plan: str) -> None:
    expected, made = nets.run_onnx(NETWORKS[name](), IMAGES), compiled(name, plan)
    executor = CleartextExecutor(made.program, made.weights, np.random.default_rng(2))
    found = np.stack([executor.run(image)["logits"] for image in IMAGES])
    tolerance = 0.005 if plan == "precise" else 0.05
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    assert not executor.overflows


def test_older_forms_of_a_norm_are_the_same_program() -> None:
    """ConvNeXt with a node for each norm, and with those that it was written in before."""
    new, old = (compiled("convnext", "exact", opset).program for opset in (17, 13))
    assert [step.kind for step in new.steps] == [step.kind for step in old.steps]


@pytest.mark.parametrize("name", NETWORKS)
def test_two_parties_compute_the_oracles_bits(name: str) -> None:
    exact = compiled(name, "exact")
    check_whole_run(exact.program, exact.weights, IMAGES[0])
