"""onnxruntime as the compiler uses it: one CPU session, its options, and what it complains of."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from moiety.compiler.ir.graph import Array
from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput, BadModel

NEWEST_IR_VERSION = 10
"""What every supported onnxruntime reads; later ones brought nothing that a CNN needs."""


def open_session(
    model: onnx.ModelProto | Path, *, as_written: bool = False
) -> onnxruntime.InferenceSession:
    """A session of one thread. `as_written`: node by node, without optimisation. Raises whatever
    onnxruntime does, which shares no base class (`reason` words it).
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")  # a copy of all weights
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def reason(error: Exception) -> str:
    """What onnxruntime says, on one line, without its codes and source files."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (.* Status Message: )?", "", text)
    return re.sub(r"\S+\.(cc|h):\d+ .*?\) ", "", text)[:300]


class RunningModel:
    """An ONNX model in onnxruntime that takes one float32 image `(1, ...)`, or one for each of
    several inputs, whatever type and batch it was written for, and gives that image's results.

    The image is repeated to the batch that the model asks for. A type for which onnxruntime has no
    kernels, as double convolutions, is replaced by float32 (`converted`). `outputs` are the
    outputs' names. BadModel, which calls the model `name`, where onnxruntime cannot load it.
    """

    def __init__(
        self,
        model: onnx.ModelProto | Path,
        name: str,
        *,
        as_written: bool = False,
    ) -> None:
        self.name = name
        try:
            self._session, self.converted = _loaded(model, as_written)
        except Exception as error:
            raise BadModel(f"{name}: onnxruntime cannot load it: {reason(error)}") from error
        self.outputs = [value.name for value in self._session.get_outputs()]
        self._inputs = self._session.get_inputs()
        if not self._inputs:
            raise BadModel(f"{name}: it has no input")

    def __call__(self, image: Mapping[str, F32]) -> list[Array]:
        """For images by the inputs' names; that of one whose name the model does not have goes to
        its first. BadInput where the model does not take them.
        """
        known = {value.name: value for value in self._inputs}
        if len(image) == 1 and known.keys().isdisjoint(image):
            image = dict(zip([self._inputs[0].name], image.values(), strict=True))
        for name in image:
            if name not in known:
                raise BadInput(f"{self.name}: it has no input {name!r}, only {', '.join(known)}")
        batch, *_ = known[next(iter(image))].shape or [1]
        copies = batch if isinstance(batch, int) and batch > 0 else 1
        feeds = {
            value.name: np.repeat(image[value.name], copies, 0).astype(_numpy_type(value))
            if value.name in image
            else _nothing(value)
            for value in self._inputs
        }
        try:
            results = self._session.run(None, feeds)
        except Exception as error:
            shapes = " and ".join(str(each.shape[1:]) for each in image.values())
            raise BadInput(
                f"{self.name}: onnxruntime does not take an image of shape {shapes}: "
                f"{reason(error)}"
            ) from error
        if copies == 1:
            return list(results)
        return [each[:1].copy() if each.shape[:1] == (copies,) else each for each in results]


def _loaded(
    model: onnx.ModelProto | Path, as_written: bool
) -> tuple[onnxruntime.InferenceSession, bool]:
    """As it is or else in float32, and whether that was needed; what onnxruntime says of the first
    is the better message.
    """
    try:
        session = open_session(model, as_written=as_written)
        if all(value.type != "tensor(bfloat16)" for value in session.get_inputs()):
            return session, False
        refused: Exception = TypeError("bfloat16 inputs cannot be fed")
    except Exception as error:
        refused = error
    proto = onnx.load(model) if isinstance(model, Path) else model
    try:
        return open_session(in_float32(proto), as_written=as_written), True
    except Exception:
        raise refused from None


def _nothing(value: onnxruntime.NodeArg) -> Array:
    """For an input that no result depends on."""
    shape = [size if isinstance(size, int) else 1 for size in value.shape]
    return np.zeros(shape, _numpy_type(value))


def _numpy_type(value: onnxruntime.NodeArg) -> str:
    """Of an input `tensor(float)`, `tensor(double)`, `tensor(float16)`, `tensor(uint8)`, ..."""
    name = value.type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


REAL = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
"""The real types beside float32."""


def in_float32(model: onnx.ModelProto, kinds: Collection[int] = REAL) -> onnx.ModelProto:
    """The model with these types replaced by float32, for which onnxruntime has kernels."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    _widen_graph(wide.graph, kinds)
    return wide


def _widen_graph(graph: onnx.GraphProto, kinds: Collection[int]) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor, kinds)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in kinds:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for attribute in (each for node in graph.node for each in node.attribute):
        if attribute.name in ("to", "dtype", "output_dtype") and attribute.i in kinds:
            attribute.i = TensorProto.FLOAT
        if attribute.HasField("t"):
            _widen_tensor(attribute.t, kinds)
        if attribute.HasField("g"):
            _widen_graph(attribute.g, kinds)


def _widen_tensor(tensor: onnx.TensorProto, kinds: Collection[int]) -> None:
    if tensor.data_type in kinds:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
