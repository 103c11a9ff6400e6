"""Small ONNX models for tests, built node by node with onnx.helper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from moiety.compiler.graph import Array
from onnx import TensorProto, helper, numpy_helper


class ModelBuilder:
    """Appends nodes; every method returns the name of the value it makes. `rng` draws weights."""

    def __init__(self, input_shape: Sequence[int | str], seed: int = 0, opset: int = 17) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.input_shape = list(input_shape)
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def constant(self, array: Any, dtype: Any = None) -> str:
        name = f"c{len(self.initialisers)}"
        self.initialisers.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def op(self, op_type: str, *inputs: str, outputs: int = 1, **attrs: Any) -> Any:
        names = [f"v{len(self.nodes)}" + (f"_{index}" if index else "") for index in range(outputs)]
        self.nodes.append(
            helper.make_node(op_type, list(inputs), names, name=f"{op_type.lower()}{len(self.nodes)}", **attrs)
        )
        return names[0] if outputs == 1 else names

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
        **attrs: Any,
    ) -> str:
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        inputs = [x, self.constant(self.normal(cout, cin // group, *size))]
        if bias:
            inputs.append(self.constant(self.normal(cout, scale=0.5)))
        return str(self.op("Conv", *inputs, group=group, kernel_shape=size, **attrs))

    def batchnorm(self, x: str, channels: int) -> str:
        """With the gammas that public checkpoints have: negative, tiny and zero ones among the ordinary."""
        gamma = self.rng.uniform(0.5, 1.5, channels) * self.rng.choice([-1, 1], channels)
        gamma[: channels // 4] *= 1e-6
        gamma[0] = 0
        beta, mean = self.normal(channels, scale=0.5), self.normal(channels, scale=0.5)
        variance = self.rng.uniform(0.5, 2, channels)
        return str(
            self.op(
                "BatchNormalization", x, *(self.constant(array, np.float32) for array in (gamma, beta, mean, variance))
            )
        )

    def gemm(self, x: str, cin: int, cout: int) -> str:
        return str(
            self.op(
                "Gemm", x, self.constant(self.normal(cout, cin)), self.constant(self.normal(cout, scale=0.5)), transB=1
            )
        )

    def model(self, *outputs: str, inputs: Sequence[onnx.ValueInfoProto] = ()) -> onnx.ModelProto:
        data = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.input_shape)
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in outputs or (self.nodes[-1].output[0],)
        ]
        graph = helper.make_graph(self.nodes, "small", [data, *inputs], results, self.initialisers)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run_model(model: onnx.ModelProto, x: Array) -> list[Array]:
    """The model's outputs by onnxruntime, unoptimised."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, {model.graph.input[0].name: x})
    return results


def dense_net(seed: int = 0) -> onnx.ModelProto:
    """Two dense blocks of two layers with nested concats, an average-pooled transition, a final norm, a classifier."""
    b = ModelBuilder(["N", 3, 32, 32], seed)
    x = b.op("Relu", b.batchnorm(b.conv("x", 3, 8, 7, strides=[2, 2], pads=[3, 3, 3, 3]), 8))
    x, channels = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), 8
    for block in range(2):
        for _ in range(2):
            y = b.conv(b.op("Relu", b.batchnorm(x, channels)), channels, 12, 1)
            y = b.conv(b.op("Relu", b.batchnorm(y, 12)), 12, 4, 3, pads=[1, 1, 1, 1])
            x, channels = b.op("Concat", x, y, axis=1), channels + 4
        if block == 0:
            x = b.conv(b.op("Relu", b.batchnorm(x, channels)), channels, channels // 2, 1)
            x, channels = b.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), channels // 2
    x = b.op("GlobalAveragePool", b.op("Relu", b.batchnorm(x, channels)))
    b.gemm(b.op("Flatten", x), channels, 5)
    return b.model()


