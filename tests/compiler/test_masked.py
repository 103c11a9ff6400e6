"""Assignments under a mask become a Where of the client's expression, or are refused by name."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from moiety.compiler.ir.evaluate import results
from moiety.compiler.onnx_import.load import import_onnx
from moiety.protocols.errors import BadModel
from tests.support.masked import chosen, normalised, number, places, put_by_count
from tests.support.onnx_models import Build, build_model, run_model, typed
from tests.support.onnx_models import ModelBuilder as B

THRESHOLDS = [[0.3, np.nan, 0.5, 0.6, 0.2, np.nan]]


def model_of(build: Build) -> onnx.ModelProto:
    return typed(build_model(["N", 6], build))


@pytest.mark.parametrize("by_slice", [False, True])
def test_every_label_is_moved_by_its_own_threshold(by_slice: bool) -> None:
    """The formula, whatever number of labels lies below; NaN thresholds give one half."""
    model = model_of(lambda b: normalised(b, b.op("Sigmoid", "x"), THRESHOLDS, by_slice))
    graph = import_onnx(model)
    for level in (-9.0, -1.0, 0.0, 1.0, 9.0):
        x = (np.random.default_rng(4).standard_normal((1, 6)) + level).astype(np.float32)
        (found,) = results(graph, {"x": x}).values()
        (expected,) = run_model(model, x)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert (found[0, [1, 5]] == 0.5).all()


def test_logits_under_a_mask_are_revealed() -> None:
    """Thresholds of the logits themselves, and elements that only a mask's own can read."""

    def build(b: B) -> str:
        mask = b.op("Greater", "x", number(b, 0))
        values = b.op("Exp", b.op("Mul", chosen(b, "x", mask), chosen(b, "x", mask)))
        return put_by_count(b, b.op("Tanh", "x"), mask, values)

    model = model_of(build)
    x = np.random.default_rng(0).standard_normal((1, 6)).astype(np.float32)
    (found,) = results(import_onnx(model), {"x": x}).values()
    np.testing.assert_allclose(found, run_model(model, x)[0], rtol=1e-5)


def mask_of(b: B, limit: float = 0.0) -> str:
    return b.op("Greater", "x", number(b, limit))


def first_two(b: B) -> str:
    return b.op("Slice", chosen(b, "x", mask_of(b)), b.ints(0), b.ints(2), b.ints(0))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b: chosen(b, "x", mask_of(b)), "output .* has as many elements as a mask is true"),
        (lambda b: places(b, mask_of(b)), "output .* has as many elements as a mask is true"),
        (
            lambda b: put_by_count(b, "x", mask_of(b), chosen(b, "x", mask_of(b, 0.5))),
            "Expand .* under one mask to the number of another",
        ),
        (
            lambda b: b.op(
                "ScatterND", "x", places(b, mask_of(b)), chosen(b, "x", mask_of(b, 0.5))
            ),
            "ScatterND .* were not chosen under the same one",
        ),
        (
            lambda b: b.op("Add", chosen(b, "x", mask_of(b)), chosen(b, "x", mask_of(b, 0.5))),
            "Add .* whose number is not known",
        ),
        (lambda b: b.op("Softmax", chosen(b, "x", mask_of(b))), "Softmax .* which is not known"),
        (first_two, "Slice .* whose number is not known"),
        (
            lambda b: b.op("GatherND", b.op("Sigmoid", "x"), b.constant([[0, 1]], np.int64)),
            "GatherND .* not those of a mask",
        ),
        (lambda b: b.op("NonZero", b.op("Sigmoid", "x")), "NonZero .* no mask"),
        (
            lambda b: b.op("Expand", b.op("Sigmoid", "x"), b.op("ArgMax", "x", axis=1)),
            "Expand .* shape is computed from the input",
        ),
    ],
)
def test_what_depends_on_their_number_is_refused(build: Build, message: str) -> None:
    with pytest.raises(BadModel, match=message):
        import_onnx(model_of(build))
