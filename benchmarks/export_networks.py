"""Public architectures as ONNX files, by both of PyTorch's exporters.

    python -m benchmarks.export_networks FOLDER [--only NAME...] [--exporters torchscript dynamo]

Needs torch, onnxscript and the libraries themselves (torchvision, timm, monai, torchxrayvision); a
library that is absent is said to be. Weights are initial, batch norms fitted to random images. A
network that an exporter cannot write leaves `NAME.txt` with the reason in place of `NAME.onnx`. An
existing file is kept.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.support import command_line
from benchmarks.support.public_networks import ARCHITECTURES, Architecture, Exporter

OPSETS: dict[str, int] = {"torchscript": 17, "dynamo": 20}
"""What each exporter is asked to write."""


def build(architecture: Architecture) -> torch.nn.Module:
    """The network in evaluation mode, its batch norms fitted to random images."""
    torch.manual_seed(0)
    network = _constructed(architecture).eval()
    _fit_norms(network, torch.randn(4, *architecture.shape))
    return network


def _tolerate_absent_extension() -> None:
    """A torchvision whose compiled part was made for another build of torch cannot be imported
    unless the operators that it looks up exist: they are declared, and no network here runs them.
    """
    while True:
        try:
            importlib.import_module("torchvision")
            return
        except ImportError:
            return  # its networks say so themselves
        except RuntimeError as error:
            missing = re.search(r"operator (torchvision::\w+) does not exist", str(error))
            if missing is None:
                raise
            torch.library.define(missing[1], "() -> ()")
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]


def _constructed(architecture: Architecture) -> torch.nn.Module:
    arguments: dict[str, Any] = dict(architecture.arguments)
    match architecture.library:
        case "torchvision":
            models = importlib.import_module("torchvision.models")
            if architecture.build in ("googlenet", "inception_v3"):
                arguments |= {"aux_logits": False, "init_weights": True}
            segmentation = hasattr(models.segmentation, architecture.build)
            if segmentation:
                return _FirstOutput(
                    models.get_model(
                        architecture.build, weights=None, weights_backbone=None, num_classes=4
                    )
                )
            network = models.get_model(architecture.build, weights=None, **arguments)
        case "timm":
            timm = importlib.import_module("timm")
            network = timm.create_model(architecture.build, pretrained=False, exportable=True)
        case "monai":
            nets = importlib.import_module("monai.networks.nets")
            network = getattr(nets, architecture.build)(**arguments)
        case "torchxrayvision":
            xrv = importlib.import_module("torchxrayvision")
            if architecture.build == "DenseNet":
                network = xrv.models.DenseNet(weights=None, num_classes=18)
            elif architecture.build == "ResNet50":
                models = importlib.import_module("torchvision.models")
                network = models.resnet50(weights=None, num_classes=18)
                network.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
            else:
                network = _FirstOutput(xrv.autoencoders._ResNetAE101(), "out")
    return network  # type: ignore[no-any-return]


class _FirstOutput(torch.nn.Module):
    """Of a network whose result is a dictionary: the one that matters."""

    def __init__(self, network: torch.nn.Module, key: str = "out") -> None:
        super().__init__()
        self.network, self.key = network, key

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.network(x)[self.key]
        return result


def _fit_norms(network: torch.nn.Module, images: torch.Tensor) -> None:
    """One pass in training mode of the batch norms alone."""
    norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    if norms:
        with torch.no_grad():
            network(images)
    network.eval()


def export(architecture: Architecture, exporter: Exporter, path: Path) -> None:
    """Writes the file, or the reason why there is none beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.randn(1, *architecture.shape, generator=torch.Generator().manual_seed(1))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            network = build(architecture)
            torch.onnx.export(
                network,
                (example,),
                path,
                dynamo=exporter == "dynamo",
                input_names=["image"],
                output_names=["logits"],
                opset_version=OPSETS[exporter],
                **({"external_data": False} if exporter == "dynamo" else {}),
            )
    except Exception as error:  # whatever a library or an exporter raises is its answer
        path.unlink(missing_ok=True)
        reason = (str(error).strip().splitlines() or [""])[0]
        path.with_suffix(".txt").write_text(f"{type(error).__name__}: {reason}\n")


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("export_networks", __doc__)
    p.add_argument("folder", type=Path, help="where the files go")
    p.add_argument("--only", nargs="+", help="names of architectures, as their libraries call them")
    p.add_argument(
        "--exporters", nargs="+", choices=get_args(Exporter), default=list(get_args(Exporter))
    )
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    _tolerate_absent_extension()
    for architecture in ARCHITECTURES:
        if options.only and architecture.build not in options.only:
            continue
        for exporter in options.exporters:
            path = options.folder / architecture.file(exporter)
            if not path.exists() and not path.with_suffix(".txt").exists():
                export(architecture, exporter, path)
                print(path.name, "written" if path.exists() else "not exported", flush=True)


if __name__ == "__main__":
    command_line.run(main)
