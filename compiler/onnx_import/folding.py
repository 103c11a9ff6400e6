"""Constants: the model's own tensors, and nodes that do not depend on the input, which onnxruntime
computes one by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from moiety.compiler.ir.graph import Array
from moiety.compiler.ir.onnx_session import (
    NEWEST_IR_VERSION,
    in_float32,
    open_session,
    reason,
)
from moiety.compiler.onnx_import.call import Call
from moiety.compiler.onnx_import.order import names_read
from moiety.compiler.onnx_import.refusals import RANDOM
from moiety.compiler.onnx_import.room import check_constant
from moiety.protocols.errors import BadModel

OF_SHAPES = ("Shape", "Size")
"""Ops that look at nothing but a shape, and shapes are public."""

MAX_TRIPS = 1 << 12
"""Of a Loop that is computed."""

_WIDER = {
    np.dtype(narrow): np.dtype(wide)
    for wide, narrows in {
        np.float32: (np.float16, np.float64),
        np.int32: (np.int8, np.uint8, np.int16, np.uint16),
        np.int64: (np.int32, np.uint32, np.uint64),
    }.items()
    for narrow in narrows
}
"""In which type a node is computed where onnxruntime has no kernel for the one it is written in."""

Feeds = Mapping[str, Array]


def array_of(tensor: onnx.TensorProto) -> Array:
    """The tensor's numbers, bfloat16 ones as the float32 that they are; BadModel where they cannot
    be read.
    """
    try:
        return _as_numpy_has_it(numpy_helper.to_array(tensor))
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise BadModel(
            f"tensor {tensor.name!r} is damaged or of an unknown type "
            f"({type(error).__name__}: {error}): export the model again"
        ) from None


def folds(call: Call) -> bool:
    """Is the node's result a constant of the model?"""
    if call.proto.op_type in OF_SHAPES:
        return True
    alone = set(names_read(call.proto)) <= set(call.proto.input)  # the graphs inside read nothing
    return (alone and call.proto.op_type not in RANDOM) and not any(
        isinstance(operand, str) for operand in call.operands
    )


def fold(call: Call) -> list[Array]:
    """The outputs of a node without secret operands, as onnxruntime computes them."""
    if call.proto.op_type in OF_SHAPES and call.is_value(0):
        return [of_shape(call)]
    if call.proto.op_type == "Constant" and "value" in call.attrs:
        return [array_of(call.attrs["value"])]
    if call.proto.op_type == "Dropout":
        call.not_in_training()
    feeds = {
        name: operand
        for name, operand in zip(call.proto.input, call.operands, strict=True)
        if isinstance(operand, np.ndarray)
    }
    check_constant(call.proto, call.opset, feeds, call.builder.held)
    _check_trips(call)
    try:
        made = _computed(call, feeds)
    except Exception as error:  # onnxruntime's exceptions share no base class
        call.fail(
            f"a constant that onnxruntime cannot compute ({reason(error)})",
            "compute it before the export, so that the model holds its value",
        )
    call.builder.held += sum(array.nbytes for array in made)
    return made


def _check_trips(call: Call) -> None:
    """Fails for loops that may go on for long."""
    bodies = [each.g for each in call.proto.attribute if each.HasField("g")]
    nested = any(each.HasField("g") for g in bodies for node in g.node for each in node.attribute)
    trips = call.constant(0) if call.proto.op_type == "Loop" else np.array(0)
    if nested or trips is None or trips.size != 1 or trips.item() > MAX_TRIPS:
        call.fail(
            f"a constant loop is computed where it has at most {MAX_TRIPS} trips and no graphs "
            "inside its own",
            "compute it before the export, so that the model holds its value",
        )


def _computed(call: Call, feeds: Feeds) -> list[Array]:
    """By onnxruntime, in the types written or, where it has no kernel for them, in wider ones."""
    model = _alone(call, feeds)
    try:
        return list(_run(model, feeds).values())
    except Exception as refused:
        wide = {name: array.astype(_wider(array.dtype)) for name, array in feeds.items()}
        if all(wide[name].dtype == array.dtype for name, array in feeds.items()):
            raise
        try:
            results = _run(_alone(call, wide), wide)
        except Exception:
            raise refused from None
        types = _result_types(model)
        return [array.astype(types.get(name, array.dtype)) for name, array in results.items()]


def _wider(kind: np.dtype[Any]) -> np.dtype[Any]:
    return _WIDER.get(kind, kind)


def _run(model: onnx.ModelProto, feeds: Feeds) -> dict[str, Array]:
    """Every output by name."""
    session = open_session(model, as_written=True)
    wanted = [value.name for value in session.get_inputs()]
    results = session.run(None, {name: feeds[name] for name in wanted})
    names = [value.name for value in session.get_outputs()]
    if not all(isinstance(result, np.ndarray) for result in results):
        raise TypeError("its result is no tensor")
    return dict(zip(names, results, strict=True))


def _alone(call: Call, feeds: Feeds) -> onnx.ModelProto:
    """A model of the node alone. Types that NumPy does not know travel inside it."""
    inputs, initialisers = [], []
    for name, array in feeds.items():
        if array.dtype.kind == "V":
            initialisers.append(numpy_helper.from_array(array, name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, None))
    outputs = [helper.make_empty_tensor_value_info(name) for name in call.proto.output if name]
    graph = helper.make_graph([call.proto], "constant", inputs, outputs, initialisers)
    opsets = [helper.make_opsetid("", call.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=NEWEST_IR_VERSION)
    return in_float32(model, (TensorProto.BFLOAT16,))


def _result_types(model: onnx.ModelProto) -> dict[str, np.dtype[Any]]:
    """By output, where ONNX's inference knows it."""
    outputs = shape_inference.infer_shapes(model).graph.output
    kinds = {value.name: value.type.tensor_type.elem_type for value in outputs}
    return {name: helper.tensor_dtype_to_np_dtype(kind) for name, kind in kinds.items() if kind}


def _as_numpy_has_it(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def of_shape(call: Call) -> Array:
    """Shape or Size of a value that is computed from the input."""
    shape = call.shape()
    if call.proto.op_type == "Size":
        return np.array(math.prod(shape), np.int64)
    return np.array(shape[call.attrs.get("start", 0) : call.attrs.get("end", None)], np.int64)
