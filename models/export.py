"""Turns a DenseNet checkpoint into an ONNX file that carries its labels and preprocessing.

    python -m moiety.models.export CHECKPOINT -o model.onnx [--style folded|separate-batchnorm] [--labels N]
                                   [--label-names a,b,c] [--opset 17] [--half]

`folded` is what PyTorch exports by default: a batch norm right after a convolution disappears into it (conv0/norm0 and
every conv1/norm2). `separate-batchnorm` keeps every BatchNormalization as a node. Both are the same function.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import torch

from moiety.models.densenet import DenseNet, load_densenet
from moiety.models.onnx_file import IMAGENET, set_metadata, store_half
from moiety.protocols.errors import BadInput, ContractViolation, MoietyError
from moiety.runtime.program import Preprocessing

Style = Literal["folded", "separate-batchnorm"]
TOLERANCE = 1e-4
"""Largest difference of logits between PyTorch and onnxruntime, relative to the largest logit (or to 1)."""


def export_onnx(
    model: DenseNet,
    labels: Sequence[str],
    preprocessing: Preprocessing = IMAGENET,
    style: Style = "folded",
    opset: int = 17,
    half: bool = False,
) -> onnx.ModelProto:
    """The ONNX form of `model` in evaluation mode: `image` (N, C, H, W) float32 to `logits` (N, labels), N symbolic.

    The float32 model is run by onnxruntime on random images and compared with PyTorch: ContractViolation if they differ
    by more than `TOLERANCE`. Then `half` rounds the stored weights to float16 (`store_half`). BadInput for another
    number of `labels` than outputs.
    """
    if len(labels) != model.labels:
        raise BadInput(f"{len(labels)} label names for {model.labels} outputs")
    model = model.eval()
    example = torch.randn((2, model.channels, *preprocessing.size), generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        # The TorchScript exporter is deprecated, but the newer one always folds and cannot keep batch norms apart.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        torch.onnx.export(
            model,
            (example,),
            path,
            dynamo=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
            opset_version=opset,
            training=torch.onnx.TrainingMode.EVAL if style == "folded" else torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=style == "folded",
        )
        exported = onnx.load_model(str(path))
    set_metadata(exported, labels, msgspec.structs.replace(preprocessing, channels=model.channels))
    _check_same(model, exported, example)
    if half:
        store_half(exported)
    onnx.checker.check_model(exported, full_check=True)
    return exported


def _check_same(model: DenseNet, exported: onnx.ModelProto, example: torch.Tensor) -> None:
    with torch.no_grad():
        expected = model(example).numpy()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(exported.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": example.numpy()})[0]
    difference, scale = np.abs(found - expected).max(), max(1.0, np.abs(expected).max())
    if not difference <= TOLERANCE * scale:
        raise ContractViolation(
            f"the exported file differs from the checkpoint by {difference:.3g} on logits of {scale:.3g}"
        )


def export_checkpoint(
    checkpoint: str | PathLike[str],
    output: str | PathLike[str],
    style: Style = "folded",
    labels: int | None = None,
    label_names: Sequence[str] | None = None,
    opset: int = 17,
    half: bool = False,
) -> onnx.ModelProto:
    """Loads `checkpoint`, exports it and writes `output`; `export_onnx` and `load_densenet` say what can be raised.

    Label names and preprocessing come from the checkpoint if it was made by `moiety.models.train`; else the names are
    `label_names` or `label_0`, `label_1`, ..., and the preprocessing is torchvision's.
    """
    model, extra = load_densenet(checkpoint, labels)
    names = label_names or extra.get("labels") or [f"label_{i}" for i in range(model.labels)]
    preprocessing = msgspec.convert(extra["preprocessing"], Preprocessing) if "preprocessing" in extra else IMAGENET
    exported = export_onnx(model, [str(name) for name in names], preprocessing, style, opset, half)
    onnx.save_model(exported, str(output))
    return exported


def main(arguments: list[str] | None = None) -> None:
    """The command line; ends with the error's exit code after a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m moiety.models.export", description="DenseNet checkpoint to ONNX.")
    parser.add_argument("checkpoint", type=Path, help="file of torch.save(state_dict) or of moiety.models.train")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--style", choices=get_args(Style), default="folded", help="batch norms (default: folded)")
    parser.add_argument("--labels", type=int, help="number of outputs the checkpoint must have")
    parser.add_argument("--label-names", help="comma-separated names of the outputs, in order")
    parser.add_argument("--opset", type=int, default=17, help="ONNX operator set (default 17)")
    parser.add_argument("--half", action="store_true", help="store weights as float16: half the file")
    options: Any = parser.parse_args(arguments)
    names = options.label_names.split(",") if options.label_names else None
    try:
        exported = export_checkpoint(
            options.checkpoint, options.output, options.style, options.labels, names, options.opset, options.half
        )
    except MoietyError as error:
        parser.exit(error.exit_code, f"{error}\n")
    norms = sum(node.op_type == "BatchNormalization" for node in exported.graph.node)
    rounded = ", then stored as float16" if options.half else ""
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {size:.1f} MB, {norms} BatchNormalization nodes; logits as in PyTorch{rounded}")


if __name__ == "__main__":
    main()
