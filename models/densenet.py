"""DenseNet-BC (Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks,
CVPR 2017) in PyTorch.

Parameters are named as in torchvision (`features.denseblock1.denselayer1.norm1.weight`, ...,
`classifier.weight`), so that public checkpoints load.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from moiety.protocols.errors import BadInput

DENSENET121 = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """`concat(x, conv3x3(relu(bn(conv1x1(relu(bn(x)))))))`: adds `growth` channels through a
    bottleneck of 4*growth.
    """

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        bottleneck = self.conv1(self.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu(self.norm2(bottleneck)))], 1)


class Transition(nn.Sequential):
    """Halves the channels (1x1 convolution) and each side of the image (average pool)."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            OrderedDict[str, nn.Module](
                norm=nn.BatchNorm2d(channels),
                relu=nn.ReLU(),
                conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
                pool=nn.AvgPool2d(2),
            )
        )


class DenseNet(nn.Module):
    """Images (N, 3, H, W), float32 and normalised, to logits (N, labels). The defaults
    make DenseNet-121.
    """

    def __init__(
        self,
        labels: int,
        layers: Sequence[int] = DENSENET121,
        growth: int = 32,
        stem: int = 64,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.channels, self.labels = channels, labels
        modules: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(channels, stem, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(stem),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        width = stem
        for block, count in enumerate(layers, start=1):
            dense: OrderedDict[str, nn.Module] = OrderedDict()
            for layer in range(count):
                dense[f"denselayer{layer + 1}"] = DenseLayer(width + layer * growth, growth)
            modules[f"denseblock{block}"] = nn.Sequential(dense)
            width += count * growth
            if block < len(layers):
                modules[f"transition{block}"] = Transition(width)
                width //= 2
        modules["norm5"] = nn.BatchNorm2d(width)
        modules["relu5"] = nn.ReLU()
        modules["pool5"] = nn.AdaptiveAvgPool2d(1)
        self.features = nn.Sequential(modules)
        self.classifier = nn.Linear(width, labels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return logits


def modern_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's parameters under today's names.

    Wrappers' prefixes before `features.` and `classifier.` go (`module.`, `densenet121.`), the old
    `norm.1` becomes `norm1`, and the Linear inside a Sequential classifier (`classifier.0`) becomes
    the classifier.
    """
    renamed = {}
    for name, tensor in state.items():
        name = re.sub(r"^.*?(?=features\.|classifier\.)", "", name)
        name = re.sub(r"\b(norm|relu|conv)\.(\d)\.", r"\1\2.", name)
        renamed[re.sub(r"^classifier\.0\.", "classifier.", name)] = tensor
    return renamed


def load_densenet(
    path: str | PathLike[str], labels: int | None = None
) -> tuple[DenseNet, dict[str, Any]]:
    """The network in a checkpoint, in evaluation mode, and what `moiety.models.train` put beside
    it, if it did.

    The second result holds `labels`, `preprocessing` and `epoch`, as far as the
    checkpoint has them.

    Depths, growth and widths are read off the parameters. A checkpoint is a state dictionary, or a
    dictionary that holds one as `state_dict` or `model`; it is read with `weights_only=True`, so a
    file cannot run code. Raises BadInput for a file that is none of these, for parameters that do
    not make a DenseNet, or for another number of outputs than `labels`.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error})") from error
    except (
        Exception
    ) as error:  # RuntimeError, UnpicklingError, ValueError, ...: torch names no common kind
        raise BadInput(
            f"{path}: is no checkpoint of plain tensors. A whole pickled model is refused, since "
            "it could run code: load it where you trust it and write "
            "torch.save(model.state_dict(), path)."
        ) from error
    if not isinstance(content, dict):
        raise BadInput(
            f"{path}: holds a {type(content).__name__}, not a state dictionary; save "
            "model.state_dict()."
        )
    state = next(
        (content[key] for key in ("state_dict", "model") if isinstance(content.get(key), dict)),
        content,
    )
    state = modern_names(
        {name: value for name, value in state.items() if isinstance(value, Tensor)}
    )
    model = DenseNet(**_sizes(state, path))
    if labels is not None and model.labels != labels:
        raise BadInput(f"{path}: has {model.labels} outputs, but {labels} labels were asked for.")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise BadInput(f"{path}: does not fit a DenseNet: {error}") from error
    return model.eval(), {
        key: value for key, value in content.items() if key in ("labels", "preprocessing", "epoch")
    }


def _sizes(state: Mapping[str, Tensor], path: str | PathLike[str]) -> dict[str, Any]:
    try:
        stem = state["features.conv0.weight"]
        growth = state["features.denseblock1.denselayer1.conv2.weight"].shape[0]
        outputs = state["classifier.weight"].shape[0]
    except KeyError as error:
        raise BadInput(f"{path}: no DenseNet, the parameter {error} is missing.") from error
    found = [re.match(r"features\.denseblock(\d+)\.denselayer(\d+)\.", name) for name in state]
    layers: dict[int, int] = {}
    for match in filter(None, found):
        block, layer = int(match[1]), int(match[2])
        layers[block] = max(layers.get(block, 0), layer)
    depths = [layers[block] for block in sorted(layers)]
    return {
        "labels": outputs,
        "layers": depths,
        "growth": growth,
        "stem": stem.shape[0],
        "channels": stem.shape[1],
    }
