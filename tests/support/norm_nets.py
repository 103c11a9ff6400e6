"""Small networks with norms that are computed from each image, as `nets` has them of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

import numpy as np
import onnx

from tests.support.nets import EPSILON, Options, _Net


class _NormNet(_Net):
    """With instance, group and layer norms."""

    def weights_of_norm(self, channels: int) -> list[str]:
        """Scale and bias."""
        name, pair = f"norm{len(self.nodes)}", self.gamma_beta(channels)
        parts = zip(("weight", "bias"), pair, strict=True)
        return [self.constant(f"{name}.{key}", array) for key, array in parts]

    def instance_norm(self, x: str) -> str:
        return self.add("InstanceNormalization", [x, *self.weights_of_norm(self.channels(x))])

    def group_norm(self, x: str, groups: int) -> str:
        """As PyTorch exports nn.GroupNorm: the norm of each group's elements in a row."""
        channels, size = self.values[x].shape[1:3]
        gamma, beta = self.weights_of_norm(channels)
        ones, zeros = (
            self.constant("ones", np.ones(groups)),
            self.constant("nils", np.zeros(groups)),
        )
        rows = self.add("Reshape", [x, self.constant("rows", [0, groups, -1], np.int64)])
        rows = self.add("InstanceNormalization", [rows, ones, zeros])
        back = self.constant(f"like{len(self.nodes)}", [0, channels, size, size], np.int64)
        x = self.add("Reshape", [rows, back])
        for op, name in (("Mul", gamma), ("Add", beta)):
            wide = f"{name}.wide"
            x = self.add(op, [x, self.constant(wide, self.constants[name][:, None, None])])
        return x

    def layer_norm(self, x: str) -> str:
        """Over the last axis; before opset 17 as PyTorch wrote it then."""
        gamma, beta = self.weights_of_norm(self.values[x].shape[-1])
        if self.opset >= 17:
            return self.add("LayerNormalization", [x, gamma, beta], axis=-1, epsilon=EPSILON)
        centred = self.add("Sub", [x, self.add("ReduceMean", [x], axes=[-1])])
        square = self.add("Pow", [centred, self.constant("two", 2.0)])
        variance = self.add("ReduceMean", [square], axes=[-1])
        shifted = self.add("Add", [variance, self.constant("epsilon", EPSILON)])
        normal = self.add("Div", [centred, self.add("Sqrt", [shifted])])
        return self.add("Add", [self.add("Mul", [normal, gamma]), beta])

    def matmul(self, x: str, outputs: int) -> str:
        """Of the last axis, without a bias."""
        inputs = self.values[x].shape[-1]
        weight = self.rng.normal(scale=np.sqrt(2 / inputs), size=(inputs, outputs))
        return self.add("MatMul", [x, self.constant(f"dense{len(self.nodes)}", weight)])


def small_monai_unet(
    image: int = 16, widths: Sequence[int] = (6, 8, 10), **options: Unpack[Options]
) -> onnx.ModelProto:
    """U-Net as MONAI builds it: strided convolutions, each followed by an instance norm and a
    PReLU.
    """
    net = _NormNet("small_monai_unet", image, **options)

    def unit(x: str) -> str:
        normal = net.instance_norm(x)
        slope = net.constant(f"slope{len(net.nodes)}", np.full((1, 1, 1), 0.25))
        return net.add("PRelu", [normal, slope])

    x, skips = "image", []
    for width in widths:
        x = unit(net.conv(x, width, 3, stride=2, normalise=False))
        skips.append(x)
    skips.pop()
    for skip in reversed(skips):
        large = unit(net.transposed(x, net.channels(skip)))
        x = net.concat(skip, large)
    return net.finish(net.transposed(x, net.labels))


def small_convnext(
    image: int = 16, widths: Sequence[int] = (8, 12), **options: Unpack[Options]
) -> onnx.ModelProto:
    """ConvNeXt (Liu et al. 2022): depthwise convolutions, layer norms over the channels of each
    pixel, and a GELU between fully connected layers.
    """
    net = _NormNet("small_convnext", image, **options)

    def over_channels(x: str) -> str:
        last = net.add("Transpose", [x], perm=[0, 2, 3, 1])
        return net.add("Transpose", [net.layer_norm(last)], perm=[0, 3, 1, 2])

    def block(x: str) -> str:
        width = net.channels(x)
        y = net.conv(x, width, 3, groups=width, normalise=False)
        y = net.layer_norm(net.add("Transpose", [y], perm=[0, 2, 3, 1]))
        y = net.matmul(y, 2 * width)
        half, one = net.constant("half", 0.5), net.constant("one", 1.0)
        curve = net.add("Erf", [net.add("Div", [y, net.constant("root", np.sqrt(2))])])
        y = net.add("Mul", [net.add("Mul", [y, net.add("Add", [curve, one])]), half])
        y = net.add("Transpose", [net.matmul(y, width)], perm=[0, 3, 1, 2])
        return net.add("Add", [x, y])

    x = over_channels(net.conv("image", widths[0], 2, stride=2, pads=0, normalise=False))
    x = block(x)
    x = net.conv(over_channels(x), widths[1], 2, stride=2, pads=0, normalise=False)
    return net.classifier(block(x))


def small_segresnet(
    image: int = 16, width: int = 8, groups: int = 4, **options: Unpack[Options]
) -> onnx.ModelProto:
    """Residual blocks that begin with group norms, as MONAI's SegResNet has."""
    net = _NormNet("small_segresnet", image, **options)

    def unit(x: str) -> str:
        active = net.relu(net.group_norm(x, groups))
        return net.conv(active, net.channels(x), 3, normalise=False)

    x = net.conv("image", width, 3, stride=2, normalise=False)
    x = net.add("Add", [x, unit(unit(x))])
    return net.classifier(net.relu(net.group_norm(x, groups)))


NETWORKS: dict[str, Callable[..., onnx.ModelProto]] = {
    "unet-instance-norm": small_monai_unet,
    "convnext": small_convnext,
    "segresnet": small_segresnet,
}
