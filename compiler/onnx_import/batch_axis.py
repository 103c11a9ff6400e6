"""Models without a batch axis: the same model with one, of size 1, in front of the input and of all
that is computed from it.

The importer takes the first axis for the batch. Of a model that treats it as data (it is joined,
moved or summed along it, or the input is a vector), the owner says so, and the model is rewritten
first: nodes that name axes or shapes name them one further, tensors of fewer axes than others that
they meet are given axes of size 1 behind the batch (NumPy's rule of broadcasting, kept under the
new axis). `rewritten(x[None]) == original(x)[None]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from moiety.compiler.ir.graph import Array, Shape
from moiety.compiler.onnx_import.folding import array_of
from moiety.protocols.errors import BadModel


def with_batch_axis(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a batch axis; BadModel for one that cannot be rewritten, naming the node."""
    return _Rewriting(model).result()


class _Rewriting:
    """One rewriting: which values have a batch axis by now, and the nodes made so far."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self.opset = next(e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))
        self.constants = {tensor.name: array_of(tensor) for tensor in graph.initializer}
        self.batched = {each.name for each in graph.input if each.name not in self.constants}
        self.shapes = _shapes(self.model)
        self.nodes: list[onnx.NodeProto] = []
        self.fresh = 0

    def result(self) -> onnx.ModelProto:
        graph = self.model.graph
        given = list(graph.node)
        for node in given:
            if self.batched.isdisjoint(node.input):
                if node.op_type == "Constant" and node.attribute[0].name == "value":
                    self.constants[node.output[0]] = array_of(node.attribute[0].t)
                self.nodes.append(node)
            elif node.op_type not in _RULES:
                self.fail(node, "has no form with a batch axis in front")
            else:
                _RULES[node.op_type](self, node)
                self.batched |= set(node.output)
        del graph.node[:]
        graph.node.extend(self.nodes)
        graph.ClearField("value_info")
        for value in (*graph.input, *graph.output):
            if value.name in self.batched:
                _set_shape(value, (1, *self.shape(value.name)))
        return self.model

    def fail(self, node: onnx.NodeProto, problem: str) -> NoReturn:
        raise BadModel(
            f"{node.op_type} {node.name or node.output[0]!r}: {problem}; give the model's input a "
            "batch axis instead"
        )

    def shape(self, value: str) -> Shape:
        """The value's shape in the given model."""
        if value in self.constants:
            return self.constants[value].shape
        if value not in self.shapes:
            raise BadModel(
                f"the shape of {value!r} is open: a model without a batch axis must fix all sizes"
            )
        return self.shapes[value]

    def rank(self, value: str) -> int:
        return len(self.shape(value))

    def ints(self, node: onnx.NodeProto, name: str, index: int | None) -> list[int] | None:
        """Integers given as an attribute or as a constant operand; None where absent."""
        for attribute in node.attribute:
            if attribute.name == name:
                found = helper.get_attribute_value(attribute)
                return list(found) if isinstance(found, Sequence) else [int(found)]
        if index is None or len(node.input) <= index or not node.input[index]:
            return None
        return [int(number) for number in self.array(node, node.input[index]).reshape(-1)]

    def array(self, node: onnx.NodeProto, name: str) -> Array:
        """The constant `name`, an operand of the node."""
        if name not in self.constants:
            self.fail(node, f"{name!r} must be a constant")
        return self.constants[name]

    def constant(self, array: Array) -> str:
        self.fresh += 1
        name = f"batch axis::{self.fresh}"
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        self.constants[name] = array
        return name

    def emit(self, op: str, inputs: Sequence[str], output: str = "", **attrs: Any) -> str:
        """A further node; the value it makes."""
        self.fresh += 1
        target = output or f"batch axis::{self.fresh}"
        self.nodes.append(helper.make_node(op, list(inputs), [target], name=target, **attrs))
        return target

    def reshaped(self, value: str, shape: Iterable[int], output: str = "") -> str:
        """`value` with a batch of 1 and this shape."""
        return self.emit("Reshape", [value, self.constant(np.array([1, *shape]))], output)

    def of_rank(self, value: str, rank: int) -> str:
        """A value with axes of size 1 behind the batch, so that it has `rank` axes beside it."""
        shape = self.shape(value)
        if value not in self.batched or len(shape) >= rank:
            return value
        return self.reshaped(value, (1,) * (rank - len(shape)) + shape)

    def keep(self, node: onnx.NodeProto, inputs: Sequence[str] = (), **changed: Any) -> None:
        """The node with other inputs and attributes."""
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        if inputs:
            kept.input[:] = inputs
        attributes = [each for each in kept.attribute if each.name not in changed]
        del kept.attribute[:]
        kept.attribute.extend(attributes)
        kept.attribute.extend(helper.make_attribute(*item) for item in changed.items())
        self.nodes.append(kept)


