"""The networks of `moiety.models.zoo`, exported by PyTorch in both styles at
reduced size; only where PyTorch is.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from moiety.compiler.compile import CompileOptions, compile_model
from moiety.compiler.planning.options import PlanOptions
from moiety.models.onnx_file import IMAGENET
from moiety.protocols.errors import BadInput
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.nets import random_images, run_onnx

torch = pytest.importorskip("torch")

from moiety.models import export, zoo  # noqa: E402  (they need torch)

PUBLISHED = {
    "resnet18": (11_689_512, "layer2.0.downsample.1.running_var"),
    "resnet50": (25_557_032, "layer4.2.conv3.weight"),
    "vgg11_bn": (132_868_840, "features.26.running_mean"),
    "squeezenet1_1": (1_235_496, "features.12.expand3x3.bias"),
    "mobilenet_v2": (3_504_872, "features.17.conv.1.1.weight"),
}
"""Parameters with 1000 labels, and one of torchvision's names."""

OPTIONS = PlanOptions(activation_bits=20, weight_bits=16, margin_bits=4)
"""Room for images unlike the few of the calibration."""

SMALL: dict[str, dict[str, float | int]] = {name: {"width": 0.125} for name in zoo.ARCHITECTURES}
for _name, _sizes in SMALL.items():
    _sizes.update({"grid": 2} if "vgg" in _name else {"depth": 3} if "unet" in _name else {})


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_published_sizes_and_names(architecture: str) -> None:
    with torch.device("meta"):
        model = zoo.ARCHITECTURES[architecture](1000)
    count, name = PUBLISHED[architecture]
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert name in model.state_dict()


@pytest.mark.parametrize(
    "architecture", [name for name in SMALL if name not in ("resnet34", "resnet101", "vgg16_bn")]
)
def test_both_styles_make_one_program_and_the_same_function(
    architecture: str, tmp_path: Path
) -> None:
    size = 64
    model = export.random_network(architecture, 4, seed=0, size=size, **SMALL[architecture])
    preprocessing = msgspec.structs.replace(IMAGENET, size=(size, size))
    calibration, images = (
        random_images((3, size, size), 6, seed=1),
        random_images((3, size, size), 1, seed=7),
    )
    costs = []
    for style in ("folded", "separate-batchnorm"):
        exported = export.export_onnx(model, list("abcd"), preprocessing, export.Form(style))
        norms = sum(node.op_type == "BatchNormalization" for node in exported.graph.node)
        assert (norms > 0) is (style != "folded" and architecture != "squeezenet1_1")
        onnx.save(exported, tmp_path / f"{style}.onnx")
        compiled = compile_model(tmp_path / f"{style}.onnx", calibration, CompileOptions(OPTIONS))
        expected = run_onnx(exported, images)[0]
        found = CleartextExecutor(compiled.program, compiled.weights, np.random.default_rng(0)).run(
            images[0]
        )["logits"]
        np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
        cost = image_cost(compiled.program)
        costs.append((cost.up, cost.down))
    assert costs[0] == costs[1]


def test_checkpoints_load_by_name(tmp_path: Path) -> None:
    model = zoo.build("squeezenet1_1", 3)
    torch.save(model.state_dict(), tmp_path / "squeezenet.pt")
    loaded = export.load_network("squeezenet1_1", tmp_path / "squeezenet.pt", 3)
    assert all(
        torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items()
    )
    with pytest.raises(BadInput, match="has 3 outputs, but 5"):
        export.load_network("squeezenet1_1", tmp_path / "squeezenet.pt", 5)
    with pytest.raises(BadInput, match="does not fit resnet18"):
        export.load_network("resnet18", tmp_path / "squeezenet.pt")
    (tmp_path / "broken.pt").write_bytes(b"none")
    with pytest.raises(BadInput, match="no checkpoint"):
        export.load_network("resnet18", tmp_path / "broken.pt")
    with pytest.raises(BadInput, match=re.escape("no architecture 'alexnet'")):
        zoo.build("alexnet", 3)


def test_random_weights_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.onnx"
    with pytest.raises(SystemExit):
        export.main(["--architecture", "squeezenet1_1", "-o", str(path)])
    assert "--labels" in capsys.readouterr().err
    export.main(["--architecture", "squeezenet1_1", "--labels", "2", "-o", str(path)])
    assert onnx.load(path).graph.output[0].type.tensor_type.shape.dim[1].dim_value == 2
