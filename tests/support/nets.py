"""Small convolutional networks as ONNX models in memory, one per family that Moiety compiles.

No network is trained. Weights are drawn as by He et al. (2015), and every batch norm gets the
running mean and variance that its input really has on a few random images, because the builder
evaluates each node as it adds it. So activations keep the ranges of a trained network (a few
units), which fixed-point tests need.

    model = small_densenet(gammas="hostile")
    images = random_images((3, 16, 16), n=4, seed=1)
    expected = run_onnx(model, images)                       # float32 (4, 3)

The same seed gives the same function with `batch_norm="separate"` and `"folded"`, and for every
opset. All models: input `image` (N, C, image, image), C = 3 unless fitted to others, output
`logits` (N, labels), or (N, labels, image, image) of a U-Net, float32, N symbolic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from moiety.protocols.arrays import F32

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Gammas = Literal["ordinary", "hostile"]
BatchNorms = Literal["separate", "folded", "none"]
Head = Literal["pool", "mean"]
Output = Literal["logits", "sigmoid", "softmax"]
Activation = Literal["relu6", "hardswish", "silu"]

EPSILON = 1e-5
_IR_VERSION = 8


class Options(TypedDict, total=False):
    """What every builder takes beside its own sizes.

    `batch_norm`: a BatchNormalization node after each convolution; or folded into the convolution
    wherever that is its only consumer (what exporters do); or left out. A batch norm after no
    convolution stays a node in the first two. `gammas`: see `_Net.gamma_beta`. `opset`: 9 to 21
    (`small_squeezenet` from 10). `head`: the global average of densenet, resnet and inception as
    GlobalAveragePool and Flatten or, like PyTorch's newer exporter, as ReduceMean over the axes
    (-1, -2) and Reshape. `output`: what ends the network. `fitted_to`: the images (n, C,
    image, image) that batch norms are fitted to, eight random ones of three channels by default.
    """

    seed: int
    labels: int
    gammas: Gammas
    batch_norm: BatchNorms
    opset: int
    head: Head
    output: Output
    fitted_to: F32


def random_images(shape: Sequence[int], n: int, seed: int) -> F32:
    """`n` normalised images, float32 (n, *shape), `shape` (C, H, W): smooth waves
    and a little noise, -2.1 to 2.6.
    """
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None, :]
    waves = (n, channels, 6, 1, 1)
    angle = (
        rng.uniform(0.5, 20, waves) * y
        + rng.uniform(0.5, 20, waves) * x
        + rng.uniform(0, 2 * np.pi, waves)
    )
    smooth = (rng.normal(scale=0.6, size=waves) * np.sin(angle)).sum(2)
    noise = rng.normal(scale=0.2, size=smooth.shape)
    images: F32 = np.clip(smooth + noise, -2.1, 2.6).astype(np.float32)
    return images


def run_onnx(model: onnx.ModelProto, images: F32) -> F32:
    """The model's first output on `images` (n, C, H, W) by onnxruntime, unoptimised."""
    return _run(model, {model.graph.input[0].name: images})


def _run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> F32:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    result: F32 = session.run(None, dict(feeds))[0]
    return result


Up = Literal["nearest", "linear", "aligned"]
"""How an image is made twice as large by copies or means of its pixels."""


