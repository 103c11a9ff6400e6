"""ONNX's own backend node tests: each gives the right result or is refused with
a reason; the table says which.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks.onnx_support import (
    FIRST,
    FIXED_POINT_ERROR,
    OUTPUT,
    Result,
    node_tests,
    onnx_version,
    run,
    table,
)
from moiety.compiler.onnx_import.supported import describe, supported_ops


@pytest.fixture(scope="module")
def results() -> list[Result]:
    """`run` raises on a wrong result."""
    return [run(op, case) for op, case in node_tests(supported_ops())]


def test_most_pass_and_the_others_have_a_reason(results: list[Result]) -> None:
    passed = [result for result in results if result.refusal is None]
    assert len(passed) >= 450
    first = [result for result in passed if result.op in FIRST]
    assert len(first) >= 240
    assert all(
        result.error <= 1e-3 and result.fixed_error <= FIXED_POINT_ERROR for result in passed
    )
    assert all(result.refusal for result in results if result.refusal is not None)


PASS_NONE = {
    "DequantizeLinear": "its tests have integers and a secret scale",
    "QuantizeLinear": "its integers are read by a DequantizeLinear alone",
    "GatherND": "its places are those of a mask",
    "IsNaN": "its tests' inputs hold NaN, which calibration images do not",
    "MeanVarianceNormalization": "its test has a mean over three images",
    "ScatterND": "its places are those of a mask",
}
"""Operators whose tests are all of what is not supported, and why."""


def test_every_operator_with_tests_passes_some(results: list[Result]) -> None:
    tested = {result.op for result in results}
    passed = {
        result.op for result in results if result.refusal is None and result.fixed_refusal is None
    }
    assert len(tested) > 30
    assert tested - passed == PASS_NONE.keys()


def test_a_wrong_result_is_noticed() -> None:
    op, case = next(item for item in node_tests(["Relu"]) if item[1].name == "test_relu")
    inputs, outputs = case.data_sets[0]
    broken = type(case)(**{**vars(case), "data_sets": [(inputs, [np.asarray(outputs[0]) + 1])]})
    with pytest.raises(AssertionError, match="test_relu: the Graph is off"):
        run(op, broken)


def test_every_importer_says_what_it_supports() -> None:
    assert all(re.fullmatch(r"\S.*\.", describe(op)) for op in supported_ops())


def test_the_table_is_up_to_date(results: list[Result]) -> None:
    text = OUTPUT.read_text(encoding="utf-8")
    if onnx_version() not in text:
        pytest.skip("the table was made with another version of onnx, which has other node tests")
    assert text == table(results)
