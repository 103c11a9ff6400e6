"""The walk over an ONNX graph: constants are folded as they are met, the rest goes
to the importer of its op type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.compiler.ir.shapes import infer_shape, rebuilt
from moiety.protocols.errors import BadModel, ContractViolation

Importer = Callable[["Call"], Sequence[str]]
_IMPORTERS: dict[str, Importer] = {}

_ADVICE = {
    **dict.fromkeys(
        (
            "Elu",
            "Selu",
            "Celu",
            "Gelu",
            "HardSwish",
            "Mish",
            "Softplus",
            "Softsign",
            "Tanh",
            "Erf",
        ),
        "replace the activation by Relu or ReLU6 and fine-tune the model",
    ),
    **dict.fromkeys(
        (
            "LayerNormalization",
            "InstanceNormalization",
            "GroupNormalization",
            "LRN",
            "MeanVarianceNormalization",
            "LpNormalization",
        ),
        "it divides by a secret value; train with batch normalization instead",
    ),
    **dict.fromkeys(
        ("LSTM", "GRU", "RNN", "Attention", "Einsum"), "only convolutional networks are supported"
    ),
    **dict.fromkeys(
        (
            "QLinearConv",
            "QuantizeLinear",
            "DequantizeLinear",
            "QLinearMatMul",
            "ConvInteger",
            "MatMulInteger",
            "DynamicQuantizeLinear",
        ),
        "give the float model; the compiler chooses the fixed-point numbers itself",
    ),
    **dict.fromkeys(
        ("If", "Loop", "Scan"),
        "its path depends on the data, which nobody may see; export the model without it",
    ),
    **dict.fromkeys(
        ("NonZero", "NonMaxSuppression", "TopK", "Unique", "Compress", "ArgMax"),
        "cut it off the model and apply it to the revealed output",
    ),
    **dict.fromkeys(
        (
            "RandomNormal",
            "RandomUniform",
            "RandomNormalLike",
            "RandomUniformLike",
            "Bernoulli",
            "Multinomial",
        ),
        "export the model in inference mode",
    ),
}
_NEVER_FOLDED = {
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
    "If",
    "Loop",
    "Scan",
}


def importer(*op_types: str) -> Callable[[Importer], Importer]:
    """Register a function as the importer of ONNX op types; it returns the
    Graph value of each ONNX output.
    """

    def register(function: Importer) -> Importer:
        _IMPORTERS.update(dict.fromkeys(op_types, function))
        return function

    return register


def supported_ops() -> tuple[str, ...]:
    """The ONNX op types with an importer, sorted; constant subgraphs may use any other."""
    return tuple(sorted(_IMPORTERS))


def describe(op_type: str) -> str:
    """What of an op type is supported, one line: its importer's docstring."""
    return " ".join((_IMPORTERS[op_type].__doc__ or "").split())


