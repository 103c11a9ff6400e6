"""The model's one data input, and its shape with a batch of 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx
from onnx import TensorProto

from moiety.compiler.ir.graph import Shape
from moiety.compiler.onnx_import.call import LARGEST
from moiety.compiler.onnx_import.integer_input import INTEGERS, make_real
from moiety.compiler.onnx_import.order import names_read
from moiety.protocols.errors import BadInput, BadModel

REAL = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}


def fix_input(
    model: onnx.ModelProto, name: str, input_shape: Sequence[int] | None
) -> tuple[str, int]:
    """Fix the one data input's shape in the model, an open batch as 1; its name and the batch that
    stood there (0: open).

    `input_shape`: without the batch, or with a batch of 1; None where the model says it. BadModel
    where it does not or the input is none that can be computed on, BadInput where the two
    contradict each other.
    """
    value = _data_input(model, name)
    if value.type.tensor_type.elem_type in INTEGERS:
        make_real(model, value)
    _check_type(value)
    dims = list(value.type.tensor_type.shape.dim)
    stated = value.type.tensor_type.HasField("shape")
    if stated and len(dims) < 2:
        raise BadModel(
            f"input {value.name!r} has {len(dims)} dimensions; "
            "needs a batch first, for example (N, C, H, W)"
        )
    given = None
    if input_shape is not None:
        dims = dims if stated else [onnx.TensorShapeProto.Dimension() for _ in range(4)]
        given = _without_batch(tuple(int(size) for size in input_shape), len(dims), value.name)
    sizes = _agreed(value.name, dims, given)
    batch = _size(dims[0])
    full = (max(1, batch), *sizes)
    if math.prod(full) > LARGEST:
        raise BadModel(f"input {value.name!r} of shape {full} is too large")
    shape = value.type.tensor_type.shape
    shape.ClearField("dim")
    shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size) for size in full)
    return value.name, batch


def _data_input(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    """The one input that is no constant and that something reads."""
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    outputs = {output.name for output in model.graph.output}
    data = [
        value
        for value in model.graph.input
        if value.name not in constants
        and (value.name in outputs or _reads(model.graph, value.name))
    ]
    if len(data) != 1:
        names = ", ".join(repr(value.name) for value in data) or "none"
        raise BadModel(
            f"model {name!r} must have exactly one data input, it has {len(data)} ({names}): "
            "make the others constants"
        )
    return data[0]


def _reads(graph: onnx.GraphProto, name: str) -> bool:
    """Does a node of the graph, or of a graph inside it, read the value?"""
    return any(name in names_read(node) for node in graph.node)


def _check_type(value: onnx.ValueInfoProto) -> None:
    found = "no tensor"
    if value.type.HasField("tensor_type"):
        kind = value.type.tensor_type.elem_type
        if kind in REAL:
            return
        found = type_name(kind)
    raise BadModel(
        f"input {value.name!r} must be a tensor of real numbers, it is {found}: "
        "export the model with float32 input"
    )


def type_name(kind: int) -> str:
    """ONNX's name of an element type."""
    names = {number: label for label, number in TensorProto.DataType.items()}
    return names.get(kind, "unknown")


def _without_batch(given: Shape, rank: int, name: str) -> Shape:
    """The shape that the caller gave, as (C, H, W) or (1, C, H, W), for an input of `rank`."""
    if min(given, default=0) < 1:
        raise BadInput(f"input shape {given} must be positive sizes, for example 3,224,224")
    if len(given) == rank:
        if given[0] != 1:
            raise BadInput(f"input shape {given}: one image at a time, the batch must be 1")
        given = given[1:]
    if len(given) != rank - 1:
        raise BadInput(
            f"input shape {given} has not the {rank - 1} dimensions of input {name!r} "
            "without the batch"
        )
    return given


def _agreed(
    name: str, dims: Sequence[onnx.TensorShapeProto.Dimension], given: Shape | None
) -> Shape:
    """The shape without the batch, from what the model says and what the caller gave."""
    sizes = tuple(map(_size, dims))[1:]
    stated = ", ".join(str(_size(dim)) if _size(dim) else dim.dim_param or "?" for dim in dims)
    if given is None:
        if not dims or 0 in sizes:
            raise BadModel(
                f"the shape of input {name!r} is open, {f'({stated})' if dims else 'not stated'}: "
                "say it with input_shape=(C, H, W), on the command line --input-shape C,H,W"
            )
        return sizes
    if any(fixed not in (0, size) for fixed, size in zip(sizes, given, strict=True)):
        raise BadInput(
            f"input shape {given} contradicts the model, whose input {name!r} is ({stated})"
        )
    return given


def _size(dim: onnx.TensorShapeProto.Dimension) -> int:
    """0 where it is open, be it written as -1."""
    return max(0, dim.dim_value) if dim.HasField("dim_value") else 0
