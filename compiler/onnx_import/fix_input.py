"""The model's data inputs, and their shapes with a batch of 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx
from onnx import TensorProto

from moiety.compiler.ir.graph import Shape
from moiety.compiler.onnx_import.call import LARGEST
from moiety.compiler.onnx_import.integer_input import INTEGERS, make_real
from moiety.compiler.onnx_import.order import names_read
from moiety.compiler.onnx_import.room import ELEMENT
from moiety.protocols.errors import BadInput, BadModel
from moiety.runtime.program.bounds import check_memory

REAL = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}


InputShape = Sequence[int] | Mapping[str, Sequence[int]]
"""Of a model's one input, or of each of several whose sizes are open, by name; without the batch,
or with a batch of 1.
"""


def fix_inputs(
    model: onnx.ModelProto, name: str, input_shape: InputShape | None
) -> tuple[tuple[str, ...], int]:
    """Fix the shapes of the data inputs in the model, an open batch as 1; their names, and the
    batch that stood there (0: open).

    `input_shape`: None where the model says it. BadModel where it does not or an input is none that
    can be computed on, BadInput where the two contradict each other.
    """
    values = _data_inputs(model, name)
    given = _by_name(input_shape, [value.name for value in values])
    for value in values:
        if value.type.tensor_type.elem_type in INTEGERS:
            make_real(model, value)
        _check_type(value)
    shapes = {value.name: _fixed_shape(value, given, len(values)) for value in values}
    batch = _common_batch(shapes)
    for value in values:
        full = (max(1, batch), *shapes[value.name][1:])
        if math.prod(full) > LARGEST:
            raise BadModel(f"input {value.name!r} of shape {full} is too large")
        what = f"input {value.name!r} of shape {full}"
        check_memory(what, math.prod(full) * ELEMENT, BadModel)
        shape = value.type.tensor_type.shape
        shape.ClearField("dim")
        shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size) for size in full)
    return tuple(shapes), batch


def _by_name(input_shape: InputShape | None, names: Sequence[str]) -> dict[str, Shape]:
    """The shapes that the caller gave. BadInput where it is not clear for which input."""
    if input_shape is None:
        return {}
    if not isinstance(input_shape, Mapping):
        if len(names) > 1:
            raise BadInput(
                f"input shape {tuple(input_shape)}: for which of the inputs "
                f"{', '.join(map(repr, names))}? Say NAME=SIZES"
            )
        input_shape = {names[0]: input_shape}
    for name in input_shape:
        if name not in names:
            raise BadInput(
                f"input shape for {name!r}: the model's data inputs are "
                f"{', '.join(map(repr, names))}"
            )
    return {name: tuple(int(size) for size in shape) for name, shape in input_shape.items()}


def _fixed_shape(value: onnx.ValueInfoProto, given: Mapping[str, Shape], inputs: int) -> Shape:
    """With the batch in front, 0 where that is open."""
    dims = list(value.type.tensor_type.shape.dim)
    stated = value.type.tensor_type.HasField("shape")
    if stated and len(dims) < 2:
        raise BadModel(
            f"input {value.name!r} has {len(dims)} dimensions; "
            "needs a batch first, for example (N, C, H, W); of a model without one say "
            "--no-batch-axis"
        )
    chosen = given.get(value.name)
    if chosen is not None:
        dims = dims if stated else [onnx.TensorShapeProto.Dimension() for _ in range(4)]
        chosen = _without_batch(chosen, len(dims), value.name)
    sizes = _agreed(value.name, dims, chosen, inputs)
    return (_size(dims[0]), *sizes)


def _common_batch(shapes: Mapping[str, Shape]) -> int:
    """The one batch size that inputs state, 0 where all leave it open."""
    stated = {shape[0]: name for name, shape in shapes.items() if shape[0]}
    if len(stated) > 1:
        (one, first), (other, second), *_ = stated.items()
        raise BadModel(
            f"input {first!r} has a batch of {one}, {second!r} one of {other}: the first axis of "
            "every input must be the batch"
        )
    return next(iter(stated), 0)


def _data_inputs(model: onnx.ModelProto, name: str) -> list[onnx.ValueInfoProto]:
    """The inputs that are no constants and that something reads, at least one."""
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    outputs = {output.name for output in model.graph.output}
    data = [
        value
        for value in model.graph.input
        if value.name not in constants
        and (value.name in outputs or _reads(model.graph, value.name))
    ]
    if not data:
        raise BadModel(
            f"model {name!r} has no data input that anything reads: what is to be computed?"
        )
    return data


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
    name: str, dims: Sequence[onnx.TensorShapeProto.Dimension], given: Shape | None, inputs: int
) -> Shape:
    """The shape without the batch, from what the model says and what the caller gave."""
    sizes = tuple(map(_size, dims))[1:]
    stated = ", ".join(str(_size(dim)) if _size(dim) else dim.dim_param or "?" for dim in dims)
    if given is None:
        if not dims or 0 in sizes:
            raise BadModel(
                f"the shape of input {name!r} is open, {f'({stated})' if dims else 'not stated'}: "
                f"{_saying(name, inputs)}"
            )
        return sizes
    if any(fixed not in (0, size) for fixed, size in zip(sizes, given, strict=True)):
        raise BadInput(
            f"input shape {given} contradicts the model, whose input {name!r} is ({stated})"
        )
    return given


def _saying(name: str, inputs: int) -> str:
    """How the shape of one of so many inputs is given."""
    if inputs == 1:
        return "say it with input_shape=(C, H, W), on the command line --input-shape C,H,W"
    return (
        f"say it with input_shape={{{name!r}: (C, H, W)}}, on the command line "
        f"--input-shape {name}=C,H,W"
    )


def _size(dim: onnx.TensorShapeProto.Dimension) -> int:
    """0 where it is open, be it written as -1."""
    return max(0, dim.dim_value) if dim.HasField("dim_value") else 0
