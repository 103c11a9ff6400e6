"""The walk over an ONNX graph: constants are folded as they are met, the rest goes to the importer
of its op type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import onnx
from onnx import helper

from moiety.compiler.ir.graph import Array, Graph, Shape
from moiety.compiler.onnx_import.builder import Builder
from moiety.compiler.onnx_import.call import IMPORTERS, Call, MovesBatch
from moiety.compiler.onnx_import.client.call import TRANSLATORS, ClientCall, Made
from moiety.compiler.onnx_import.client.cut import Cut
from moiety.compiler.onnx_import.client.masked import is_unsized, under_a_mask
from moiety.compiler.onnx_import.folding import OF_SHAPES, array_of, fold, folds, of_shape
from moiety.compiler.onnx_import.order import names_read
from moiety.compiler.onnx_import.public import ExpressionBuilder, Public, Unsized
from moiety.compiler.onnx_import.refusals import advice
from moiety.protocols.errors import BadArtifact, BadModel


class Walk:
    """One import: what every ONNX name stands for, and the Graph as far as it is built.

    `sources` are the model's data inputs, whose shapes are fixed; `batch` is the batch size that
    stood there (0: open). `values`, once it is built: of every ONNX value that depends on an
    input, the name of the Graph's value or its number in the client's expression.
    """

    def __init__(self, model: onnx.ModelProto, sources: Sequence[str], batch: int) -> None:
        self.model = model
        self.environment: dict[str, str | Array | Public | Unsized] = {
            source: source for source in sources
        }
        self.values: dict[str, str | int] = {}
        self.cut, self.expression = Cut(model.graph), ExpressionBuilder()
        readers = _readers(model.graph)
        self.builder = Builder(
            tuple(sources),
            opset=next(each.version for each in model.opset_import if each.domain in _ONNX),
            batch=batch,
            read=frozenset([*readers, *(each.name for each in model.graph.output)]),
            shapes={source: _shape_of(model, source) for source in sources},
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
        if not outputs:
            raise BadModel(f"model {name!r} has no output")
        revealed, expression, numbers = self.expression.finish(outputs)
        try:
            expression.check([self.builder.shapes[value][1:] for value in revealed])
        except BadArtifact as error:
            raise BadModel(f"model {name!r}: {error}") from None
        graph, names = self.builder.finish(name, revealed, expression)
        for onnx_name, value in self.environment.items():
            if onnx_name in self.builder.vectors:
                continue
            if isinstance(value, str) and names.get(value, value) in graph.shapes:
                self.values[onnx_name] = names.get(value, value)
            elif isinstance(value, Public) and value.number in numbers:
                self.values[onnx_name] = numbers[value.number]
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
        elif self._is_clients(call):
            client = self._client_call(call)
            if proto.op_type in OF_SHAPES and not is_unsized(client):
                self.environment[proto.output[0]] = of_shape(client)
                return
            for name, public in zip(proto.output, _translated(client), strict=False):
                if name:
                    self.environment[name] = public
        elif folds(call):
            self.environment.update(zip(proto.output, fold(call), strict=False))
        else:
            self._require_importer(call)
            for name, value in zip(proto.output, self._made(call), strict=False):
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

    def _is_clients(self, call: Call) -> bool:
        """Does the client compute the node?"""
        operands = call.operands
        if any(isinstance(operand, Public | Unsized) for operand in operands):
            return True
        secret = any(isinstance(operand, str) for operand in operands)
        return secret and self.cut.begins(call)

    def _require_importer(self, call: Call) -> None:
        """Fails where the node has no secret form."""
        if call.proto.op_type in IMPORTERS:
            return
        blocker = self.cut.blocker(call.proto)
        if call.proto.op_type in TRANSLATORS and blocker is not None:
            call.fail(
                f"stands before {blocker.op_type} {blocker.name!r}, which must stay secret; the "
                "client computes it only behind the last such layer",
                advice(call.proto.op_type),
            )
        call.fail("not supported", advice(call.proto.op_type))

    def _made(self, call: Call) -> Sequence[str | Made]:
        """What the node's importer makes. Where the batch axis moves, which values of the Graph
        have first, it is the client's if nothing secret follows.
        """
        try:
            return _imported(call)
        except MovesBatch:
            if not self.cut.may_begin(call.proto):
                raise
            return _translated(self._client_call(call))

    def _client_call(self, call: Call) -> ClientCall:
        """A node that the client computes, its secret operands revealed."""
        operands = [
            self.expression.reveal(each, self.builder.shapes[each])
            if isinstance(each, str)
            else each
            for each in call.operands
        ]
        return ClientCall(self.builder, call.proto, call.attrs, tuple(operands), self.expression)

    def _output(self, name: str) -> Public:
        """The public value of an output of the model."""
        value = self.environment.get(name)
        if name in self.builder.sources:
            raise BadModel(
                f"output {name!r} is an input itself: remove it from the model's outputs"
            )
        if value is None:
            raise BadModel(f"nothing makes the output {name!r}: export the model again")
        if isinstance(value, np.ndarray):
            raise BadModel(
                f"output {name!r} does not depend on the input "
                f"{' or '.join(map(repr, self.builder.sources))}: "
                "remove it from the model"
            )
        if name in self.builder.quantised:
            raise BadModel(
                f"output {name!r} holds the integers of a QuantizeLinear: make what its "
                "DequantizeLinear gives the model's output"
            )
        if isinstance(value, Unsized):
            raise BadModel(
                f"output {name!r} has as many elements as a mask is true at, which is not known: "
                "put them in a tensor of fixed shape"
            )
        if isinstance(value, Public):
            return value
        return self.expression.reveal(value, self.builder.shapes[value])


_ONNX = ("", "ai.onnx")
"""The standard operators' domain."""

CallType = TypeVar("CallType", bound=Call)
Result = TypeVar("Result")

_MALFORMED = (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError, OverflowError)
"""What importers raise on attributes and operands that ONNX's checker let pass."""


def _imported(call: Call) -> Sequence[str]:
    """The Graph values that the node's importer makes."""
    return _guarded(IMPORTERS[call.proto.op_type], call)


def _translated(call: ClientCall) -> Sequence[Made]:
    """What the node's translator makes."""
    if is_unsized(call):
        return _guarded(under_a_mask, call)
    return _guarded(TRANSLATORS[call.proto.op_type].translate, call)


def _guarded(make: Callable[[CallType], Sequence[Result]], call: CallType) -> Sequence[Result]:
    """What an importer or a translator makes; it may not have thought of all attributes."""
    try:
        return make(call)
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
