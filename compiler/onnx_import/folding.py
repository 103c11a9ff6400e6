"""Constants: the model's own tensors, and nodes that do not depend on the input."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from moiety.compiler.ir.graph import Array
from moiety.compiler.onnx_import.call import Call
from moiety.compiler.onnx_import.refusals import CONTROL_FLOW, RANDOM
from moiety.protocols.errors import BadModel

OF_SHAPES = ("Shape", "Size")
"""Ops that look at nothing but a shape, and shapes are public."""


def array_of(tensor: onnx.TensorProto) -> Array:
    """The tensor's numbers; BadModel where they cannot be read."""
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise BadModel(
            f"tensor {tensor.name!r} is damaged or of an unknown type "
            f"({type(error).__name__}: {error})"
        ) from None


def folds(call: Call) -> bool:
    """Is the node's result a constant of the model?"""
    if call.proto.op_type in OF_SHAPES:
        return True
    return call.proto.op_type not in (*RANDOM, *CONTROL_FLOW) and not any(
        isinstance(operand, str) for operand in call.operands
    )


def fold(call: Call) -> list[Array]:
    """The outputs of a node without secret operands, by ONNX's reference implementation."""
    if call.proto.op_type in OF_SHAPES and call.is_value(0):
        return [of_shape(call)]
    feeds = {
        name: operand for name, operand in zip(call.proto.input, call.operands, strict=True) if name
    }
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(_alone(call)).run(None, feeds)
        return [np.asarray(result) for result in results]
    # Whatever the reference implementation raises, the user needs the node's name.
    except Exception as error:
        call.fail(
            f"a constant that cannot be computed ({type(error).__name__}: {error})",
            "simplify the model before importing it",
        )


def of_shape(call: Call) -> Array:
    """Shape or Size of a value that is computed from the input."""
    shape = call.shape()
    if call.proto.op_type == "Size":
        return np.array(math.prod(shape), np.int64)
    return np.array(shape[call.attrs.get("start", 0) : call.attrs.get("end", None)], np.int64)


def _alone(call: Call) -> onnx.ModelProto:
    """A model of the node alone, of any types."""
    inputs, outputs = (
        [helper.make_value_info(name, onnx.TypeProto()) for name in names if name]
        for names in (dict.fromkeys(call.proto.input), call.proto.output)
    )
    graph = helper.make_graph([call.proto], "constant", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", call.opset)])