class _Net:
    """Adds nodes one by one, each evaluated on a calibration batch. Values are ONNX names."""

    def __init__(
        self,
        name: str,
        image: int,
        *,
        seed: int = 0,
        labels: int = 3,
        gammas: Gammas = "ordinary",
        batch_norm: BatchNorms = "separate",
        opset: int = 17,
        head: Head = "pool",
        output: Output = "logits",
        fitted_to: F32 | None = None,
    ) -> None:
        self.name, self.labels, self.gammas, self.batch_norm = name, labels, gammas, batch_norm
        self.opset, self.head, self.output, self.image = opset, head, output, image
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        if fitted_to is None:
            fitted_to = random_images((3, image, image), n=8, seed=seed + 1)
        self.values: dict[str, F32] = {"image": fitted_to}

    def channels(self, value: str) -> int:
        return int(self.values[value].shape[1])

    def constant(self, name: str, array: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        self.constants[name] = np.asarray(array, dtype=dtype)
        return name

    def add(self, op: str, inputs: Sequence[str], name: str = "", **attrs: Any) -> str:
        """Appends a node and returns the name of its output."""
        output = name or f"{op.lower()}{len(self.nodes)}"
        node = helper.make_node(op, list(inputs), [output], name=f"/{output}", **attrs)
        self.nodes.append(node)
        self.values[output] = self.evaluate(node)
        return output

    def evaluate(self, node: onnx.NodeProto) -> F32:
        feeds = {i: self.values[i] for i in node.input if i in self.values}
        infos = [
            helper.make_tensor_value_info(k, TensorProto.FLOAT, a.shape) for k, a in feeds.items()
        ]
        return _run(self.model([node], infos, [onnx.ValueInfoProto(name=node.output[0])]), feeds)

    def model(
        self,
        nodes: Sequence[onnx.NodeProto],
        inputs: list[onnx.ValueInfoProto],
        outputs: list[onnx.ValueInfoProto],
    ) -> onnx.ModelProto:
        used = {i for node in nodes for i in node.input}
        constants = [numpy_helper.from_array(a, k) for k, a in self.constants.items() if k in used]
        graph = helper.make_graph(nodes, self.name, inputs, outputs, constants)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="moiety-tests"
        )

    def finish(self, logits: str) -> onnx.ModelProto:
        """The model that ends with `logits`: (N, labels), of a segmentation (N, labels, H, W)."""
        if self.output != "logits":
            attrs = {"axis": 1} if self.output == "softmax" else {}
            logits = self.add(self.output.capitalize(), [logits], self.output, **attrs)
        self.nodes[-1].output[0] = "logits"
        image = helper.make_tensor_value_info(
            "image", TensorProto.FLOAT, ["N", self.channels("image"), self.image, self.image]
        )
        sizes = ["N", *self.values[logits].shape[1:]]
        result = helper.make_tensor_value_info("logits", TensorProto.FLOAT, sizes)
        model = self.model(self.nodes, [image], [result])
        onnx.checker.check_model(model, full_check=True)
        return model

    # Layers. `conv` is the convolution with the batch norm that follows it, if the network has any.

    def conv(
        self,
        x: str,
        filters: int,
        kernel: int | Pair,
        stride: int = 1,
        pads: int | Pair | None = None,
        groups: int = 1,
        normalise: bool = True,
        lift: float = 0.0,
    ) -> str:
        """`pads` is symmetric (rows, columns), by default what keeps the size at
        stride 1; `lift` is the mean bias.
        """
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        ph, pw = (pads, pads) if isinstance(pads, int) else pads or (kh // 2, kw // 2)
        fan_in = self.channels(x) // groups * kh * kw
        name = f"conv{len(self.nodes)}"
        weight = self.rng.normal(
            scale=np.sqrt(2 / fan_in), size=(filters, self.channels(x) // groups, kh, kw)
        )
        bias = self.rng.normal(loc=lift, scale=0.1, size=filters)
        attrs: dict[str, Any] = {
            "kernel_shape": [kh, kw],
            "strides": [stride, stride],
            "pads": [ph, pw, ph, pw],
            "dilations": [1, 1],
            "group": groups,
        }
        inputs = [x, self.constant(f"{name}.weight", weight)]
        if not normalise or self.batch_norm == "none":
            return self.add("Conv", [*inputs, self.constant(f"{name}.bias", bias)], name, **attrs)
        if self.batch_norm == "separate":
            return self.norm(self.add("Conv", inputs, name, **attrs))
        raw = self.evaluate(helper.make_node("Conv", inputs, ["raw"], **attrs))
        gamma, beta = self.gamma_beta(filters)
        scale = gamma / np.sqrt(raw.var((0, 2, 3), dtype=np.float64) + EPSILON)
        shift = beta - raw.mean((0, 2, 3), dtype=np.float64) * scale
        self.constant(f"{name}.weight", weight * scale[:, None, None, None])
        return self.add("Conv", [*inputs, self.constant(f"{name}.bias", shift)], name, **attrs)

    def norm(self, x: str) -> str:
        """A batch norm node whose running statistics are those of `x` on the calibration batch."""
        if self.batch_norm == "none":
            return x
        name = f"norm{len(self.nodes)}"
        gamma, beta = self.gamma_beta(self.channels(x))
        data = self.values[x]
        parts = {
            "weight": gamma,
            "bias": beta,
            "running_mean": data.mean((0, 2, 3)),
            "running_var": data.var((0, 2, 3)),
        }
        constants = [self.constant(f"{name}.{key}", array) for key, array in parts.items()]
        return self.add("BatchNormalization", [x, *constants], name, epsilon=EPSILON)

    def gamma_beta(self, channels: int) -> tuple[Array, Array]:
        """Scale and shift of a batch norm, float64 (channels,) each.

        ordinary: gamma 0.5 to 1.5, beta about 0.2. hostile: every second channel is ordinary; the
        others go round negative, zero, +-1e-6 (beta/gamma near a million), and small with a large
        beta (|beta/gamma| of 40). Every kind occurs in 14 channels, with betas of both signs.
        """
        gamma, beta = (
            self.rng.uniform(0.5, 1.5, channels),
            self.rng.normal(scale=0.2, size=channels),
        )
        if self.gammas == "hostile":
            gamma[1::14] *= -1
            gamma[3::14], beta[3::14] = 0, 0.5
            gamma[5::14], beta[5::14] = 1e-6, 0.7
            gamma[7::14], beta[7::14] = -0.05, 2
            gamma[9::14], beta[9::14] = 0, -0.5
            gamma[11::14], beta[11::14] = -1e-6, -0.7
            gamma[13::14], beta[13::14] = 0.05, -2
            order = self.rng.permutation(channels)
            gamma, beta = gamma[order], beta[order]
        return gamma, beta

    def relu(self, x: str) -> str:
        return self.add("Relu", [x])

    def conv_relu(
        self,
        x: str,
        filters: int,
        kernel: int | Pair,
        stride: int = 1,
        pads: int | Pair | None = None,
    ) -> str:
        return self.relu(self.conv(x, filters, kernel, stride, pads))

    def relu6(self, x: str) -> str:
        if self.opset < 11:
            return self.add("Clip", [x], min=0.0, max=6.0)
        return self.add("Clip", [x, self.constant("zero", 0.0), self.constant("six", 6.0)])

    def activation(self, kind: Activation, x: str) -> str:
        """As exporters write them."""
        match kind:
            case "relu6":
                return self.relu6(x)
            case "silu":
                return self.add("Mul", [x, self.add("Sigmoid", [x])])
            case "hardswish" if self.opset >= 14:
                return self.add("HardSwish", [x])
            case "hardswish":
                return self.add("Mul", [x, self.add("HardSigmoid", [x], alpha=1 / 6)])

    def pool(self, op: str, x: str, kernel: int, stride: int, pads: int = 0, **attrs: Any) -> str:
        return self.add(
            op, [x], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pads] * 4, **attrs
        )

    def upsample(self, x: str, up: Up = "nearest") -> str:
        """Twice the height and width, as PyTorch exports nn.Upsample; `aligned` is linear with
        align_corners=True.
        """
        scales = self.constant("scales", [1, 1, 2, 2])
        places = {"nearest": "asymmetric", "linear": "half_pixel", "aligned": "align_corners"}
        where, mode = places[up], "nearest" if up == "nearest" else "linear"
        how = {"mode": mode, "coordinate_transformation_mode": where, "nearest_mode": "floor"}
        return self.add("Resize", [x, "", scales], **how)

    def transposed(self, x: str, filters: int, kernel: int = 2, pads: int = 0) -> str:
        """A ConvTranspose with stride 2."""
        name = f"up{len(self.nodes)}"
        channels = self.channels(x)
        scale = np.sqrt(2 / (channels * (kernel / 2) ** 2))
        weight = self.constant(
            f"{name}.weight", self.rng.normal(scale=scale, size=(channels, filters, kernel, kernel))
        )
        bias = self.constant(f"{name}.bias", self.rng.normal(scale=0.1, size=filters))
        attrs: dict[str, Any] = {
            "kernel_shape": [kernel] * 2,
            "strides": [2, 2],
            "pads": [pads] * 4,
        }
        return self.add("ConvTranspose", [x, weight, bias], name, **attrs)

    def concat(self, *values: str) -> str:
        return self.add("Concat", values, axis=1)

    def flatten(self, x: str) -> str:
        return self.add("Flatten", [x], axis=1)

    def gemm(self, x: str, width: int, gain: float = 1.0) -> str:
        """A fully connected layer, its weight stored (width, inputs) as PyTorch does."""
        name = f"gemm{len(self.nodes)}"
        fan_in = self.channels(x)
        weight = self.constant(
            f"{name}.weight", self.rng.normal(scale=gain * fan_in**-0.5, size=(width, fan_in))
        )
        bias = self.constant(f"{name}.bias", self.rng.normal(scale=0.1, size=width))
        return self.add("Gemm", [x, weight, bias], name, alpha=1.0, beta=1.0, transB=1)

    def classifier(self, x: str) -> onnx.ModelProto:
        """Global average pool and a fully connected layer; its gain makes logits of a few units."""
        if self.head == "pool":
            pooled = self.flatten(self.add("GlobalAveragePool", [x]))
        else:
            shape = self.constant("flat", [-1, self.channels(x)], np.int64)
            pooled = self.add("Reshape", [self.mean(x, [-1, -2], keepdims=1), shape])
        return self.finish(self.gemm(pooled, self.labels, gain=4.0))

    def mean(self, x: str, axes: Sequence[int], keepdims: int) -> str:
        if self.opset < 18:
            return self.add("ReduceMean", [x], axes=list(axes), keepdims=keepdims)
        return self.add("ReduceMean", [x, self.constant("axes", axes, np.int64)], keepdims=keepdims)


def small_densenet(
    image: int = 16,
    growth: int = 4,
    layers: Sequence[int] = (2, 2),
    stem: int = 8,
    stem_kernel: int = 7,
    **options: Unpack[Options],
) -> onnx.ModelProto:
    """DenseNet-BC (Huang et al. 2017): stride-2 stem, 3x3/2 max pool, dense blocks, halving
    transitions.
    """
    net = _Net("small_densenet", image, **options)
    x = net.pool("MaxPool", net.conv_relu("image", stem, stem_kernel, stride=2), 3, 2, pads=1)
    for block, count in enumerate(layers):
        if block:
            x = net.conv(net.relu(net.norm(x)), net.channels(x) // 2, 1, normalise=False)
            x = net.pool("AveragePool", x, 2, 2)
        for _ in range(count):
            bottleneck = net.relu(net.conv(net.relu(net.norm(x)), 4 * growth, 1))
            x = net.concat(x, net.conv(bottleneck, growth, 3, normalise=False))
    return net.classifier(net.relu(net.norm(x)))


def small_resnet(
    image: int = 16,
    widths: Sequence[int] = (8, 16),
    blocks: int = 2,
    stem_kernel: int = 7,
    bottleneck: bool = False,
    **options: Unpack[Options],
) -> onnx.ModelProto:
    """ResNet (He et al. 2016) of basic or bottleneck blocks; each stage but the first begins with
    stride 2.

    Where the shape changes, the identity is a 1x1 convolution. Bottlenecks are 1x1, 3x3 (with the
    stride, as in torchvision), 1x1, and a quarter as wide inside.
    """
    net = _Net("small_resnet", image, **options)
    x = net.pool("MaxPool", net.conv_relu("image", widths[0], stem_kernel, stride=2), 3, 2, pads=1)
    for stage, width in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            if bottleneck:
                inner = net.conv_relu(net.conv_relu(x, width // 4, 1), width // 4, 3, stride)
                branch = net.conv(inner, width, 1)
            else:
                branch = net.conv(net.conv_relu(x, width, 3, stride), width, 3)
            identity = (
                net.conv(x, width, 1, stride, pads=0)
                if stride > 1 or net.channels(x) != width
                else x
            )
            x = net.relu(net.add("Add", [branch, identity]))
    return net.classifier(x)


def small_mobilenet(
    image: int = 16,
    stem: int = 8,
    stages: Sequence[tuple[int, int, int, int]] = ((1, 6, 1, 1), (2, 8, 2, 2), (2, 12, 1, 1)),
    last: int = 24,
    activation: Activation = "relu6",
    **options: Unpack[Options],
) -> onnx.ModelProto:
    """MobileNetV2 (Sandler et al. 2018); `stages` are (expansion, channels, repeats, first stride);
    ReduceMean head. With HardSwish or SiLU it is MobileNetV3 or EfficientNet without gates.
    """
    net = _Net("small_mobilenet", image, **options)

    def act(x: str) -> str:
        return net.activation(activation, x)

    x = act(net.conv("image", stem, 3, stride=2))
    for expansion, width, repeats, first_stride in stages:
        for repeat in range(repeats):
            stride, inner = (1 if repeat else first_stride), net.channels(x) * expansion
            y = x if expansion == 1 else act(net.conv(x, inner, 1))
            y = act(net.conv(y, inner, 3, stride, groups=inner))
            y = net.conv(y, width, 1)
            x = net.add("Add", [x, y]) if stride == 1 and net.channels(x) == width else y
    x = act(net.conv(x, last, 1))
    return net.finish(net.gemm(net.mean(x, [2, 3], keepdims=0), net.labels, gain=4.0))


def small_squeezenet(
    image: int = 16,
    stem: int = 8,
    fires: Sequence[Pair] = ((4, 8), (6, 8)),
    **options: Unpack[Options],
) -> onnx.ModelProto:
    """SqueezeNet 1.1 (Iandola et al. 2016): unpadded stem, ceil-mode max pools, convolutional
    classifier under a ReLU.

    `fires` are (squeeze, expand) filters. The published network has no batch norm:
    pass `batch_norm="none"` for it.
    """
    net = _Net("small_squeezenet", image, **options)
    x = net.conv_relu("image", stem, 3, stride=2, pads=0)
    for squeeze, expand in fires:
        x = net.pool("MaxPool", x, 3, 2, ceil_mode=1)
        for _ in range(2):
            s = net.conv_relu(x, squeeze, 1)
            x = net.concat(net.conv_relu(s, expand, 1), net.conv_relu(s, expand, 3))
    x = net.relu(net.conv(x, net.labels, 1, normalise=False, lift=2.0))
    return net.finish(net.flatten(net.add("GlobalAveragePool", [x])))


def small_vgg(
    image: int = 16,
    widths: Sequence[int] = (6, 8, 12),
    hidden: int = 24,
    **options: Unpack[Options],
) -> onnx.ModelProto:
    """VGG (Simonyan, Zisserman 2015): pairs of 3x3 convolutions, 2x2 max pools, three fully
    connected layers.
    """
    net = _Net("small_vgg", image, **options)
    x = "image"
    for width in widths:
        x = net.conv_relu(net.conv_relu(x, width, 3), width, 3)
        x = net.pool("MaxPool", x, 2, 2)
    x = net.flatten(x)
    for _ in range(2):
        x = net.relu(net.gemm(x, hidden, gain=2**0.5))
    return net.finish(net.gemm(x, net.labels, gain=4.0))


def small_inception(
    image: int = 16, stem: int = 8, width: int = 4, **options: Unpack[Options]
) -> onnx.ModelProto:
    """Inception (Szegedy et al. 2016): a block of 1x1, 3x3, two 3x3 and a pool; a reduction; a
    block of 1x5 and 5x1.
    """
    net = _Net("small_inception", image, **options)
    x = net.conv_relu("image", stem, 3, stride=2)
    pooled = net.pool("AveragePool", x, 3, 1, pads=1, count_include_pad=1)
    x = net.concat(
        net.conv_relu(x, width, 1),
        net.conv_relu(net.conv_relu(x, width, 1), width, 3),
        net.conv_relu(net.conv_relu(net.conv_relu(x, width, 1), width, 3), width, 3),
        net.conv_relu(pooled, width, 1),
    )
    x = net.concat(
        net.conv_relu(x, 2 * width, 3, stride=2, pads=0),
        net.conv_relu(net.conv_relu(x, width, 1), width, 3, stride=2, pads=0),
        net.pool("MaxPool", x, 3, 2),
    )
    pooled = net.pool("AveragePool", x, 3, 1, pads=1, count_include_pad=0)
    x = net.concat(
        net.conv_relu(x, width, 1),
        net.conv_relu(net.conv_relu(net.conv_relu(x, width, 1), width, (1, 5)), width, (5, 1)),
        net.conv_relu(pooled, width, 1),
    )
    return net.classifier(x)


def small_unet(
    image: int = 16,
    widths: Sequence[int] = (6, 8, 10),
    up: Literal["transposed"] | Up = "transposed",
    attention: bool = False,
    **options: Unpack[Options],
) -> onnx.ModelProto:
    """U-Net (Ronneberger et al. 2015): pairs of 3x3 convolutions, max pools on the way down, skips
    into the way up.

    `up` is a 2x2 ConvTranspose with stride 2, nearest upsampling and a 3x3 convolution, or linear
    upsampling alone, of either kind. `attention`: what a skip carries is gated pixel by pixel
    (Attention U-Net, Oktay et al. 2018), with a hard sigmoid. Logits (N, labels, image, image).
    """
    net = _Net("small_unet", image, **options)

    def gated(skip: str, large: str, width: int) -> str:
        added = net.add("Add", [net.conv(skip, width, 1), net.conv(large, width, 1)])
        line = net.conv(net.relu(added), 1, 1, normalise=False)
        return net.add("Mul", [net.add("HardSigmoid", [line]), skip])

    def double(x: str, width: int) -> str:
        return net.conv_relu(net.conv_relu(x, width, 3), width, 3)

    x, skips = double("image", widths[0]), []
    for width in widths[1:]:
        skips.append(x)
        x = double(net.pool("MaxPool", x, 2, 2), width)
    for width, skip in zip(reversed(widths[:-1]), reversed(skips), strict=True):
        if up == "transposed":
            large = net.transposed(x, width)
        elif up == "nearest":
            large = net.conv_relu(net.upsample(x), width, 3)
        else:
            large = net.upsample(x, up)
        if attention:
            skip = gated(skip, large, width)
        x = double(net.concat(skip, large), width)
    return net.finish(net.conv(x, net.labels, 1, normalise=False))


def small_senet(
    image: int = 16, widths: Sequence[int] = (8, 12), squeeze: int = 4, **options: Unpack[Options]
) -> onnx.ModelProto:
    """SE-ResNet (Hu et al. 2018), with the hard sigmoid of MobileNetV3 (Howard et al. 2019): basic
    blocks whose result is gated channel by channel before it is added to the skip.
    """
    net = _Net("small_senet", image, **options)
    x = net.conv_relu("image", widths[0], 3, stride=2)
    for width in widths:
        y = net.conv(net.conv_relu(x, width, 3, stride=2), width, 3)
        gate = net.relu(net.conv(net.add("GlobalAveragePool", [y]), squeeze, 1, normalise=False))
        gate = net.add("HardSigmoid", [net.conv(gate, width, 1, normalise=False)])
        x = net.relu(net.add("Add", [net.add("Mul", [y, gate]), net.conv(x, width, 1, stride=2)]))
    return net.classifier(x)


NETWORKS: dict[str, Callable[..., onnx.ModelProto]] = {
    "densenet": small_densenet,
    "resnet": small_resnet,
    "mobilenet": small_mobilenet,
    "mobilenet-hardswish": partial(small_mobilenet, activation="hardswish"),
    "mobilenet-silu": partial(small_mobilenet, activation="silu"),
    "squeezenet": small_squeezenet,
    "vgg": small_vgg,
    "inception": small_inception,
    "resnet-bottleneck": partial(small_resnet, bottleneck=True),
    "unet-transposed": partial(small_unet, up="transposed"),
    "unet-nearest": partial(small_unet, up="nearest"),
    "unet-linear": partial(small_unet, up="linear"),
    "unet-aligned": partial(small_unet, up="aligned"),
    "unet-attention": partial(small_unet, up="nearest", attention=True),
    "senet": small_senet,
}
