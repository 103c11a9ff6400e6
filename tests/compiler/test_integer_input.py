"""A picture's levels as the input, with the preprocessing inside the model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.onnx_import.load import import_onnx
from moiety.protocols.errors import BadModel
from tests.support.onnx_models import ModelBuilder as B
from tests.support.onnx_models import run_model


def integer_model(b: B, output: str, kind: int = TensorProto.UINT8) -> onnx.ModelProto:
    model = b.model(output)
    model.graph.input[0].type.tensor_type.elem_type = kind
    del model.graph.value_info[:]
    return model


def test_levels_are_real_numbers() -> None:
    b = B([1, 8, 6, 3])
    real = b.op("Cast", b.op("Transpose", "x", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    unit = b.op("Div", real, b.constant(255, np.float32))
    centred = b.op("Sub", unit, b.constant([[[0.5]], [[0.4]], [[0.3]]], np.float32))
    model = integer_model(b, b.conv(centred, 3, 4, 3))
    graph = import_onnx(model)
    x = np.random.default_rng(0).integers(0, 256, (1, 8, 6, 3)).astype(np.uint8)
    (expected,) = run_model(model, x)
    found = run_graph(graph, {"x": x.astype(np.float32)})[graph.outputs[0]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_nothing_may_compute_on_integers() -> None:
    b = B([1, 3, 4, 4])
    halves = b.op("Div", "x", b.constant(2, np.uint8))
    model = integer_model(b, b.op("Cast", halves, to=TensorProto.FLOAT))
    with pytest.raises(BadModel, match="Div 'div0' computes on the integers of input 'x': cast"):
        import_onnx(model)
    b = B([1, 3, 4, 4])
    model = integer_model(b, b.op("Cast", "x", to=TensorProto.FLOAT), TensorProto.BOOL)
    with pytest.raises(BadModel, match="must be a tensor of real numbers, it is BOOL"):
        import_onnx(model)
