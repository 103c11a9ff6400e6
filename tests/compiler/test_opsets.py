"""Opsets 7 to 25: every version that an operator's schema had in them is imported."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import defs

from moiety.compiler.ir.onnx_session import open_session
from moiety.compiler.onnx_import.call import supported_ops
from moiety.compiler.onnx_import.load import NEWEST_OPSET, OLDEST_OPSET, import_onnx
from tests.compiler.test_norms import CASES as NORMS
from tests.compiler.test_onnx_import import FORMS, FORMS_OF_OPSETS, IMAGE
from tests.support.onnx_models import ModelBuilder, build_model


def quantised(b: ModelBuilder) -> str:
    parameters = [b.constant(0.1, np.float32), b.constant(3, np.uint8)]
    return b.op("DequantizeLinear", b.op("QuantizeLinear", "x", *parameters), *parameters)


def open_batch(shape: tuple[int, ...]) -> list[int | str]:
    return ["N", *shape[1:]]


ALL_FORMS = [
    *((OLDEST_OPSET, *form) for form in FORMS.values()),
    *FORMS_OF_OPSETS,
    (10, IMAGE, quantised),
    *((opset, open_batch(shape), build) for shape, opset, build in NORMS.values()),
]


def versions(op: str) -> list[int]:
    """The opsets in which the operator's meaning may have changed, from the oldest that is read."""
    history = {
        schema.since_version
        for schema in defs.get_all_schemas_with_history()
        if schema.name == op and schema.domain == ""
    }
    started = max((version for version in history if version <= OLDEST_OPSET), default=0)
    return sorted(
        max(version, OLDEST_OPSET)
        for version in history
        if started <= version <= min(NEWEST_OPSET, defs.onnx_opset_version())
        and not defs.get_schema(op, version, "").deprecated
    )


def models(op: str, opset: int) -> Iterator[onnx.ModelProto]:
    """All forms of the operator that are valid in the opset."""
    for oldest, shape, build in ALL_FORMS:
        if oldest <= opset:
            model = build_model(shape, build, opset)
            if any(node.op_type == op for node in model.graph.node) and valid(model):
                yield model


def valid(model: onnx.ModelProto) -> bool:
    try:
        onnx.checker.check_model(model)
        open_session(model)
    except Exception:  # a form of another opset; onnxruntime's exceptions share no base class
        return False
    return True


@pytest.mark.parametrize("op", supported_ops())
def test_every_version_of_every_operator(op: str) -> None:
    """Importing compares with onnxruntime."""
    for opset in versions(op):
        found = [import_onnx(model) for model in models(op, opset)]
        assert found, f"{op}: no form of opset {opset} is tested"
