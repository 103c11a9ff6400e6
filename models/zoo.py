"""Networks other than DenseNet in PyTorch, with torchvision's parameter names, so that public
checkpoints load.

ResNet-18/34/50/101 (He et al., CVPR 2016), VGG-11/16 with batch norm (Simonyan, Zisserman, ICLR
2015), SqueezeNet 1.1 (Iandola et al. 2016), MobileNetV2 (Sandler et al., CVPR 2018), and U-Net
(Ronneberger et al., MICCAI 2015) with transposed convolutions, nearest or bilinear upsampling; its
parameter names are its own.

    model = build("resnet50", labels=14)    # He initialisation
    calibrate_norms(model, size=224)        # running statistics as a trained network has them

Every network maps images (N, channels, H, W), float32, to logits (N, labels), U-Net to (N, labels,
H, W). `width` multiplies all numbers of channels; 1 is the published network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from moiety.protocols.errors import BadInput


class Network(nn.Module):
    """What every network here has: the sizes of its input and output."""

    def __init__(self, labels: int, channels: int) -> None:
        super().__init__()
        self.labels, self.channels = labels, channels


def _scaled(width: float) -> Callable[[int], int]:
    return lambda channels: max(4, round(channels * width))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class Block(nn.Module):
    """A residual block: basic (two 3x3) or bottleneck (1x1, 3x3 with the stride, 1x1 with four
    times the width).
    """

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        self.conv1 = _conv(inputs, width, 1 if bottleneck else 3, 1 if bottleneck else stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride if bottleneck else 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, outputs, 1) if bottleneck else None
        self.bn3 = nn.BatchNorm2d(outputs) if bottleneck else None
        self.relu = nn.ReLU()
        changes = stride > 1 or inputs != outputs
        self.downsample = (
            nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
            if changes
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.conv3 is not None and self.bn3 is not None:
            y = self.bn3(self.conv3(self.relu(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(Network):
    def __init__(
        self,
        labels: int,
        channels: int = 3,
        width: float = 1,
        blocks: Sequence[int] = (2, 2, 2, 2),
        bottleneck: bool = False,
    ) -> None:
        super().__init__(labels, channels)
        size = _scaled(width)
        inputs = size(64)
        self.conv1 = nn.Conv2d(channels, inputs, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for stage, count in enumerate(blocks):
            made = []
            for index in range(count):
                made.append(
                    Block(inputs, size(64 << stage), 2 if stage and not index else 1, bottleneck)
                )
                inputs = size(64 << stage) * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
        self.stages = len(blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, labels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


class VGG(Network):
    """`grid`: the classifier reads an average of grid x grid pixels, 7 in the published network."""

    def __init__(
        self,
        labels: int,
        channels: int = 3,
        width: float = 1,
        convolutions: Sequence[int] = (1, 1, 2, 2, 2),
        grid: int = 7,
    ) -> None:
        super().__init__(labels, channels)
        size, inputs = _scaled(width), channels
        layers: list[nn.Module] = []
        for stage, count in enumerate(convolutions):
            for _ in range(count):
                outputs = size(min(64 << stage, 512))
                layers += [
                    nn.Conv2d(inputs, outputs, 3, padding=1),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                ]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(grid)
        hidden = size(4096)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * grid * grid, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, labels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Fire(nn.Module):
    """1x1 to few channels, then 1x1 and 3x3 side by side."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        s = self.activation(self.squeeze(x))
        return torch.cat(
            [self.activation(self.expand1x1(s)), self.activation(self.expand3x3(s))], 1
        )


