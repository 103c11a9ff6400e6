"""Fixtures that cost seconds and are made once per test session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from tests.support.command import Compiled, moiety
from tests.support.nets import random_images, small_densenet
from tests.support.onnx_models import with_metadata

# A busy machine is no failure: nothing that is drawn has a time limit.
settings.register_profile("moiety", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("moiety")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 16x16 colour PNG pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, image in enumerate(random_images((3, 16, 16), n=6, seed=3)):
        pixels = np.clip((image.transpose(1, 2, 0) * 0.226 + 0.45) * 255, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Compiled:
    """A small DenseNet, compiled by the command line."""
    folder = tmp_path_factory.mktemp("densenet")
    model = folder / "model.onnx"
    onnx.save(with_metadata(small_densenet(), preprocessing={"like": "imagenet"}), model)
    moiety(
        "compile",
        model,
        "--calibration",
        pictures,
        "-o",
        folder / "compiled",
        "--labels",
        "cat,dog,owl",
    ).check()
    return Compiled(model, folder / "compiled", pictures)
