"""Pictures and tensors to model inputs, and what is said about files that are wrong."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program import Preprocessing

GREY = Preprocessing(size=(8, 12), channels=1, mean=(0.5,), std=(0.25,), resize="exact")
COLOUR = Preprocessing(size=(8, 8), channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def tensor_of(path: Path, shape: tuple[int, ...], preprocessing: Preprocessing | None) -> F32:
    return load(path, Reader(shape, preprocessing)).tensor


def save(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def random_picture(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, shape, np.uint8)


def test_exact_size_is_normalised_and_nothing_else(tmp_path: Path) -> None:
    pixels = random_picture((8, 12))
    tensor = tensor_of(save(tmp_path / "a.png", pixels), (1, 8, 12), GREY)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0], (pixels / 255 - 0.5) / 0.25, atol=1e-6)


def test_grey_is_repeated_and_colour_kept_apart(tmp_path: Path) -> None:
    grey = tensor_of(save(tmp_path / "g.png", random_picture((8, 8))), (3, 8, 8), COLOUR)
    plain = grey * np.array(COLOUR.std)[:, None, None] + np.array(COLOUR.mean)[:, None, None]
    np.testing.assert_allclose(plain[0], plain[2], atol=1e-6)
    pixels = random_picture((8, 8, 3))
    colour = tensor_of(save(tmp_path / "c.png", pixels), (3, 8, 8), COLOUR)
    np.testing.assert_allclose(colour[1], (pixels[..., 1] / 255 - 0.5) / 0.3, atol=1e-6)


def test_short_side_is_resized_and_the_centre_cropped(tmp_path: Path) -> None:
    pixels = random_picture((16, 40))
    tensor = tensor_of(save(tmp_path / "wide.png", pixels), (3, 8, 8), COLOUR)
    by_hand = np.asarray(Image.fromarray(pixels).resize((20, 8), Image.Resampling.BILINEAR))[
        :, 6:14
    ]
    np.testing.assert_allclose(tensor[0], (by_hand / 255 - 0.4) / 0.2, atol=1e-6)


def test_the_trained_size_passes_through_untouched(tmp_path: Path) -> None:
    pixels = random_picture((8, 8))
    tensor = tensor_of(save(tmp_path / "same.png", pixels), (3, 8, 8), COLOUR)
    np.testing.assert_allclose(tensor[0], (pixels / 255 - 0.4) / 0.2, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_every_common_png_mode(tmp_path: Path, mode: str) -> None:
    Image.fromarray(random_picture((8, 8, 3))).convert(mode).save(tmp_path / "m.png")
    assert tensor_of(tmp_path / "m.png", (3, 8, 8), COLOUR).shape == (3, 8, 8)


def test_16_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 12), 65535, np.uint16)).save(tmp_path / "deep.png")
    tensor = tensor_of(tmp_path / "deep.png", (1, 8, 12), GREY)
    np.testing.assert_allclose(tensor, 2.0, atol=1e-6)


def test_jpeg_and_uint8_npy(tmp_path: Path) -> None:
    pixels = np.full((8, 12), 128, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=100)
    np.save(tmp_path / "a.npy", pixels)
    np.testing.assert_allclose(
        tensor_of(tmp_path / "a.jpg", (1, 8, 12), GREY),
        tensor_of(tmp_path / "a.npy", (1, 8, 12), GREY),
        atol=0.02,
    )


@pytest.mark.parametrize("shape", [(1, 8, 12), (1, 1, 8, 12), (8, 12)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_tensor_is_taken_as_it_is(
    tmp_path: Path, shape: tuple[int, ...], dtype: type[np.floating]
) -> None:
    tensor = np.random.default_rng(5).normal(size=shape).astype(dtype)
    np.save(tmp_path / "t.npy", tensor)
    loaded = tensor_of(tmp_path / "t.npy", (1, 8, 12), None)
    assert np.array_equal(loaded, tensor.reshape(1, 8, 12).astype(np.float32))


def broken_png(path: Path) -> Path:
    data = io.BytesIO()
    Image.fromarray(random_picture((64, 64))).save(data, "PNG")
    path.write_bytes(data.getvalue()[:200])
    return path


def npy(array: np.ndarray) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path = path.with_suffix(".npy")
        np.save(path, array, allow_pickle=True)
        return path

    return write


def text(path: Path) -> Path:
    path.write_text("not a picture")
    return path


BAD = {
    "truncated": (broken_png, "damaged picture"),
    "not a picture": (text, "not a picture or tensor"),
    "wrong size": (
        lambda path: save(path, random_picture((9, 12))),
        "12x9 pixels; this model takes exactly 12x8",
    ),
    "wrong tensor shape": (
        npy(np.zeros((1, 12, 8), np.float32)),
        r"shape \(1, 12, 8\), the model's input is \(1, 8, 12\)",
    ),
    "NaN": (npy(np.full((1, 8, 12), np.nan, np.float32)), "NaN or infinite"),
    "infinity": (npy(np.full((1, 8, 12), np.inf, np.float32)), "NaN or infinite"),
    "integers": (npy(np.zeros((8, 12), np.int64)), "holds int64"),
    "objects": (npy(np.array([{}], object)), "Python objects"),
    "empty": (npy(np.zeros((0, 12), np.uint8)), r"shape \(0, 12\)"),
    "four channels": (npy(np.zeros((8, 12, 4), np.uint8)), r"shape \(8, 12, 4\)"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_file(tmp_path: Path, what: str) -> None:
    make, message = BAD[what]
    path = make(tmp_path / "bad.png")
    with pytest.raises(BadInput, match=message) as caught:
        tensor_of(path, (1, 8, 12), GREY)
    assert str(path) in str(caught.value)


def test_thumbnails_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="too few"):
        tensor_of(save(tmp_path / "tiny.png", random_picture((1, 1))), (3, 8, 8), COLOUR)


def test_picture_for_a_program_without_preprocessing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="give the input tensor as NPY"):
        tensor_of(save(tmp_path / "a.png", random_picture((8, 8))), (2, 8, 8), None)
