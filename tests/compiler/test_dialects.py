"""Networks as other exporters write them must reach the Program cost of PyTorch's plain export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from moiety.compiler.compile import Compiled, CompileOptions, compile_model
from moiety.compiler.planning.options import USUAL_OVERFLOW, PlanOptions
from moiety.protocols.arrays import F32
from moiety.runtime import program as ir
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program.artifacts import load_program
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support import nets
from tests.support.command import moiety
from tests.support.dialects import affine_norms, channels_last

CALIBRATION, IMAGES = (
    nets.random_images((3, 16, 16), n=16, seed=1),
    nets.random_images((3, 16, 16), n=2, seed=77),
)


def compiled(model: onnx.ModelProto, folder: Path, images: F32) -> Compiled:
    onnx.save(model, folder / "model.onnx")
    return compile_model(
        folder / "model.onnx",
        images,
        CompileOptions(PlanOptions(overflow_probability=USUAL_OVERFLOW)),
    )


def layers(program: ir.Program) -> dict[str, int]:
    """Steps that cost something, by kind."""
    kinds = [type(step).__name__ for step in program.steps]
    moves = {
        "Input",
        "Output",
        "Slice",
        "Reshape",
        "Transpose",
        "Pad",
        "Concat",
        "Reduce",
        "Add",
        "AddConst",
    }
    return {kind: kinds.count(kind) for kind in sorted(set(kinds) - moves)}


@pytest.mark.parametrize("dialect", ["affine", "channels-last"])
@pytest.mark.parametrize("name", nets.NETWORKS)
def test_same_cost_and_same_function(name: str, dialect: str, tmp_path: Path) -> None:
    plain = nets.NETWORKS[name](opset=13 if "unet" in name else 10 if name == "squeezenet" else 9)
    model = affine_norms(plain) if dialect == "affine" else channels_last(plain)
    turned = (0, 1, 2, 3) if dialect == "affine" else (0, 2, 3, 1)
    expected = nets.run_onnx(plain, IMAGES)
    np.testing.assert_allclose(nets.run_onnx(model, IMAGES.transpose(turned)), expected, atol=2e-4)

    one = compiled(plain, tmp_path, CALIBRATION)
    two = compiled(model, tmp_path, CALIBRATION.transpose(turned))
    assert layers(two.program) == layers(one.program)
    first, second = image_cost(one.program), image_cost(two.program)
    assert (second.up, second.down) == (first.up, first.down)
    executor = CleartextExecutor(two.program, two.weights)
    found = np.stack([executor.run(image)["logits"] for image in IMAGES.transpose(turned)])
    # What linear upsampling adds up is 16 times larger, which costs the next
    # layer's weights 4 of their 12 bits.
    tolerance = 0.1 if name == "unet-linear" else 0.05
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_pictures_for_a_channels_last_model(tmp_path: Path, pictures: Path) -> None:
    """Pictures reach an (H, W, C) input as they reach a (C, H, W) one: in
    compile, simulate and at the client.
    """
    plain = nets.small_resnet(image=20, opset=9)
    widths = ("--activation-bits", 12, "--weight-bits", 12, "--preprocessing", "imagenet")
    for name, model in (("plain", plain), ("last", channels_last(plain))):
        onnx.save(model, tmp_path / f"{name}.onnx")
        out = tmp_path / name
        moiety(
            "compile", tmp_path / f"{name}.onnx", "--calibration", pictures, "-o", out, *widths
        ).check()
        moiety("simulate", out, pictures, "--model", tmp_path / f"{name}.onnx").check()
    one, two = (load_program(tmp_path / name) for name in ("plain", "last"))
    assert (one.input.shape, two.input.shape) == ((3, 20, 20), (20, 20, 3))
    assert one.preprocessing == two.preprocessing
    picture = sorted(pictures.iterdir())[0]
    first, second = (load(picture, Reader.of(each)).tensor for each in (one, two))
    np.testing.assert_array_equal(first, second.transpose(2, 0, 1))
