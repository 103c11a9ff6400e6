"""Small models of the kinds that people bring (tests/data/onnx-cases): compiled and run on integers
they give what onnxruntime gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from moiety.compiler.compile import CompileOptions, compile_model
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.simulate import FloatModel
from moiety.protocols.errors import BadModel
from moiety.runtime.program import Rounding
from moiety.runtime.program.cleartext import CleartextExecutor

CASES = Path(__file__).parents[1] / "data" / "onnx-cases"

WIDE = PlanOptions(activation_bits=16, weight_bits=14, rounding="exact")
TOLERANCES = {"default_bound_unmeetable": 1e-2}
"""Of the largest result, where it is not 1e-3: this one's results are what large numbers leave."""

IMAGES = 4

REFUSED = {"bn_zero_variance": r"divides by zero in 1 of 6 channels.*set epsilon"}
"""Those that have no right value, and why."""

PENDING: dict[str, str] = {}
"""What does not work yet, by what it waits for."""


def names() -> list[object]:
    """Every case that has right values."""
    marks = {
        name: pytest.mark.xfail(raises=BadModel, reason=reason, strict=True)
        for name, reason in PENDING.items()
    }
    return [
        pytest.param(path.stem, marks=marks.get(path.stem, ()))
        for path in sorted(CASES.glob("*.onnx"))
        if path.stem not in REFUSED
    ]


def test_no_case_is_forgotten() -> None:
    assert len(names()) + len(REFUSED) == 25


@pytest.mark.parametrize("name", names())
def test_case(name: str) -> None:
    case = np.load(CASES / f"{name}.npz")
    compiled = compile_model(CASES / f"{name}.onnx", case["x"], CompileOptions(WIDE))
    executor = CleartextExecutor(compiled.program, compiled.weights)
    floats = FloatModel(CASES / f"{name}.onnx", compiled.program)
    tolerance = TOLERANCES.get(name, 1e-3)
    wanted = [case[key] for key in sorted(case) if key.startswith("y")]
    for number, image in enumerate(case["x"][:IMAGES]):
        found = executor.run(image)
        assert list(found) == [result.name for result in compiled.program.results()]
        for value, float_value, right in zip(
            found.values(), floats(image).values(), wanted, strict=True
        ):
            atol = tolerance * np.abs(right).max()
            assert value.shape == right[number].shape
            np.testing.assert_allclose(value, right[number], rtol=0, atol=atol)
            np.testing.assert_allclose(float_value, right[number].ravel(), rtol=0, atol=atol)


PROMISES = ("maxpool_bias", "default_bound_unmeetable", "wide_widths_are_worse")
"""Where the predicted error alone was far too low, or out of the search's reach."""


@pytest.mark.parametrize("rounding", get_args(Rounding))
@pytest.mark.parametrize("name", PROMISES)
def test_the_error_is_the_one_that_was_promised(name: str, rounding: Rounding) -> None:
    """Default options: half of the images calibrate and measure, and the bound holds on the
    others.
    """
    case = np.load(CASES / f"{name}.npz")
    half = len(case["x"]) // 2
    options = CompileOptions(PlanOptions.of_choices(rounding=rounding))
    compiled = compile_model(CASES / f"{name}.onnx", case["x"][:half], options)
    executor = CleartextExecutor(compiled.program, compiled.weights, np.random.default_rng(0))
    (result,) = compiled.program.results()
    found = np.stack([executor.run(image)[result.name] for image in case["x"][half:]])
    error = float(np.sqrt(np.mean((found - case["y0"][half:]) ** 2)))
    report = compiled.report
    assert report.measured_error is not None
    assert report.asked_error is not None
    assert max(report.measured_error.error, error) <= report.asked_error


@pytest.mark.parametrize(("name", "message"), REFUSED.items())
def test_case_without_a_right_value(name: str, message: str) -> None:
    case = np.load(CASES / f"{name}.npz")
    with pytest.raises(BadModel, match=message):
        compile_model(CASES / f"{name}.onnx", case["x"], CompileOptions(WIDE))
