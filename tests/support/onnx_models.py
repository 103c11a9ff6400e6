"""Small ONNX models for tests, built node by node with onnx.helper."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from moiety.compiler.ir.graph import Array

Attribute = int | float | str | Sequence[int] | Sequence[float] | onnx.TensorProto | onnx.GraphProto
"""What a node's attribute may be, of those that tests write."""


class ModelBuilder:
    """Appends nodes; every method returns the name of the value it makes. `rng` draws weights."""

    def __init__(self, input_shape: Sequence[int | str], seed: int = 0, opset: int = 17) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.input_shape = list(input_shape)
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def constant(self, array: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        name = f"c{len(self.initialisers)}"
        self.initialisers.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def op(self, op_type: str, *inputs: str, **attrs: Attribute) -> str:
        (output,) = self.multi_op(1, op_type, *inputs, **attrs)
        return output

    def multi_op(self, outputs: int, op_type: str, *inputs: str, **attrs: Attribute) -> list[str]:
        """A node with this many outputs."""
        names = [f"v{len(self.nodes)}" + (f"_{index}" if index else "") for index in range(outputs)]
        name = f"{op_type.lower()}{len(self.nodes)}"
        node = helper.make_node(op_type, list(inputs), names, name=name)
        node.attribute.extend(helper.make_attribute(*attr) for attr in sorted(attrs.items()))
        self.nodes.append(node)
        return names

    def normal(self, *shape: int, scale: float | None = None) -> Array:
        fan = max(1, int(np.prod(shape[1:])))
        return (self.rng.standard_normal(shape) * (scale or fan**-0.5)).astype(np.float32)

    def conv(
        self,
        x: str,
        cin: int,
        cout: int,
        kernel: int | tuple[int, int],
        bias: bool = False,
        group: int = 1,
        **attrs: Attribute,
    ) -> str:
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        inputs = [x, self.constant(self.normal(cout, cin // group, *size))]
        if bias:
            inputs.append(self.constant(self.normal(cout, scale=0.5)))
        return self.op("Conv", *inputs, group=group, kernel_shape=size, **attrs)

    def batchnorm(self, x: str, channels: int) -> str:
        """With the gammas that public checkpoints have: negative, tiny and zero ones among the
        ordinary.
        """
        gamma = self.rng.uniform(0.5, 1.5, channels) * self.rng.choice([-1, 1], channels)
        gamma[: channels // 4] *= 1e-6
        gamma[:2] = 0, -0.7
        beta, mean = self.normal(channels, scale=0.5), self.normal(channels, scale=0.5)
        variance = self.rng.uniform(0.5, 2, channels)
        return self.op(
            "BatchNormalization",
            x,
            *(self.constant(array, np.float32) for array in (gamma, beta, mean, variance)),
        )

    def gemm(self, x: str, cin: int, cout: int) -> str:
        return self.op(
            "Gemm",
            x,
            self.constant(self.normal(cout, cin)),
            self.constant(self.normal(cout, scale=0.5)),
            transB=1,
        )

    def model(self, *outputs: str, inputs: Sequence[onnx.ValueInfoProto] = ()) -> onnx.ModelProto:
        data = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.input_shape)
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in outputs or (self.nodes[-1].output[0],)
        ]
        graph = helper.make_graph(self.nodes, "small", [data, *inputs], results, self.initialisers)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        with contextlib.suppress(onnx.shape_inference.InferenceError):
            model = onnx.shape_inference.infer_shapes(model)
        for output in model.graph.output:  # valid ONNX states a shape, however open
            if not output.type.tensor_type.HasField("shape"):
                output.type.CopyFrom(data.type)
                for axis, dim in enumerate(output.type.tensor_type.shape.dim):
                    dim.dim_param = f"open{axis}"
        return model


Build = Callable[[ModelBuilder], str | list[str]]
"""Adds nodes, and returns the value or values that are to be the model's outputs."""


def build_model(shape: Sequence[int | str], build: Build, opset: int = 17) -> onnx.ModelProto:
    """The model on an input `x` of this shape that `build` makes."""
    b = ModelBuilder(shape, opset=opset)
    built = build(b)
    return b.model(*([built] if isinstance(built, str) else built))


def typed_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The outputs' types as ONNX infers them: some are integers."""
    for output in model.graph.output:
        output.ClearField("type")
    return onnx.shape_inference.infer_shapes(model)


def run_model(model: onnx.ModelProto, feeds: Array | dict[str, Array]) -> list[Array]:
    """The model's outputs by onnxruntime, unoptimised; an array feeds the first input."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    results: list[Array] = session.run(
        None, feeds if isinstance(feeds, dict) else {model.graph.input[0].name: feeds}
    )
    return results


def with_metadata(model: onnx.ModelProto, **entries: object) -> onnx.ModelProto:
    """The same model, which says these things of itself: `labels=["a"]` is its moiety.labels."""
    said = {prop.key: prop.value for prop in model.metadata_props}
    said |= {f"moiety.{name}": json.dumps(value) for name, value in entries.items()}
    helper.set_model_props(model, said)
    return model
