"""Drawn radiographs: what they look like, and the command that draws them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from moiety.models import synthetic
from moiety.models.onnx_file import IMAGENET
from moiety.runtime.intake.loader import Reader, load


def test_a_synthetic_radiograph_is_a_full_range_grey_image_fixed_by_its_seed() -> None:
    image = synthetic.synthetic_radiograph(3, size=96)
    assert image.shape == (96, 96)
    assert image.dtype == np.uint8
    assert image.min() < 40
    assert image.max() > 200
    assert image.std() > 30
    np.testing.assert_array_equal(image, synthetic.synthetic_radiograph(3, size=96))
    assert np.mean(image != synthetic.synthetic_radiograph(4, size=96)) > 0.5


def test_lungs_are_darker_than_the_spine_between_them() -> None:
    for seed in range(5):
        image = synthetic.synthetic_radiograph(seed).astype(float)
        left, spine, right = (image[80:120, x : x + 20].mean() for x in (55, 102, 150))
        assert max(left, right) + 30 < spine


def test_the_command_writes_images_that_the_client_can_load(tmp_path: Path) -> None:
    synthetic.main(["-n", "2", "-o", str(tmp_path / "new"), "--seed", "5"])
    files = sorted((tmp_path / "new").iterdir())
    assert [file.name for file in files] == ["synthetic-0005.png", "synthetic-0006.png"]
    np.testing.assert_array_equal(
        np.asarray(Image.open(files[0])), synthetic.synthetic_radiograph(5)
    )
    assert load(files[1], Reader((3, 224, 224), IMAGENET)).tensor.shape == (3, 224, 224)
