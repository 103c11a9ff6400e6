"""Turns a checkpoint into an ONNX file that carries its labels and preprocessing.

    python -m moiety.models.export CHECKPOINT -o model.onnx [--half] [--opset 17]
        [--style folded|separate-batchnorm] [--labels N] [--label-names a,b,c]
        [--architecture densenet|resnet50|...]
    python -m moiety.models.export --architecture resnet50 --labels 14 -o model.onnx

Without a checkpoint the weights are random.

`folded` is what PyTorch exports by default: a batch norm right after a convolution disappears into
it (conv0/norm0 and every conv1/norm2). `separate-batchnorm` keeps every BatchNormalization as a
node. Both are the same function.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
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
from moiety.models.zoo import ARCHITECTURES, Network, build, calibrate_norms
from moiety.protocols.errors import BadInput, ContractViolation, MoietyError
from moiety.runtime.program import Preprocessing

Style = Literal["folded", "separate-batchnorm"]
TOLERANCE = 1e-4
"""Largest difference of logits between PyTorch and onnxruntime, relative to the largest
logit (or to 1).
"""


@dataclass(frozen=True)
class Form:
    """How the file is written. style: of batch norms, see above. half: round the stored weights to
    float16 (`store_half`).
    """

    style: Style = "folded"
    opset: int = 17
    half: bool = False


def export_onnx(
    model: DenseNet | Network,
    labels: Sequence[str],
    preprocessing: Preprocessing = IMAGENET,
    form: Form = Form(),
) -> onnx.ModelProto:
    """The ONNX form of `model` in evaluation mode: `image` (N, C, H, W) float32 to `logits` (N,
    labels), N symbolic; of a segmentation, (N, labels, H, W).

    The float32 model is run by onnxruntime on random images and compared with PyTorch:
    ContractViolation if they differ by more than `TOLERANCE`. Rounding to float16 comes after that.
    BadInput for another number of `labels` than outputs.
    """
    if len(labels) != model.labels:
        raise BadInput(f"{len(labels)} label names for {model.labels} outputs")
    model = model.eval()
    folded, modes = form.style == "folded", torch.onnx.TrainingMode
    example = torch.randn(
        (2, model.channels, *preprocessing.size), generator=torch.Generator().manual_seed(0)
    )
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        # The TorchScript exporter is deprecated, but the newer one always folds and cannot keep
        # batch norms apart.
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
            opset_version=form.opset,
            training=modes.EVAL if folded else modes.PRESERVE,
            do_constant_folding=folded,
        )
        exported = onnx.load_model(str(path))
    set_metadata(exported, labels, msgspec.structs.replace(preprocessing, channels=model.channels))
    _check_same(model, exported, example)
    if form.half:
        store_half(exported)
    onnx.checker.check_model(exported, full_check=True)
    return exported


def _check_same(
    model: DenseNet | Network, exported: onnx.ModelProto, example: torch.Tensor
) -> None:
    with torch.no_grad():
        expected = model(example).numpy()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        exported.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"image": example.numpy()})[0]
    difference, scale = np.abs(found - expected).max(), max(1.0, np.abs(expected).max())
    if not difference <= TOLERANCE * scale:
        raise ContractViolation(
            f"the exported file differs from the checkpoint by {difference:.3g} on logits of "
            f"{scale:.3g}"
        )


def load_network(
    architecture: str, path: str | PathLike[str], labels: int | None = None
) -> Network:
    """One of `moiety.models.zoo` with the parameters of a checkpoint: a state dictionary with
    torchvision's names.

    BadInput for a file that is none, for parameters that do not fit, or for another number of
    outputs than `labels`.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # OSError, RuntimeError, UnpicklingError, ...: no common kind
        raise BadInput(
            f"{path}: is no checkpoint of plain tensors ({type(error).__name__})"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BadInput(f"{path}: holds no state dictionary; save model.state_dict()")
    outputs = int(state[next(name for name in reversed(state) if name.endswith(".bias"))].shape[0])
    if labels is not None and outputs != labels:
        raise BadInput(f"{path}: has {outputs} outputs, but {labels} labels were asked for")
    model = build(architecture, outputs)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise BadInput(f"{path}: does not fit {architecture}: {error}") from error
    return model


def random_network(
    architecture: str, labels: int, seed: int = 0, size: int = 224, **sizes: float | int
) -> Network:
    """An untrained network with batch norms that fit its activations: for trying
    plans and costs.
    """
    torch.manual_seed(seed)
    model = build(architecture, labels, **sizes)
    calibrate_norms(model, size, seed=seed)
    return model


def export_checkpoint(
    checkpoint: str | PathLike[str],
    output: str | PathLike[str],
    form: Form = Form(),
    labels: int | None = None,
    label_names: Sequence[str] | None = None,
) -> onnx.ModelProto:
    """Loads `checkpoint`, exports it and writes `output`; `export_onnx` and `load_densenet` say
    what can be raised.

    Label names and preprocessing come from the checkpoint if it was made by
    `moiety.models.train`; else the names are `label_names` or `label_0`, `label_1`, ..., and the
    preprocessing is torchvision's.
    """
    model, extra = load_densenet(checkpoint, labels)
    names = label_names or extra.get("labels") or [f"label_{i}" for i in range(model.labels)]
    preprocessing = (
        msgspec.convert(extra["preprocessing"], Preprocessing)
        if "preprocessing" in extra
        else IMAGENET
    )
    exported = export_onnx(model, [str(name) for name in names], preprocessing, form)
    onnx.save_model(exported, str(output))
    return exported


def _export(options: Any) -> onnx.ModelProto:
    """What the command line asks for, written to its output."""
    names = options.label_names.split(",") if options.label_names else None
    form = Form(options.style, options.opset, options.half)
    if options.architecture == "densenet":
        if options.checkpoint is None:
            raise BadInput(
                "a DenseNet needs a checkpoint; other architectures take random weights without one"
            )
        return export_checkpoint(options.checkpoint, options.output, form, options.labels, names)
    if options.checkpoint is not None:
        model = load_network(options.architecture, options.checkpoint, options.labels)
    elif options.labels is None and names is None:
        raise BadInput("random weights need --labels, the number of outputs")
    else:
        model = random_network(options.architecture, options.labels or len(names or ()))
    labels = names or [f"label_{index}" for index in range(model.labels)]
    exported = export_onnx(model, labels, IMAGENET, form)
    onnx.save_model(exported, str(options.output))
    return exported


def main(arguments: list[str] | None = None) -> None:
    """The command line; ends with the error's exit code after a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m moiety.models.export", description="Checkpoint to ONNX."
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        nargs="?",
        help="file of torch.save(state_dict) or of moiety.models.train; without one, and with "
        "--architecture and --labels, random weights",
    )
    parser.add_argument(
        "--architecture",
        choices=["densenet", *ARCHITECTURES],
        default="densenet",
        help="the network (default: densenet)",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument(
        "--style", choices=get_args(Style), default="folded", help="batch norms (default: folded)"
    )
    parser.add_argument("--labels", type=int, help="number of outputs the checkpoint must have")
    parser.add_argument("--label-names", help="comma-separated names of the outputs, in order")
    parser.add_argument("--opset", type=int, default=17, help="ONNX operator set (default 17)")
    parser.add_argument(
        "--half", action="store_true", help="store weights as float16: half the file"
    )
    options: Any = parser.parse_args(arguments)
    try:
        exported = _export(options)
    except MoietyError as error:
        parser.exit(error.exit_code, f"{error}\n")
    norms = sum(node.op_type == "BatchNormalization" for node in exported.graph.node)
    rounded = ", then stored as float16" if options.half else ""
    size = options.output.stat().st_size / 1e6
    print(
        f"{options.output}: {size:.1f} MB, {norms} BatchNormalization nodes; logits as in "
        f"PyTorch{rounded}"
    )


if __name__ == "__main__":
    main()
