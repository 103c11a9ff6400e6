"""The description of preprocessing: presets, JSON, and hostile values."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.intake.presets import PRESETS, from_json, preset
from moiety.runtime.program import Preprocessing

HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "two channels": ({"channels": 2}, "makes"),
    "another size": ({"size": (8, 9)}, "makes"),
    "too few means": ({"mean": ()}, "0 means and 1 standard deviations for 1 channels"),
    "mean without end": ({"mean": (float("inf"),)}, "not a number"),
    "mean that overflows": ({"mean": (1e300,)}, "beyond"),
    "zero deviation": ({"std": (0.0,)}, "not positive"),
    "tiny deviation": ({"std": (1e-300,)}, "not positive"),
    "no number": ({"std": (float("nan"),)}, "not a number"),
    "zero scale": ({"scale": 0.0}, "scale"),
    "scale without end": ({"scale": float("inf")}, "scale"),
    "offset that is no number": ({"offset": float("nan")}, "offset"),
    "fill beyond white": ({"fill": 255.0}, "fill"),
    "fill that is no number": ({"fill": float("nan")}, "fill"),
    "resize below the crop": ({"resize_to": 7}, "must be 8 to 32"),
    "resize without bound": ({"resize_to": 10**9}, "must be 8 to 32"),
    "resize of what is exact": ({"resize": "exact", "resize_to": 8}, "exact"),
    "gaussian bicubic": (
        {"interpolation": "bicubic", "antialias": "gaussian"},
        "bicubic goes with antialias none or widened, not with gaussian",
    ),
    "area, antialiased": ({"interpolation": "area"}, "goes with antialias none"),
    "bit depth": ({"bit_depth": 64}, "8 to 16"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_values_are_refused(what: str) -> None:
    changes, message = HOSTILE[what]
    good = Preprocessing(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))
    good.check((1, 8, 8))
    with pytest.raises(BadArtifact, match=message):
        msgspec.structs.replace(good, **changes).check((1, 8, 8))


def test_every_preset_fits_every_input_of_pictures() -> None:
    for name in PRESETS:
        for shape in ((1, 224, 224), (3, 64, 96), (299, 299, 3)):
            assert preset(name, shape).version == 1
        with pytest.raises(BadInput, match="1 or 3 channels"):
            preset(name, (2, 8, 8))
    with pytest.raises(BadInput, match="named 'keras'; there are imagenet, torchvision,"):
        preset("keras", (3, 8, 8))


def test_json_may_leave_out_what_the_model_says() -> None:
    found = from_json('{"mean": [0.5], "std": 0.25}', (3, 10, 20))
    assert found == Preprocessing(size=(10, 20), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    like = from_json('{"like": "torchvision", "resize_to": 232}', (3, 224, 224))
    assert like == msgspec.structs.replace(preset("torchvision", (3, 224, 224)), resize_to=232)
    whole = msgspec.json.encode(preset("monai", (1, 64, 64)))
    assert from_json(whole, (1, 64, 64)) == preset("monai", (1, 64, 64))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not a JSON object"),
        ("\xff", "not a JSON object"),
        ('{"std": 1}', "required field `mean`"),
        ('{"like": 5}', "no preprocessing named 5"),
        ('{"like": "imagenet", "std": 0}', "not positive"),
        ('{"like": "imagenet", "size": [4, 4]}', r"makes \(3, 4, 4\)"),
        ('{"like": "imagenet", "interpolation": "lanczos"}', "lanczos"),
        ('{"like": "imagenet", "sizes": 3}', "sizes"),
        ('{"like": "imagenet", "version": 2}', "version"),
        ('{"like": "imagenet", "mean": [1, 2]}', "2 means"),
        ('{"like": "imagenet", "mean": "grey"}', "mean"),
        (json.dumps({"mean": 0, "std": 1, "fill": None}), "fill"),
    ],
)
def test_json_that_describes_nothing(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        from_json(text.encode("latin-1"), (3, 8, 8))
