"""Where the client may expect what is revealed: the calibrated range and its margin, outward."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.compiler.compile import CompileOptions
from moiety.compiler.compile_files import Pictures, compile_files
from moiety.compiler.description import Described
from moiety.compiler.lowering.lower import lower
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import make_plan
from moiety.compiler.planning.ranges import Ranges, calibrate
from moiety.compiler.planning.result_ranges import outward
from moiety.compiler.simulate import simulate
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.program import Program
from moiety.runtime.program.doubts import OUTPUT_RANGE
from tests.support.graphs import GraphMaker
from tests.support.onnx_models import ModelBuilder, build_model

TWO_BITS = PlanOptions(margin_bits=2)


@given(st.floats(1e-12, 1e12))
def test_outward_is_two_significant_bits(magnitude: float) -> None:
    rounded = outward(magnitude)
    assert magnitude <= rounded <= 1.5 * magnitude
    assert np.frexp(rounded)[0] in (0.5, 0.75)


def test_outward_of_nothing() -> None:
    assert outward(0.0) == 0.0


def lowered(kind: str, options: PlanOptions) -> tuple[Program, Ranges, str]:
    """A network that ends in what is named: a layer, one behind a ReLU, two side by side, two
    multiplied, or nothing.
    """
    maker = GraphMaker(2, 8, 8, seed=4)
    one, other = maker.conv("x", 3), maker.conv("x", 3)
    output = {
        "layer": one,
        "relu": maker.add("Relu", one),
        "layers": maker.concat(one, other),
        "product": maker.add("Mul", one, other),
        "image": "x",
    }[kind]
    graph = legalise(maker.graph(output))
    ranges = calibrate(graph, maker.images(12))
    program, _ = lower(make_plan(graph, ranges, options))
    return program, ranges, graph.outputs[0]


@pytest.mark.parametrize("kind", ["layer", "relu", "layers", "product", "image"])
def test_it_holds_the_calibrated_range_and_its_margin(kind: str) -> None:
    program, ranges, output = lowered(kind, TWO_BITS)
    (step,) = program.outputs.values()
    low, high = ranges.low[output].min(), ranges.high[output].max()
    reach = max(-low, high)
    expected = step.expected_range()
    assert expected is not None
    least, most = (1 << (step.bits - 1)) * step.scale * np.array([-1, 1])
    for bound, wanted, ring in (
        (-expected[0], 3 * reach - low, -least),
        (expected[1], 3 * reach + high, most),
    ):
        assert min(wanted, ring) - step.scale <= bound <= min(1.5 * wanted + step.scale, ring)
    assert any(each.startswith("where the revealed values are") for each in program.disclosed)


def test_minimal_disclosure_says_nothing_of_it() -> None:
    program, _, _ = lowered("layer", PlanOptions(disclose="minimal", input_reach=4.0))
    (step,) = program.outputs.values()
    assert step.expected is None
    assert program.disclosed == ()


def weighted_sum(b: ModelBuilder) -> str:
    return b.op("Conv", "x", b.constant(np.full((1, 1, 8, 8), 0.125, np.float32)))


def test_simulate_warns_of_an_image_of_another_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pixels as large as those of the calibration, which is of noise, but all of one sign; nothing
    overflows.
    """
    rng = np.random.default_rng(3)
    like, unlike = tmp_path / "like.npy", tmp_path / "unlike.npy"
    np.save(like, rng.uniform(-2, 2, (1, 8, 8)).astype(np.float32))
    np.save(unlike, np.full((1, 8, 8), 1.9, np.float32))
    model, folder = tmp_path / "m.onnx", tmp_path / "compiled"
    onnx.save(build_model(["N", 1, 8, 8], weighted_sum), model)
    options = CompileOptions(PlanOptions(activation_bits=14, weight_bits=12, margin_bits=1))
    compile_files(model, folder, Pictures([like], Described("none")), options)
    capsys.readouterr()
    simulate(folder, Given([like, unlike]), None, seed=0)
    (warning,) = (line for line in capsys.readouterr().err.splitlines() if OUTPUT_RANGE in line)
    assert f"{unlike}: {OUTPUT_RANGE}: 1 of 1 values of " in warning