@dataclass
class Call:
    """One ONNX node as an importer sees it: its attributes and operands, and how
    to emit Graph nodes or to fail.
    """

    builder: Builder
    proto: onnx.NodeProto
    attrs: Mapping[str, Any]
    operands: tuple[str | Array | None, ...]  # a Graph value, a folded constant, or absent

    @property
    def label(self) -> str:
        return self.proto.name or (self.proto.output[0] if self.proto.output else "")

    @property
    def opset(self) -> int:
        return self.builder.opset

    def fail(self, problem: str, advice: str = "") -> NoReturn:
        raise BadModel(
            f"{self.proto.op_type} {self.label!r}: {problem}" + (f"; {advice}" if advice else "")
        )

    def is_value(self, index: int) -> bool:
        return index < len(self.operands) and isinstance(self.operands[index], str)

    def value(self, index: int = 0) -> str:
        """Operand `index`, which must be computed from the input."""
        operand = self.operands[index] if index < len(self.operands) else None
        if not isinstance(operand, str):
            found = "absent" if operand is None else "a constant"
            self.fail(f"operand {index} must be computed from the input, it is {found}")
        return operand

    def shape(self, index: int = 0) -> Shape:
        return self.builder.shapes[self.value(index)]

    def shapes(self) -> list[Shape | None]:
        """Shapes of all operands, None where absent."""
        return [
            self.builder.shapes[operand]
            if isinstance(operand, str)
            else None
            if operand is None
            else operand.shape
            for operand in self.operands
        ]

    def constant(self, index: int) -> Array | None:
        """Operand `index` as a folded constant, None when absent; fails
        when it depends on the input.
        """
        operand = self.operands[index] if index < len(self.operands) else None
        if isinstance(operand, str):
            self.fail(
                f"operand {self.proto.input[index]!r} must be a constant, but it depends on the input",
                "fix it in the exported model",
            )
        return operand

    def weight(self, index: int, what: str) -> Array:
        """A constant operand as finite float32; one array per ONNX tensor,
        so that sharing stays visible.
        """
        array = self.constant(index)
        if array is None:
            self.fail(f"{what} is missing")
        name = self.proto.input[index]
        if name not in self.builder.weights:
            self.builder.weights[name] = self.finite(array, name)
        return self.builder.weights[name]

    def zeros(self, size: int) -> Array:
        """The bias of a layer that has none."""
        return self.builder.weights.setdefault(f"zeros {size}", np.zeros(size, np.float32))

    def finite(self, array: Array, tensor: str) -> Array:
        array = np.asarray(array)
        real = np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)
        if (
            not real and array.dtype.name != "bfloat16"
        ):  # a type of its own, which NumPy does not count as floating
            self.fail(f"tensor {tensor!r} must hold real numbers, it holds {array.dtype}")
        with np.errstate(over="ignore"):
            result = np.asarray(array, np.float32)
        if not np.isfinite(result).all():
            count = int((~np.isfinite(result)).sum())
            self.fail(
                f"tensor {tensor!r} has {count} NaN or infinite values",
                "export the model from an intact checkpoint",
            )
        return result

    def ints(self, name: str, index: int | None = None) -> tuple[int, ...] | None:
        """Integers given as attribute `name` or, since a later opset, as
        operand `index`; None when absent.
        """
        if name in self.attrs:
            found = self.attrs[name]
            return (
                tuple(int(v) for v in found) if isinstance(found, (list, tuple)) else (int(found),)
            )
        array = self.constant(index) if index is not None else None
        return None if array is None else tuple(int(v) for v in np.atleast_1d(array))

    def only_first_output(self) -> None:
        extra = [name for name in self.proto.output[1:] if name and name in self.builder.read]
        if extra:
            self.fail(
                f"its extra output {extra[0]!r} is used, which inference does not have",
                "export the model in inference mode",
            )

    def emit(self, op: str, inputs: Sequence[str], **fields: Any) -> str:
        """Append a Graph node; array-valued fields become constants, the others
        attributes. The value it makes.
        """
        consts = {key: value for key, value in fields.items() if isinstance(value, np.ndarray)}
        attrs = {key: value for key, value in fields.items() if key not in consts}
        return self.builder.emit(
            self, Node(op, self.label, tuple(inputs), self.builder.fresh(self.label), attrs, consts)
        )

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        return (
            value
            if tuple(shape) == self.builder.shapes[value]
            else self.emit("Reshape", [value], shape=tuple(shape))
        )

    def transpose(self, value: str, perm: Sequence[int]) -> str:
        return (
            value
            if list(perm) == sorted(perm)
            else self.emit("Transpose", [value], perm=tuple(perm))
        )


def _array(tensor: onnx.TensorProto) -> Array:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise BadModel(
            f"tensor {tensor.name!r} is damaged or of an unknown type ({type(error).__name__}: {error})"
        ) from None


