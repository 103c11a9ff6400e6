"""Reading an ONNX file: all that can be wrong with it before its operators are looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, external_data_helper, helper, inliner, shape_inference

from moiety.compiler.ir.graph import Graph
from moiety.compiler.onnx_import.agreement import check_against_onnxruntime
from moiety.compiler.onnx_import.batch_axis import with_batch_axis
from moiety.compiler.onnx_import.fix_input import InputShape, fix_inputs
from moiety.compiler.onnx_import.order import sort_nodes
from moiety.compiler.onnx_import.room import check_graph
from moiety.compiler.onnx_import.texts import check_texts
from moiety.compiler.onnx_import.walk import Walk
from moiety.protocols.errors import BadInput, BadModel

OLDEST_OPSET, NEWEST_OPSET = 7, 25


def no_note(text: str) -> None:
    """Nobody to tell."""


@dataclass(frozen=True)
class Imported:
    """A model as the walk read it, its Graph, and what the Graph calls the ONNX values.

    approximate: ONNX values that the import means to change a little. notes: what the model's owner
    should know.
    """

    model: onnx.ModelProto
    graph: Graph
    values: Mapping[str, str | int]
    approximate: Collection[str]
    notes: Sequence[str]


def import_onnx(
    path_or_proto: str | Path | onnx.ModelProto,
    input_shape: InputShape | None = None,
    note: Callable[[str], None] = no_note,
    batch_axis: bool = True,
) -> Graph:
    """Import an ONNX model as a Graph of float32 constants, batch 1, that computes what onnxruntime
    does.

    `input_shape`: (C, H, W) or (1, C, H, W) of the image, needed when the model leaves it open; it
    must agree with what the model fixes; by name where there are several inputs. Raises BadModel
    for anything the compiler cannot take, naming the op, the node and what could be done; BadInput
    when the file cannot be read or `input_shape` makes no sense; ContractViolation where the import
    is wrong, which would be a defect here. note: is told what the model's owner should know.
    batch_axis: whether the model has one; if not, it is given one.
    """
    imported = read_onnx(path_or_proto, input_shape, batch_axis)
    for text in imported.notes:
        note(text)
    check_against_onnxruntime(imported.model, imported.graph, imported.values, imported.approximate)
    return imported.graph


def read_onnx(
    path_or_proto: str | Path | onnx.ModelProto,
    input_shape: InputShape | None = None,
    batch_axis: bool = True,
) -> Imported:
    """As `import_onnx`, without asking onnxruntime whether the import is right."""
    if isinstance(path_or_proto, onnx.ModelProto):
        path, model, name = None, onnx.ModelProto(), path_or_proto.graph.name
        model.CopyFrom(path_or_proto)
    else:
        path = Path(path_or_proto)
        model, name = _read(path), path.stem
    check_texts(model, name)
    _load_external_data(model, path)
    _check(model, name)
    if model.functions:
        model = inliner.inline_local_functions(model)
        sort_nodes(model.graph)
    if not batch_axis:
        model = with_batch_axis(model)
    _name_all_parts(model.graph)
    sources, batch = fix_inputs(model, name, input_shape)
    _infer(model, name)
    walk = Walk(model, sources, batch)
    graph = walk.build(name)
    check_graph(graph, batch)
    made = walk.builder
    notes = (*_unread(model, sources), *made.notes)
    return Imported(model, graph, walk.values, made.approximate, notes)


def _unread(model: onnx.ModelProto, sources: Sequence[str]) -> Iterator[str]:
    """A word for each input of the model that no node reads."""
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in constants and value.name not in sources:
            yield f"input {value.name!r}: nothing reads it, it is left out"


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
    return model


def _load_external_data(model: onnx.ModelProto, path: Path | None) -> None:
    for tensor in external_data_helper._get_all_tensors(model):
        if not external_data_helper.uses_external_data(tensor):
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        if path is None:
            raise BadModel(
                f"tensor {tensor.name!r} is stored outside the model, in {location!r}: "
                "import the model from its file"
            )
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            reason = _first_line(error)
            raise BadModel(
                f"tensor {tensor.name!r} is stored in {location!r}, which cannot be read "
                f"({reason}): keep that file beside {path.name}, or save the model as one file: "
                "onnx.save_model(...)"
            ) from None
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _check(model: onnx.ModelProto, name: str) -> None:
    domains = {entry.domain: entry.version for entry in model.opset_import}
    opset = domains.get("", domains.get("ai.onnx", 0))
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise BadModel(
            f"model {name!r} uses opset {opset or 'none'}; this compiler reads {OLDEST_OPSET} to "
            f"{NEWEST_OPSET}: export it again, for example with "
            "torch.onnx.export(..., opset_version=17), or convert it with "
            "onnx.version_converter.convert_version(model, 17)"
        )
    known = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in known:
            raise BadModel(
                f"{node.domain}.{node.op_type} {node.name!r}: custom operators are not supported; "
                "export with standard ONNX operators"
            )
    sort_nodes(model.graph)
    for output in model.graph.output:
        if output.type.WhichOneof("value") in (None, "tensor_type"):
            output.type.tensor_type.shape.SetInParent()  # which onnxruntime does not ask for
    try:
        onnx.checker.check_model(_without_weights(model))
    except (onnx.checker.ValidationError, ValueError) as error:
        raise BadModel(f"model {name!r} is not valid ONNX: {_first_line(error)}") from None


SMALL = 1 << 10
"""Elements of a tensor that may say a shape; larger ones are weights."""


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its large tensors as inputs, whose values neither checks nor shapes need:
    ONNX's tools copy all that they are given, more than once.
    """
    thin = onnx.ModelProto(ir_version=model.ir_version)
    thin.opset_import.extend(model.opset_import)
    thin.functions.extend(model.functions)
    source, graph = model.graph, thin.graph
    graph.name = source.name
    for field in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(graph, field).extend(getattr(source, field))
    inputs = {value.name for value in source.input}
    for tensor in source.initializer:
        if math.prod(tensor.dims) <= SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            inputs.add(tensor.name)
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return thin


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _name_all_parts(graph: onnx.GraphProto) -> None:
    """Name the parts of a Split that nobody reads: onnxruntime dies of those without a name."""
    for number, node in enumerate(graph.node):
        if node.op_type == "Split":
            for index, output in enumerate(node.output):
                node.output[index] = output or f"{node.name}::unread{number}_{index}"


def _infer(model: onnx.ModelProto, name: str) -> None:
    """BadModel where the shapes do not fit together, by ONNX's own inference."""
    model.graph.ClearField("value_info")  # shapes of another input may stand there
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        thin = _without_weights(model)
        shape_inference.infer_shapes(thin)  # data_prop would write values down, of any number
    except Exception as error:  # onnx raises its own InferenceError, RuntimeError or ValueError
        raise BadModel(
            f"model {name!r}: its shapes do not fit together: {_first_line(error)}"
        ) from None
