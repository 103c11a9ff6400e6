"""A vendor's ONNX file, which it may have from a stranger."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import TensorProto

from moiety.compiler.onnx_import.load import import_onnx
from tests.fuzz.mutation import INTEGERS, REALS, WORDS
from tests.fuzz.target import Target, laid
from tests.support.onnx_models import ModelBuilder, build_model
from tests.support.several_inputs import clinical

LONGEST = 1 << 13


def run_model(data: bytes) -> None:
    import_onnx(laid("model.onnx", data))


def seeds() -> Iterator[bytes]:
    for model in (_layers(), _shapes(), _client_side(), clinical()):
        yield model.SerializeToString()


def _layers() -> onnx.ModelProto:
    def build(b: ModelBuilder) -> str:
        x = b.op("Relu", b.batchnorm(b.conv("x", 1, 4, 3, pads=[1, 1, 1, 1]), 4))
        x = b.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        x = b.op("Clip", b.conv(x, 4, 4, 3, group=2, strides=[2, 2]), b.constant(0.0, np.float32))
        x = b.op("AveragePool", x, kernel_shape=[1, 1])
        return b.gemm(b.op("Flatten", b.op("GlobalAveragePool", x)), 4, 3)

    return build_model(["N", 1, 8, 8], build)


def _shapes() -> onnx.ModelProto:
    def build(b: ModelBuilder) -> str:
        x = b.conv("x", 1, 4, 1)
        size = b.op("Concat", b.op("Shape", x, start=0, end=2), b.ints(16, 4), axis=0)
        x = b.op("Reshape", x, size)
        x = b.op("Slice", x, b.ints(0), b.ints(8), b.ints(2))
        x = b.op("Transpose", x, perm=[0, 1, 3, 2])
        x = b.op("Pad", x, b.ints(0, 0, 1, 1, 0, 0, 1, 1))
        x = b.op("Resize", x, "", b.constant([1, 1, 2, 2], np.float32), mode="nearest")
        parts = b.multi_op(2, "Split", x, axis=1, num_outputs=2)
        x = b.op("Expand", b.op("Tile", parts[0], b.ints(1, 1, 2, 1)), b.ints(1, 2, 1, 1))
        return b.op("ReduceMean", x, b.ints(2, 3), keepdims=0)

    return build_model([1, 1, 8, 8], build, opset=18)


def _client_side() -> onnx.ModelProto:
    """What comes after the last layer: the client computes it."""

    def build(b: ModelBuilder) -> Sequence[str]:
        x = b.gemm(b.op("Flatten", "x"), 64, 5)
        soft = b.op("Softmax", x, axis=1)
        best = b.op("ArgMax", soft, axis=1)
        top = b.multi_op(2, "TopK", soft, b.ints(2))
        over = b.op("Where", b.op("Greater", soft, b.constant(0.5, np.float32)), soft, x)
        return [soft, best, *top, over]

    return build_model(["N", 1, 8, 8], lambda b: list(build(b)))


# --- changes --------------------------------------------------------------------------------------


def of_model(data: bytes, rng: random.Random) -> bytes:
    """Fields of some messages in the model changed, nodes rewired, dimensions grown."""
    model = onnx.ModelProto()
    model.ParseFromString(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change = rng.choice((_rewire, _resize, _retype, _field, _field, _field))
        change(model, rng)
    return model.SerializeToString()


def _rewire(model: onnx.ModelProto, rng: random.Random) -> None:
    graph = model.graph
    node = rng.choice(graph.node)
    names = [name for each in graph.node for name in (*each.input, *each.output)] + ["", "x"]
    match rng.randrange(6):
        case 0 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        case 1:
            node.op_type = rng.choice((rng.choice(graph.node).op_type, *OPS))
        case 2:
            graph.node.append(node)
        case 3:
            graph.node.remove(node)
        case 4:
            node.input.append(rng.choice(names))
        case _:
            if node.attribute:
                rng.choice(graph.node).attribute.append(rng.choice(node.attribute))


OPS = (
    "Abs", "Cast", "ConstantOfShape", "ConvTranspose", "Expand", "Gather", "If", "Loop", "LRN",
    "MatMul", "Mod", "NonZero", "OneHot", "Pow", "Range", "Reshape", "Scan", "Sigmoid", "Squeeze",
    "Tile", "Unsqueeze", "Upsample",
)  # fmt: skip


def _resize(model: onnx.ModelProto, rng: random.Random) -> None:
    """A constant's elements, or a dimension."""
    if rng.randrange(2) and model.graph.initializer:
        tensor = rng.choice(model.graph.initializer)
        if tensor.data_type == TensorProto.INT64 and tensor.raw_data:
            values = np.frombuffer(tensor.raw_data, np.int64).copy()
            if values.size:
                wanted = rng.choice(INTEGERS)
                values[rng.randrange(values.size)] = np.clip(wanted, -(1 << 63), (1 << 63) - 1)
            tensor.raw_data = values.tobytes()
        elif tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(INTEGERS[:24])
        return
    value = rng.choice((*model.graph.input, *model.graph.output))
    if dims := value.type.tensor_type.shape.dim:
        rng.choice(dims).dim_value = rng.choice(INTEGERS[:24])


def _retype(model: onnx.ModelProto, rng: random.Random) -> None:
    kind = rng.randrange(24)
    if rng.randrange(2) and model.graph.initializer:
        rng.choice(model.graph.initializer).data_type = kind
    else:
        rng.choice(model.graph.input).type.tensor_type.elem_type = kind


def _field(model: onnx.ModelProto, rng: random.Random) -> None:
    """Any field of any message."""
    messages = list(_messages(model, 0))
    message = rng.choice(messages)
    fields = message.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    if field.message_type is not None:
        if rng.randrange(6) == 0:
            message.ClearField(field.name)
        elif field.is_repeated and len(value):
            value.add().CopyFrom(rng.choice(messages_like(messages, value[0])))
        return
    with_scalar = _scalar(value[0] if field.is_repeated and len(value) else value, rng)
    try:
        if not field.is_repeated:
            setattr(message, field.name, with_scalar)
        elif len(value) and rng.randrange(3):
            value[rng.randrange(len(value))] = with_scalar
        else:
            value.append(with_scalar)
    except (TypeError, ValueError):
        message.ClearField(field.name)


def messages_like(messages: Sequence[Message], one: Message) -> list[Message]:
    return [each for each in messages if type(each) is type(one)]


def _messages(message: Message, depth: int) -> Iterator[Message]:
    yield message
    if depth > 12:
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if field.is_repeated else (value,):
                yield from _messages(each, depth + 1)


def _scalar(value: object, rng: random.Random) -> object:
    match value:
        case int():
            return rng.choice((value + 1, value - 1, *INTEGERS[:24]))
        case float():
            return rng.choice((*REALS, -value))
        case bytes():
            return rng.choice((b"", value[:-1], value * 2, value[::-1], b"\xff" * 8))
        case _:
            return rng.choice((*WORDS[:8], str(value)[1:], "Relu"))


ONNX = Target("onnx", run_model, seeds, of_model, longest=LONGEST)
