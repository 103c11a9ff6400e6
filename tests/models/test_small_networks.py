"""One small network per family: its exported forms, import, passes, compile; the cleartext executor
against onnxruntime; two parties.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from moiety.compiler.compile import Compiled, CompileOptions, compile_model
from moiety.compiler.planning.options import PlanOptions
from moiety.protocols.arrays import F32
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support import nets
from tests.support.graphs import PRECISE
from tests.support.onnx_models import ModelBuilder, run_model
from tests.support.whole_run import check_whole_run

EXACT = PlanOptions(rounding="exact")


@pytest.mark.parametrize("gammas", ["ordinary", "hostile"])
@pytest.mark.parametrize("name", nets.NETWORKS)
def test_small_networks_fold_to_the_same_function_and_tell_images_apart(
    name: str, gammas: str
) -> None:
    batch = nets.random_images((3, 16, 16), 4, seed=7)
    separate = nets.run_onnx(nets.NETWORKS[name](gammas=gammas), batch)
    folded = nets.run_onnx(nets.NETWORKS[name](gammas=gammas, batch_norm="folded", opset=13), batch)
    np.testing.assert_allclose(separate, folded, atol=1e-4)
    assert separate.std(0).max() > 0.05
    assert np.abs(separate).max() < 30


def test_hostile_batch_norms_hold_every_kind_of_gamma() -> None:
    model = nets.small_densenet(stem=28, gammas="hostile")
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    norm = next(node for node in model.graph.node if node.op_type == "BatchNormalization")
    gamma, beta = found[norm.input[1]], found[norm.input[2]]
    assert (gamma < -0.4).any()
    for kind in (gamma == 0, (gamma != 0) & (np.abs(gamma) < 1e-5)):
        assert {*np.sign(beta[kind])} == {-1.0, 1.0}
    small = (np.abs(gamma) < 0.1) & (np.abs(gamma) > 1e-3)
    assert {*np.sign(gamma[small])} == {-1.0, 1.0}
    assert np.abs(beta[small] / gamma[small]).min() > 30


@dataclass(frozen=True)
class Case:
    """A network with its compiled forms; images the calibration has not seen, and
    what onnxruntime says of them.
    """

    precise: Compiled
    exact: Compiled
    images: F32
    expected: F32


@cache
def case(name: str) -> Case:
    model = nets.NETWORKS[name](image=16)
    calibration = nets.random_images((3, 16, 16), n=24, seed=1)
    images = nets.random_images((3, 16, 16), n=3, seed=77)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        precise, exact = (
            compile_model(path, calibration, CompileOptions(plan)) for plan in (PRECISE, EXACT)
        )
    return Case(precise, exact, images, nets.run_onnx(model, images))


@pytest.mark.parametrize("name", nets.NETWORKS)
def test_fixed_point_is_the_float_network(name: str) -> None:
    """Closely with wide numbers; within a few hundredths of the logits'
    size with the default widths.
    """
    given = case(name)
    size = np.abs(given.expected).max()
    for compiled, tolerance in (
        (given.precise, 0.005),
        (given.exact, 0.1 if name in ("unet-linear", "unet-aligned") else 0.05),
    ):
        executor = CleartextExecutor(compiled.program, compiled.weights, np.random.default_rng(2))
        found = np.stack([executor.run(image)["logits"] for image in given.images])
        np.testing.assert_allclose(found, given.expected, atol=tolerance * size)


@pytest.mark.parametrize("name", nets.NETWORKS)
def test_two_parties_compute_the_oracles_bits(name: str) -> None:
    exact = case(name).exact
    check_whole_run(exact.program, exact.weights, case(name).images[0])


def test_signals(tmp_path: Path) -> None:
    """A network of 1-D layers, as for electrocardiograms."""
    b = ModelBuilder(["N", 2, 64])
    x = b.op(
        "Relu",
        b.batchnorm(b.op("Conv", "x", b.constant(b.normal(6, 2, 7)), strides=[2], pads=[3, 3]), 6),
    )
    x = b.op("MaxPool", x, kernel_shape=[3], strides=[2], pads=[1, 1])
    y = b.op("Relu", b.batchnorm(b.op("Conv", x, b.constant(b.normal(6, 6, 3)), pads=[1, 1]), 6))
    x = b.op("Add", x, b.op("Conv", y, b.constant(b.normal(6, 6, 3)), pads=[2, 2], dilations=[2]))
    model = b.model(b.gemm(b.op("Flatten", b.op("GlobalAveragePool", b.op("Relu", x))), 6, 3))
    onnx.save(model, tmp_path / "model.onnx")
    signals = np.random.default_rng(0).standard_normal((20, 2, 64)).astype(np.float32)
    compiled = compile_model(tmp_path / "model.onnx", signals, CompileOptions(EXACT))
    executor = CleartextExecutor(compiled.program, compiled.weights)
    found = np.stack([next(iter(executor.run(signal).values())) for signal in signals])
    (expected,) = run_model(model, signals)
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    check_whole_run(compiled.program, compiled.weights, signals[0])


def test_segmentation_has_a_logit_per_pixel() -> None:
    (output,) = case("unet-transposed").exact.program.outputs.values()
    assert output.shape == (3, 16, 16)