Rule = Callable[[_Rewriting, onnx.NodeProto], None]
_RULES: dict[str, Rule] = {}


def _rule(*op_types: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(op_types, function))
        return function

    return register


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    inferred = shape_inference.infer_shapes(model).graph
    shapes = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return shapes


def _set_shape(value: onnx.ValueInfoProto, shape: Shape) -> None:
    dims = value.type.tensor_type.shape
    dims.ClearField("dim")
    dims.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size) for size in shape)


def _later(axis: int) -> int:
    """The same axis behind a further one in front."""
    return axis + 1 if axis >= 0 else axis


# --- element by element ---------------------------------------------------------------------------


@_rule("Abs", "Cast", "Celu", "Clip", "Dropout", "Elu", "Gelu", "HardSigmoid", "HardSwish")
@_rule("Identity", "LeakyRelu", "Mish", "Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign")
@_rule("Tanh", "ThresholdedRelu", "Swish", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Ceil")
@_rule("Floor", "Round", "Sign", "IsNaN", "Not")
def _alike(at: _Rewriting, node: onnx.NodeProto) -> None:
    at.keep(node)


@_rule("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu", "Where")
@_rule("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Xor")
def _broadcast(at: _Rewriting, node: onnx.NodeProto) -> None:
    rank = max(at.rank(name) for name in node.input)
    at.keep(node, [at.of_rank(name, rank) for name in node.input])


@_rule("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool")
@_rule("GlobalMaxPool", "MaxPool", "Resize", "Upsample")
def _of_one_image(at: _Rewriting, node: onnx.NodeProto) -> None:
    """What knows a batch itself: the model has made one, of one image."""
    source, target = node.input[0], node.output[0]
    shape = at.shape(source)
    if shape[:1] != (1,) or not at.batched.isdisjoint(node.input[1:]):
        at.fail(node, f"its operand of shape {shape} is no batch of one image")
    image = at.reshaped(source, shape[1:])
    at.keep(node, [image, *node.input[1:]])
    at.nodes[-1].output[0] = made = f"{target}::image"
    at.reshaped(made, at.shape(target), target)


@_rule("Shape", "Size")
def _of_shape(at: _Rewriting, node: onnx.NodeProto) -> None:
    at.fail(node, "asks for a shape")


# --- along an axis --------------------------------------------------------------------------------


@_rule("QuantizeLinear", "DequantizeLinear")
def _quantised(at: _Rewriting, node: onnx.NodeProto) -> None:
    """By one scale, or by one for each place of an axis."""
    if at.rank(node.input[1]) == 0:
        return at.keep(node)
    (axis,) = at.ints(node, "axis", None) or [1]
    at.keep(node, axis=_later(axis))


_FROM_THE_FRONT = ("ArgMax", "ArgMin", "Gather", "GatherElements", "Split")
_FROM_THE_BACK = ("LpNormalization", "TopK")


@_rule("Concat", "Softmax", "LogSoftmax", "Hardmax", *_FROM_THE_FRONT, *_FROM_THE_BACK)
def _along_axis(at: _Rewriting, node: onnx.NodeProto) -> None:
    if node.op_type == "Gather" and node.input[1] in at.batched:
        at.fail(node, "its indices are computed")
    usual = -1 if at.opset >= 13 or node.op_type in _FROM_THE_BACK else 1
    (axis,) = at.ints(node, "axis", None) or [0 if node.op_type in _FROM_THE_FRONT else usual]
    inputs = list(node.input)
    if node.op_type == "GatherElements" and inputs[1] not in at.batched:
        inputs[1] = at.constant(at.array(node, inputs[1])[None])
    at.keep(node, inputs, axis=_later(axis))


@_rule("CumSum")
def _running(at: _Rewriting, node: onnx.NodeProto) -> None:
    (axis,) = at.ints(node, "axis", 1) or [0]
    at.keep(node, [node.input[0], at.constant(np.array(_later(axis)))])


@_rule("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")
@_rule("ReduceSumSquare", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp")
def _reduced(at: _Rewriting, node: onnx.NodeProto) -> None:
    given = at.ints(node, "axes", 1)
    if not given and at.ints(node, "noop_with_empty_axes", None) == [1]:
        return at.keep(node)
    axes = [*map(_later, given)] if given else [*range(1, at.rank(node.input[0]) + 1)]
    _with_axes(at, node, axes, 13 if node.op_type == "ReduceSum" else 18)


@_rule("Squeeze", "Unsqueeze", "Reshape", "Flatten")
def _reshaped(at: _Rewriting, node: onnx.NodeProto) -> None:
    at.reshaped(node.input[0], at.shape(node.output[0]), node.output[0])


@_rule("Transpose")
def _transposed(at: _Rewriting, node: onnx.NodeProto) -> None:
    perm = at.ints(node, "perm", None) or [*reversed(range(at.rank(node.input[0])))]
    at.keep(node, perm=[0, *map(_later, perm)])


@_rule("Slice")
def _sliced(at: _Rewriting, node: onnx.NodeProto) -> None:
    starts = at.ints(node, "starts", 1) or []
    axes = at.ints(node, "axes", 3) or [*range(len(starts))]
    if at.opset < 10:
        return at.keep(node, axes=[*map(_later, axes)])
    operands = [*node.input[:3], at.constant(np.array([*map(_later, axes)])), *node.input[4:]]
    at.keep(node, operands)


def _with_axes(at: _Rewriting, node: onnx.NodeProto, axes: list[int], since: int) -> None:
    """Axes are an attribute, or since an opset the second operand."""
    if at.opset < since:
        at.keep(node, axes=axes)
    else:
        at.keep(node, [node.input[0], at.constant(np.array(axes))])


# --- shapes ---------------------------------------------------------------------------------------


@_rule("Expand")
def _expanded(at: _Rewriting, node: onnx.NodeProto) -> None:
    shape = at.shape(node.output[0])
    operand = at.of_rank(node.input[0], len(shape))
    at.keep(node, [operand, at.constant(np.array([1, *shape]))])


@_rule("Tile")
def _tiled(at: _Rewriting, node: onnx.NodeProto) -> None:
    repeats = at.ints(node, "repeats", 1) or []
    at.keep(node, [node.input[0], at.constant(np.array([1, *repeats]))])


@_rule("Pad")
def _padded(at: _Rewriting, node: onnx.NodeProto) -> None:
    pads, rank = at.ints(node, "pads", 1) or [], at.rank(node.input[0])
    axes = at.ints(node, "axes", 3) or [*range(rank)]
    full = np.zeros((2, rank + 1), np.int64)
    full[:, [axis % rank + 1 for axis in axes]] = np.reshape(pads, (2, -1))
    if at.opset < 11:
        return at.keep(node, pads=full.reshape(-1).tolist())
    at.keep(node, [node.input[0], at.constant(full.reshape(-1)), *node.input[2:3]])


# --- products -------------------------------------------------------------------------------------


@_rule("MatMul")
def _product(at: _Rewriting, node: onnx.NodeProto) -> None:
    """A vector on the left is a row, on the right a column, which the result lacks."""
    left, right = (at.shape(name) for name in node.input)
    rank = max(2, len(left), len(right))
    operands = []
    for name, shape, matrix in (
        (node.input[0], left, (1, *left) if len(left) == 1 else left),
        (node.input[1], right, (*right, 1) if len(right) == 1 else right),
    ):
        full = (1,) * (rank - len(matrix)) + tuple(matrix)
        if name in at.batched:
            operands.append(name if full == shape else at.reshaped(name, full))
        else:
            operands.append(at.constant(np.reshape(at.array(node, name), matrix)))
    result = at.emit("MatMul", operands)
    at.reshaped(result, at.shape(node.output[0]), node.output[0])


@_rule("Gemm")
def _gemm(at: _Rewriting, node: onnx.NodeProto) -> None:
    """Its rows are no batch: a MatMul and an Add."""
    attrs = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    operand = node.input[0]
    if operand not in at.batched or node.input[1] in at.batched:
        at.fail(node, "only its first matrix may be computed from the input")
    if attrs.get("transA", 0):
        operand = at.emit("Transpose", [operand], perm=[0, 2, 1])
    weight = at.array(node, node.input[1]) * np.float32(attrs.get("alpha", 1.0))
    weight = weight.T if attrs.get("transB", 0) else weight
    product = [operand, at.constant(np.ascontiguousarray(weight, np.float32))]
    if len(node.input) < 3 or not node.input[2]:
        at.emit("MatMul", product, node.output[0])
        return
    bias = at.array(node, node.input[2]) * np.float32(attrs.get("beta", 1.0))
    at.emit(
        "Add",
        [at.emit("MatMul", product), at.constant(np.asarray(bias, np.float32))],
        node.output[0],
    )
