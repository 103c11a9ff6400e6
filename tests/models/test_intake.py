"""The pictures of the data folder that a careless intake gets wrong, through the shipped model: the
table of their README, row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest

from moiety.models import demo_model_path
from moiety.models.onnx_file import IMAGENET
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.verdicts import Taken
from moiety.runtime.program import Input
from tests.support.data import DATA, needs
from tests.support.nets import run_onnx

pytestmark = needs("intake")
FOLDER = DATA / "intake"
SHAPE = (3, 224, 224)
INPUT = Input(name="image", inputs=(), shape=SHAPE, bits=26, scale=2**-9, value_bits=13)
"""As `moiety compile` plans the shipped model's: -8 to 8, where the images end at 2.64."""
READER = Reader(SHAPE, IMAGENET, INPUT)


def near(value: float) -> object:
    """The table has two digits, of a run in fixed point."""
    return pytest.approx(value, abs=0.01)


Probabilities = Callable[[Taken], dict[str, float]]


@pytest.fixture(scope="module")
def probabilities() -> Probabilities:
    """Of the shipped model, by label."""
    model = onnx.load(str(demo_model_path()))
    labels = ("no_finding", "pneumonia", "covid19")

    def run(taken: Taken) -> dict[str, float]:
        values = 1 / (1 + np.exp(-run_onnx(model, taken.tensor[None])[0]))
        return dict(zip(labels, values.tolist(), strict=False))

    return run


def test_the_reference(probabilities: Probabilities) -> None:
    taken = load(FOLDER / "reference_8bit.png", READER)
    found = probabilities(taken)
    assert taken.verdict == "accepted"
    assert (found["no_finding"], found["covid19"]) == (near(0.09), near(0.99))


def test_twelve_bits_in_sixteen(probabilities: Probabilities) -> None:
    file = FOLDER / "12bit_in_16bit.png"
    careless = load(file, READER)
    (warning,) = careless.warnings
    assert careless.verdict == "accepted with warnings"
    assert warning.code == "low-peak"
    assert "of 65535: 12 bits? then state it with --bit-depth 12" in warning.text
    assert probabilities(careless)["no_finding"] == near(0.85)
    by_user = load(file, replace(READER, bit_depth=12))
    assert by_user.verdict == "accepted"
    found = probabilities(by_user)
    assert (found["no_finding"], found["covid19"]) == (near(0.09), near(0.99))


def test_orientation(probabilities: Probabilities) -> None:
    turned = load(FOLDER / "exif_orientation_6.jpg", READER)
    upright = load(FOLDER / "exif_reference_rotated.png", READER)
    assert turned.verdict == upright.verdict == "accepted"
    assert np.abs(turned.tensor - upright.tensor).mean() < 0.05  # JPEG's loss
    assert probabilities(turned)["covid19"] == near(0.01)
    assert probabilities(upright)["covid19"] == near(0.01)


@pytest.mark.parametrize("ground", ["black", "white"])
def test_transparency(ground: str) -> None:
    with pytest.raises(BadInput, match="transparent pixels"):
        load(FOLDER / f"base_rgba_transparent_{ground}.png", READER)


def test_an_inverted_export_cannot_be_told(probabilities: Probabilities) -> None:
    """docs/intake.md says so."""
    taken = load(FOLDER / "inverted_monochrome1.png", READER)
    assert taken.verdict == "accepted"
    assert probabilities(taken)["covid19"] == near(0.56)


def test_a_tensor_that_was_not_normalised() -> None:
    with pytest.raises(BadInput, match="values from 0 to 246, outside the model's input range"):
        load(FOLDER / "unnormalised_0_255.npy", READER)