class Builder:
    """State of one import: what every ONNX name stands for, and the Graph nodes made so far."""

    def __init__(
        self,
        model: onnx.ModelProto,
        name: str,
        source: str,
        batch: int,
        declared: Mapping[str, Shape],
    ) -> None:
        self.model = model
        self.name = name
        self.batch = batch  # the batch size the model was exported with, 0 when it was open
        self.opset: int = next(
            entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")
        )
        # Written sizes of a larger batch mislead ONNX's inference.
        self.declared = declared if batch <= 1 else {}
        self.nodes: list[Node] = []
        self.weights: dict[str, Array] = {}
        sizes = next(
            value for value in model.graph.input if value.name == source
        ).type.tensor_type.shape.dim
        self.source = source
        self.shapes: dict[str, Shape] = {source: tuple(dim.dim_value for dim in sizes)}
        self.environment: dict[str, str | Array] = {source: source}
        self.read = {value for node in model.graph.node for value in node.input} | {
            output.name for output in model.graph.output
        }
        self._names = {source}

    def build(self) -> Graph:
        for tensor in self.model.graph.initializer:
            self.environment[tensor.name] = _array(tensor)
        for sparse in self.model.graph.sparse_initializer:
            raise BadModel(
                f"initialiser {sparse.values.name!r} is sparse: export the model with dense weights"
            )
        for node in self.model.graph.node:
            self.visit(node)
        return self._finish()

    def fresh(self, base: str) -> str:
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}#{count}"
        self._names.add(name)
        return name

    def emit(self, call: Call, node: Node) -> str:
        try:
            self.shapes[node.output] = infer_shape(
                node, [self.shapes[value] for value in node.inputs]
            )
        except ContractViolation as error:
            call.fail(str(error).split(": ", 1)[-1], f"operand shapes {call.shapes()}")
        self.nodes.append(node)
        return node.output

    def visit(self, proto: onnx.NodeProto) -> None:
        missing = [name for name in proto.input if name and name not in self.environment]
        if missing:
            raise BadModel(
                f"{proto.op_type} {proto.name!r} reads {missing[0]!r}, which nothing before it makes"
            )
        attrs = {
            attribute.name: helper.get_attribute_value(attribute) for attribute in proto.attribute
        }
        call = Call(
            self,
            proto,
            attrs,
            tuple(self.environment[name] if name else None for name in proto.input),
        )
        if proto.op_type == "If" and isinstance(call.operands[0], np.ndarray):
            self._inline(call)
        elif self._folds(call):
            for name, array in zip(proto.output, self._fold(call), strict=False):
                self.environment[name] = array
        elif proto.op_type in _IMPORTERS:
            try:
                results = _IMPORTERS[proto.op_type](call)
            except (
                ValueError,
                IndexError,
                KeyError,
                TypeError,
                ZeroDivisionError,
                OverflowError,
            ) as error:
                call.fail(
                    f"malformed ({type(error).__name__}: {error})",
                    f"operand shapes {call.shapes()}",
                )
            for name, value in zip(proto.output, results, strict=False):
                if name:
                    self.environment[name] = value
                    self._agree(call, name, value)
        else:
            call.fail(
                "not supported",
                _ADVICE.get(
                    proto.op_type, "express it with the operators listed in docs/onnx-support.md"
                ),
            )

    def _agree(self, call: Call, name: str, value: str) -> None:
        """ONNX's own inference is an independent check of the importers; a
        mismatch would be a defect here.
        """
        if call.attrs.get("ceil_mode", 0):
            return  # onnx's own formula still has the window that opset 19 clarified away
        if self.declared.get(name, self.shapes[value]) != self.shapes[value]:
            raise ContractViolation(
                f"{call.proto.op_type} {call.label!r}: shape {self.shapes[value]}, ONNX infers {self.declared[name]}"
            )

    def _inline(self, call: Call) -> None:
        branch: onnx.GraphProto = call.attrs[
            "then_branch" if bool(np.all(call.operands[0])) else "else_branch"
        ]
        for tensor in branch.initializer:
            self.environment[tensor.name] = _array(tensor)
        for node in branch.node:
            self.visit(node)
        for name, output in zip(call.proto.output, branch.output, strict=True):
            self.environment[name] = self.environment[output.name]

    def _folds(self, call: Call) -> bool:
        if call.proto.op_type in ("Shape", "Size"):
            return True
        return call.proto.op_type not in _NEVER_FOLDED and not any(
            isinstance(operand, str) for operand in call.operands
        )

    def _fold(self, call: Call) -> list[Array]:
        """The outputs of a node without secret operands, by ONNX's reference implementation."""
        if call.proto.op_type in ("Shape", "Size") and call.is_value(0):
            shape = self.shapes[call.value(0)]
            if call.proto.op_type == "Size":
                return [np.array(math.prod(shape), np.int64)]
            return [
                np.array(shape[call.attrs.get("start", 0) : call.attrs.get("end", None)], np.int64)
            ]
        feeds = {
            name: operand
            for name, operand in zip(call.proto.input, call.operands, strict=True)
            if name
        }
        try:
            graph = helper.make_graph(
                [call.proto],
                "constant",
                [helper.make_value_info(name, onnx.TypeProto()) for name in feeds],
                [
                    helper.make_value_info(name, onnx.TypeProto())
                    for name in call.proto.output
                    if name
                ],
            )
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
            with np.errstate(all="ignore"):
                return [np.asarray(result) for result in ReferenceEvaluator(model).run(None, feeds)]
        except (
            Exception
        ) as error:  # whatever the reference implementation raises, the user needs the node's name
            call.fail(
                f"a constant that cannot be computed ({type(error).__name__}: {error})",
                "simplify the model before importing it",
            )

    def _finish(self) -> Graph:
        outputs: list[str] = []
        for output in self.model.graph.output:
            value = self.environment.get(output.name)
            if value is None:
                raise BadModel(f"nothing makes the output {output.name!r}")
            if not isinstance(value, str):
                raise BadModel(
                    f"output {output.name!r} does not depend on the input {self.source!r}: remove it from the model"
                )
            if (
                value in outputs or value == self.source
            ):  # a second name for one value needs a node of its own
                node = Node(
                    "Reshape",
                    output.name,
                    (value,),
                    self.fresh(output.name),
                    {"shape": self.shapes[value]},
                )
                self.nodes.append(node)
                self.shapes[node.output] = self.shapes[value]
                value = node.output
            outputs.append(value)
        if not outputs:
            raise BadModel(f"model {self.name!r} has no output")
        names: dict[str, str] = dict(
            zip(outputs, (output.name for output in self.model.graph.output), strict=True)
        )
        taken = set(names.values()) - {self.source}
        for value in (
            self.shapes
        ):  # the outputs keep their ONNX names; whoever else has one of them steps aside
            if value not in names and value in taken:
                names[value] = self.fresh(value)

        def renamed(value: str) -> str:
            return names.get(value, value)

        nodes = [
            node.with_(
                inputs=tuple(renamed(value) for value in node.inputs), output=renamed(node.output)
            )
            for node in self.nodes
        ]
        shapes = {renamed(value): shape for value, shape in self.shapes.items()}
        graph = Graph(
            self.name,
            (self.source,),
            tuple(renamed(value) for value in outputs),
            tuple(nodes),
            shapes,
        )
        graph = rebuilt(graph, nodes)
        for node in graph.nodes:
            if node.op in ("Sigmoid", "Softmax") and (
                graph.consumers(node.output) or node.output not in graph.outputs
            ):
                raise BadModel(
                    f"{node.op} {node.name!r}: only supported directly before an output, where the client applies "
                    "it to the revealed logits; replace it by Relu and fine-tune the model, or cut the model there"
                )
        return graph
