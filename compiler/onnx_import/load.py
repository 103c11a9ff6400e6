"""Reading an ONNX file: everything about it that can be wrong
before its operators are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, external_data_helper, inliner, shape_inference

from moiety.compiler.ir.graph import Graph
from moiety.compiler.onnx_import.builder import Builder
from moiety.protocols.errors import BadInput, BadModel

OLDEST_OPSET, NEWEST_OPSET = 9, 21
_REAL = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}


def import_onnx(
    path_or_proto: str | Path | onnx.ModelProto, input_shape: Sequence[int] | None = None
) -> Graph:
    """Import an ONNX model as a Graph of float32 constants, batch 1.

    `input_shape`: (C, H, W) or (1, C, H, W) of the image, needed when the model leaves it open; it
    must agree with what the model fixes. Raises BadModel for anything the compiler cannot take,
    naming the op, the node and what could be done; BadInput when the file cannot be read or
    `input_shape` makes no sense.
    """
    if isinstance(path_or_proto, onnx.ModelProto):
        model, name = onnx.ModelProto(), path_or_proto.graph.name
        model.CopyFrom(path_or_proto)
        _load_external_data(model, None)
    else:
        path = Path(path_or_proto)
        model, name = _read(path), path.stem
    _check(model, name)
    if model.functions:
        model = inliner.inline_local_functions(model)
    source, batch = _fix_input(model, name, input_shape)
    declared = _infer(model, name)
    return Builder(model, name, source, batch, declared).build()


def _read(path: Path) -> onnx.ModelProto:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read the model {path}: {error.strerror}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise BadModel(
            f"{path} is no ONNX model, or a damaged or truncated one: give a complete .onnx file"
        ) from None
    if not model.HasField("graph") or not model.opset_import:
        raise BadModel(
            f"{path} is no ONNX model, or a damaged or truncated one: it holds no graph or no opset"
        )
    _load_external_data(model, path)
    return model


def _load_external_data(model: onnx.ModelProto, path: Path | None) -> None:
    for tensor in external_data_helper._get_all_tensors(model):
        if not external_data_helper.uses_external_data(tensor):
            continue
        location = external_data_helper.ExternalDataInfo(tensor).location
        if path is None:
            raise BadModel(
                f"tensor {tensor.name!r} is stored outside the model, in {location!r}: import the model from its file"
            )
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            reason = _first_line(error)
            raise BadModel(
                f"tensor {tensor.name!r} is stored in {location!r}, which cannot be read ({reason}): keep "
                f"that file beside {path.name}, or save the model as one file: onnx.save_model(...)"
            ) from None
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _check(model: onnx.ModelProto, name: str) -> None:
    domains = {entry.domain: entry.version for entry in model.opset_import}
    opset = domains.get("", domains.get("ai.onnx", 0))
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise BadModel(
            f"model {name!r} uses opset {opset or 'none'}; this compiler reads {OLDEST_OPSET} to {NEWEST_OPSET}: "
            "export it again, for example with torch.onnx.export(..., opset_version=17)"
        )
    known = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in known:
            raise BadModel(
                f"{node.domain}.{node.op_type} {node.name!r}: custom operators are not supported; "
                "export with standard ONNX operators"
            )
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise BadModel(f"model {name!r} is not valid ONNX: {_first_line(error)}") from None


def _fix_input(
    model: onnx.ModelProto, name: str, input_shape: Sequence[int] | None
) -> tuple[str, int]:
    """Fix the one data input's shape, batch 1, in the model; its name and the
    batch that stood there (0: open).
    """
    constants = {tensor.name for tensor in model.graph.initializer} | {
        t.values.name for t in model.graph.sparse_initializer
    }
    used = {value for node in model.graph.node for value in node.input} | {
        output.name for output in model.graph.output
    }
    inputs = [value for value in model.graph.input if value.name not in constants]
    data = [
        value for value in inputs if value.name in used or _used_in_subgraphs(model, value.name)
    ]
    if len(data) != 1:
        names = ", ".join(repr(value.name) for value in data) or "none"
        raise BadModel(
            f"model {name!r} must have exactly one data input, it has {len(data)} ({names}): make the others constants"
        )
    (value,) = data
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type not in _REAL:
        types = {number: label for label, number in TensorProto.DataType.items()}
        found = (
            types.get(kind.elem_type, "unknown")
            if value.type.HasField("tensor_type")
            else "no tensor"
        )
        raise BadModel(
            f"input {value.name!r} must be a tensor of real numbers, it is {found}: export the model with float32 input"
        )
    dims = list(kind.shape.dim)
    if kind.HasField("shape") and len(dims) < 2:
        raise BadModel(
            f"input {value.name!r} has {len(dims)} dimensions; needs a batch first, for example (N, C, H, W)"
        )
    given = tuple(int(size) for size in input_shape) if input_shape is not None else None
    if given is not None:
        if min(given, default=0) < 1:
            raise BadInput(f"input shape {given} must be positive sizes, for example 3,224,224")
        if not kind.HasField("shape"):
            dims = [onnx.TensorShapeProto.Dimension() for _ in range(4)]
        if len(given) == len(dims):
            if given[0] != 1:
                raise BadInput(f"input shape {given}: one image at a time, the batch must be 1")
            given = given[1:]
        if len(given) != len(dims) - 1:
            raise BadInput(
                f"input shape {given} has not the {len(dims) - 1} dimensions of input {value.name!r} without the batch"
            )
    sizes = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in dims]
    labels = [
        str(size) if size else (dim.dim_param or "?") for size, dim in zip(sizes, dims, strict=True)
    ]
    if given is None and (not sizes or 0 in sizes[1:]):
        described = f"({', '.join(labels)})" if sizes else "not stated"
        raise BadModel(
            f"the shape of input {value.name!r} is open, {described}: say it with input_shape=(C, H, W), "
            "on the command line --input-shape C,H,W"
        )
    if given is not None and any(
        fixed not in (0, size) for fixed, size in zip(sizes[1:], given, strict=True)
    ):
        raise BadInput(
            f"input shape {given} contradicts the model, whose input {value.name!r} is ({', '.join(labels)})"
        )
    full = (1, *(given if given is not None else sizes[1:]))
    if math.prod(full) > 1 << 28:
        raise BadModel(f"input {value.name!r} of shape {full} is too large")
    kind.shape.ClearField("dim")
    kind.shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size) for size in full)
    return value.name, sizes[0]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _used_in_subgraphs(model: onnx.ModelProto, name: str) -> bool:
    def used(graph: onnx.GraphProto) -> bool:
        inner = [
            attribute.g
            for node in graph.node
            for attribute in node.attribute
            if attribute.HasField("g")
        ]
        return any(name in node.input for node in graph.node) or any(used(each) for each in inner)

    return used(model.graph)


def _infer(model: onnx.ModelProto, name: str) -> dict[str, tuple[int, ...]]:
    """Shapes by ONNX's own inference, where it is sure, with the input fixed;
    the importers' must equal them.
    """
    model.graph.ClearField("value_info")  # shapes of another batch size may stand there
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # onnx raises its own InferenceError, RuntimeError or ValueError
        raise BadModel(f"model {name!r}: shapes cannot be inferred: {_first_line(error)}") from None
    shapes = {}
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return shapes
