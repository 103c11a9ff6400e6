"""Shared comparisons: the same integers as without, in the oracle and
between two parties, for fewer bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from moiety.compiler.compile import Compiled, CompileOptions, compile_model
from moiety.compiler.planning.options import PlanOptions
from moiety.protocols import ring
from moiety.protocols.arrays import F32
from moiety.protocols.compare.digits import MAX_THRESHOLDS
from moiety.protocols.compare.relu import gates
from moiety.runtime import program as ir
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support import nets
from tests.support.two_party import run_two_party, share
from tests.support.whole_run import check_whole_run


def compiled(
    tmp_path: Path, builder: str, share_gates: bool, rounding: ir.Rounding = "exact"
) -> tuple[Compiled, F32]:
    """A network of hostile batch norms, and images that its calibration has not seen."""
    model = tmp_path / f"{builder}.onnx"
    onnx.save(nets.NETWORKS[builder](gammas="hostile"), model)
    channels = onnx.load(model).graph.input[0].type.tensor_type.shape.dim
    shape = tuple(d.dim_value for d in channels)[1:]
    images = nets.random_images(shape, 12, seed=3)
    options = CompileOptions(PlanOptions(rounding=rounding, share_gates=share_gates))
    return compile_model(model, images, options), nets.random_images(shape, 3, seed=4)


@pytest.mark.parametrize("builder", sorted(nets.NETWORKS))
def test_same_integers(tmp_path: Path, builder: str) -> None:
    plain, images = compiled(tmp_path, builder, False)
    shared, _ = compiled(tmp_path, builder, True)
    for image in images:
        one = CleartextExecutor(plain.program, plain.weights).run_integers(image)
        two = CleartextExecutor(shared.program, shared.weights).run_integers(image)
        for a, b in zip(one.values(), two.values(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_dense_blocks_share_and_save(tmp_path: Path) -> None:
    plain, images = compiled(tmp_path, "densenet", False)
    shared, _ = compiled(tmp_path, "densenet", True)
    made = [s for s in shared.program.steps if isinstance(s, ir.Gates)]
    assert any(s.shape[0] > 1 for s in made)
    assert image_cost(shared.program).total < image_cost(plain.program).total
    check_whole_run(shared.program, shared.weights, images[0])


@pytest.mark.parametrize("count", [1, 2, 7, MAX_THRESHOLDS])
def test_gates_against_many_thresholds(count: int) -> None:
    bits, rng = 15, np.random.default_rng(count)
    x = ring.reduce(rng.integers(0, 2**64, (6, 5, 4), np.uint64), bits)
    c = ring.reduce(rng.integers(0, 2**64, (count, 6, 1, 1), np.uint64), bits)
    x0, x1 = share(x, bits, rng)
    server, client = run_two_party(
        lambda s: gates(s, x0, bits, count, c), lambda s: gates(s, x1, bits, count)
    )
    assert server.shape == (count, *x.shape)
    np.testing.assert_array_equal(
        server ^ client, ring.to_signed(ring.reduce(x + c, bits), bits) >= 0
    )


def test_stochastic_rounding_without_sharing_is_left_alone(tmp_path: Path) -> None:
    plain, _ = compiled(tmp_path, "vgg", False, "stochastic")
    shared, _ = compiled(tmp_path, "vgg", True, "stochastic")
    assert not [s for s in shared.program.steps if isinstance(s, ir.Gates)]
    assert plain.program.steps == shared.program.steps


def test_a_truncation_is_made_together_with_the_gates_after_it(tmp_path: Path) -> None:
    """Nothing is shared here, but every ReLU after an exact truncation is."""
    shared, images = compiled(tmp_path, "vgg", True)
    steps = shared.program.steps
    gates = [s for s in steps if isinstance(s, ir.Gates)]
    assert gates
    assert all(s.joint and s.shape[0] == 1 for s in gates)
    assert all(isinstance(steps[s.inputs[0]], ir.Truncate) for s in gates)
    check_whole_run(shared.program, shared.weights, images[0])