class SqueezeNet(Network):
    def __init__(self, labels: int, channels: int = 3, width: float = 1) -> None:
        super().__init__(labels, channels)
        size = _scaled(width)
        inputs = size(64)
        layers: list[nn.Module] = [nn.Conv2d(channels, inputs, 3, 2), nn.ReLU()]
        for squeezes in ((16, 16), (32, 32), (48, 48, 64, 64)):
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            for squeeze in squeezes:
                layers.append(Fire(inputs, size(squeeze), size(4 * squeeze)))
                inputs = 2 * size(4 * squeeze)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(inputs, labels, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


def _norm_relu6(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        _conv(inputs, outputs, kernel, stride, groups), nn.BatchNorm2d(outputs), nn.ReLU6()
    )


class InvertedResidual(nn.Module):
    """1x1 expansion (absent when 1), depthwise 3x3, linear 1x1; with a skip where
    nothing changes size.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_norm_relu6(inputs, hidden, 1)]
        layers += [
            _norm_relu6(hidden, hidden, 3, stride, hidden),
            _conv(hidden, outputs, 1),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.skips else self.conv(x)


MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""(expansion, channels, repeats, first stride) of each stage."""


class MobileNetV2(Network):
    def __init__(
        self,
        labels: int,
        channels: int = 3,
        width: float = 1,
        stages: Sequence[tuple[int, int, int, int]] = MOBILENET_V2,
    ) -> None:
        super().__init__(labels, channels)
        size = _scaled(width)
        inputs = size(32)
        layers: list[nn.Module] = [_norm_relu6(channels, inputs, 3, 2)]
        for expansion, outputs, repeats, stride in stages:
            for index in range(repeats):
                layers.append(
                    InvertedResidual(inputs, size(outputs), 1 if index else stride, expansion)
                )
                inputs = size(outputs)
        layers.append(_norm_relu6(inputs, size(1280), 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(size(1280), labels))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(
            torch.flatten(functional.adaptive_avg_pool2d(self.features(x), 1), 1)
        )


class UNet(Network):
    """Segmentation: a logit per label and pixel; height and width must be multiples of
    2^(depth - 1).
    """

    def __init__(
        self,
        labels: int,
        channels: int = 3,
        width: float = 1,
        up: Literal["transposed", "nearest", "bilinear"] = "transposed",
        depth: int = 5,
    ) -> None:
        super().__init__(labels, channels)
        size = _scaled(width)
        widths = [size(64 << level) for level in range(depth)]
        self.down, self.up, self.join = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in zip([channels, *widths], widths, strict=False):
            self.down.append(self._double(inputs, outputs))
        for outer, inner in zip(reversed(widths[:-1]), reversed(widths[1:]), strict=True):
            if up == "transposed":
                larger: nn.Module = nn.ConvTranspose2d(inner, outer, 2, 2)
            elif up == "nearest":
                larger = nn.Sequential(
                    nn.Upsample(scale_factor=2),
                    _conv(inner, outer, 3),
                    nn.BatchNorm2d(outer),
                    nn.ReLU(),
                )
            else:
                larger = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
            self.up.append(larger)
            self.join.append(self._double(outer + (inner if up == "bilinear" else outer), outer))
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(widths[0], labels, 1)

    @staticmethod
    def _double(inputs: int, outputs: int) -> nn.Sequential:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for index, before in enumerate((inputs, outputs), start=1):
            layers[f"conv{index}"] = _conv(before, outputs, 3)
            layers[f"norm{index}"] = nn.BatchNorm2d(outputs)
            layers[f"relu{index}"] = nn.ReLU()
        return nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for up, join, skip in zip(self.up, self.join, reversed(skips[:-1]), strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        return self.head(x)


ARCHITECTURES: dict[str, Callable[..., Network]] = {
    "resnet18": ResNet,
    "resnet34": partial(ResNet, blocks=(3, 4, 6, 3)),
    "resnet50": partial(ResNet, blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet101": partial(ResNet, blocks=(3, 4, 23, 3), bottleneck=True),
    "vgg11_bn": VGG,
    "vgg16_bn": partial(VGG, convolutions=(2, 2, 3, 3, 3)),
    "squeezenet1_1": SqueezeNet,
    "mobilenet_v2": MobileNetV2,
    "unet": UNet,
    "unet_nearest": partial(UNet, up="nearest"),
    "unet_bilinear": partial(UNet, up="bilinear"),
}


def build(architecture: str, labels: int, **sizes: float | int) -> Network:
    """A network with He initialisation (fan in), in evaluation mode. BadInput for
    an unknown name.
    """
    if architecture not in ARCHITECTURES:
        raise BadInput(f"no architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}")
    model = ARCHITECTURES[architecture](labels, **sizes)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model.eval()


def calibrate_norms(model: nn.Module, size: int = 224, images: int = 4, seed: int = 0) -> None:
    """Set every batch norm's running statistics to those of a few random smooth images; ends in
    evaluation mode.

    An untrained network then has activations of a trained one's size, which its fixed-point
    plan depends on.
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn((images, model.channels, 16, 16), generator=generator)
    batch = functional.interpolate(coarse, size=(size, size), mode="bicubic")
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
