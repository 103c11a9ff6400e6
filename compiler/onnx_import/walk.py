"""The walk over an ONNX graph: constants are folded as they are met, the rest goes to the importer
of its op type.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from moiety.compiler.ir.graph import Array, Graph, Shape
from moiety.compiler.onnx_import.builder import Builder
from moiety.compiler.onnx_import.call import IMPORTERS, Call
from moiety.compiler.onnx_import.folding import array_of, fold, folds
from moiety.compiler.onnx_import.order import names_read
from moiety.compiler.onnx_import.refusals import advice
from moiety.protocols.errors import BadModel


class Walk:
    """One import: what every ONNX name stands for, and the Graph as far as it is built.

    `source` is the model's one data input, whose shape is fixed; `batch` is the batch size that
    stood there (0: open). `values`, once it is built: the Graph's value of every ONNX value that
    depends on the input, by the names of both.
    """

    def __init__(self, model: onnx.ModelProto, source: str, batch: int) -> None:
        self.model = model
        self.environment: dict[str, str | Array] = {source: source}
        self.values: dict[str, str] = {}
        readers = _readers(model.graph)
        self.builder = Builder(
            source,
            opset=next(each.version for each in model.opset_import if each.domain in _ONNX),
            batch=batch,
            read=frozenset([*readers, *(each.name for each in model.graph.output)]),
            shapes={source: _shape_of(model, source)},
            readers=readers,
        )

    def build(self, name: str) -> Graph:
        """The Graph of the model, named `name`. BadModel for what it cannot take."""
        for sparse in self.model.graph.sparse_initializer:
            raise BadModel(
                f"initialiser {sparse.values.name!r} is sparse: export the model with dense weights"
            )
        self._visit_all(self.model.graph)
        outputs = [(output.name, self._output(output.name)) for output in self.model.graph.output]
        graph, names = self.builder.finish(name, outputs)
        self.values = {
            onnx_name: names.get(value, value)
            for onnx_name, value in self.environment.items()
            if isinstance(value, str) and onnx_name not in self.builder.vectors
        }
        return graph

    def _visit_all(self, graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            self.environment[tensor.name] = array_of(tensor)
        for node in graph.node:
            self._visit(node)

    def _visit(self, proto: onnx.NodeProto) -> None:
        call = self._call(proto)
        if proto.op_type == "If" and isinstance(call.operands[0], np.ndarray):
            self._inline(call, bool(np.all(call.operands[0])))
        elif folds(call):
            self.environment.update(zip(proto.output, fold(call), strict=False))
        else:
            for name, value in zip(proto.output, _imported(call), strict=False):
                if name:
                    self.environment[name] = value

    def _call(self, proto: onnx.NodeProto) -> Call:
        missing = [name for name in proto.input if name and name not in self.environment]
        if missing:
            raise BadModel(
                f"{proto.op_type} {proto.name!r} reads {missing[0]!r}, "
                "which nothing in the model makes: export the model again"
            )
        attrs = {each.name: helper.get_attribute_value(each) for each in proto.attribute}
        operands = tuple(self.environment[name] if name else None for name in proto.input)
        return Call(self.builder, proto, attrs, operands)

    def _inline(self, call: Call, condition: bool) -> None:
        """The branch of an If that a constant condition takes."""
        branch: onnx.GraphProto = call.attrs["then_branch" if condition else "else_branch"]
        self._visit_all(branch)
        for name, output in zip(call.proto.output, branch.output, strict=True):
            self.environment[name] = self.environment[output.name]

    def _output(self, name: str) -> str:
        """The value of an output of the model."""
        value = self.environment.get(name)
        if name == self.builder.source:
            raise BadModel(
                f"output {name!r} is the input itself: remove it from the model's outputs"
            )
        if value is None:
            raise BadModel(f"nothing makes the output {name!r}: export the model again")
        if not isinstance(value, str):
            raise BadModel(
                f"output {name!r} does not depend on the input {self.builder.source!r}: "
                "remove it from the model"
            )
        return value


_ONNX = ("", "ai.onnx")
"""The standard operators' domain."""

_MALFORMED = (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError, OverflowError)
"""What importers raise on attributes and operands that ONNX's checker let pass."""


def _imported(call: Call) -> Sequence[str]:
    """The Graph values that the node's importer makes."""
    if call.proto.op_type not in IMPORTERS:
        call.fail("not supported", advice(call.proto.op_type))
    try:
        return IMPORTERS[call.proto.op_type](call)
    except _MALFORMED as error:
        call.fail(f"malformed ({type(error).__name__}: {error})", f"operand shapes {call.shapes()}")


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """By value."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(names_read(node)):
            readers.setdefault(name, []).append(node)
    return readers


def _shape_of(model: onnx.ModelProto, source: str) -> Shape:
    (value,) = (each for each in model.graph.input if each.name == source)
    return (1, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]))