def residual_net(seed: int = 0) -> onnx.ModelProto:
    """Two basic blocks, the second with stride 2 and a projection."""
    b = ModelBuilder(["N", 3, 16, 16], seed)
    x = b.op("Relu", b.batchnorm(b.conv("x", 3, 8, 3, pads=[1, 1, 1, 1]), 8))
    for cin, cout, stride in ((8, 8, 1), (8, 16, 2)):
        y = b.op("Relu", b.batchnorm(b.conv(x, cin, cout, 3, pads=[1, 1, 1, 1], strides=[stride] * 2), cout))
        y = b.batchnorm(b.conv(y, cout, cout, 3, pads=[1, 1, 1, 1]), cout)
        skip = x if stride == 1 else b.batchnorm(b.conv(x, cin, cout, 1, strides=[2, 2]), cout)
        x = b.op("Relu", b.op("Add", y, skip))
    b.gemm(b.op("Flatten", b.op("GlobalAveragePool", x)), 16, 4)
    return b.model()


def mobile_net(seed: int = 0) -> onnx.ModelProto:
    """Inverted residuals: ReLU6, depthwise convolutions with stride 1 and 2, a linear bottleneck with a skip."""
    b = ModelBuilder(["N", 3, 16, 16], seed)

    def relu6(value: str) -> str:
        return str(b.op("Clip", value, b.constant(0, np.float32), b.constant(6, np.float32)))

    x = relu6(b.batchnorm(b.conv("x", 3, 8, 3, pads=[1, 1, 1, 1], strides=[2, 2]), 8))
    for stride in (1, 2):
        y = relu6(b.batchnorm(b.conv(x, 8, 16, 1), 16))
        y = relu6(b.batchnorm(b.conv(y, 16, 16, 3, group=16, pads=[1, 1, 1, 1], strides=[stride] * 2), 16))
        y = b.batchnorm(b.conv(y, 16, 8, 1), 8)
        x = b.op("Add", x, y) if stride == 1 else y
    b.gemm(b.op("Reshape", b.op("ReduceMean", x, axes=[2, 3], keepdims=0), b.ints(-1, 8)), 8, 4)
    return b.model()


def squeeze_net(seed: int = 0) -> onnx.ModelProto:
    """A fire module, ceil-mode pooling, a fully convolutional classifier, softmax."""
    b = ModelBuilder(["N", 3, 19, 19], seed)
    x = b.op("Relu", b.conv("x", 3, 8, 3, bias=True, strides=[2, 2]))
    x = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    squeezed = b.op("Relu", b.conv(x, 8, 4, 1, bias=True))
    left = b.op("Relu", b.conv(squeezed, 4, 8, 1, bias=True))
    right = b.op("Relu", b.conv(squeezed, 4, 8, 3, bias=True, pads=[1, 1, 1, 1]))
    x = b.op("Dropout", b.op("Concat", left, right, axis=1))
    x = b.op("Relu", b.conv(x, 16, 5, 1, bias=True))
    b.op("Softmax", b.op("Flatten", b.op("GlobalAveragePool", x)), axis=1)
    return b.model()


def inception_net(seed: int = 0) -> onnx.ModelProto:
    """Branches with 1x1, 1x7 and 7x1, pooled and strided paths, joined; mean over positions without keepdims."""
    b = ModelBuilder(["N", 3, 17, 17], seed)
    x = b.op("Relu", b.batchnorm(b.conv("x", 3, 8, 3), 8))
    one = b.op("Relu", b.batchnorm(b.conv(x, 8, 4, 1), 4))
    seven = b.conv(b.conv(x, 8, 4, (1, 7), pads=[0, 3, 0, 3]), 4, 4, (7, 1), pads=[3, 0, 3, 0])
    seven = b.op("Relu", b.batchnorm(seven, 4))
    pooled = b.op("AveragePool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=1)
    pooled = b.op("Relu", b.batchnorm(b.conv(pooled, 8, 4, 1), 4))
    x = b.op("Concat", one, seven, pooled, axis=1)
    left = b.op("Relu", b.batchnorm(b.conv(x, 12, 6, 3, strides=[2, 2]), 6))
    right = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    x = b.op("Concat", left, right, axis=1)
    b.gemm(b.op("ReduceMean", x, axes=[-1, -2], keepdims=0), 18, 4)
    return b.model()


NETS = {
    "dense": dense_net,
    "residual": residual_net,
    "mobile": mobile_net,
    "squeeze": squeeze_net,
    "inception": inception_net,
}
