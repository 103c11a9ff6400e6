"""Pictures to input tensors, step by step, against the libraries that models are trained with:
Pillow (as torchvision uses it), SciPy (as scikit-image does), onnxruntime (PyTorch's formulas), and
tensors that torchxrayvision itself made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from moiety.models.xrays import HOW_TO_GIVE_DATA, data_folder
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.geometry import fit
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.picture import Identity, Picture
from moiety.runtime.intake.preprocess import preprocess
from moiety.runtime.intake.presets import IMAGENET_MEAN, IMAGENET_STD, preset
from moiety.runtime.intake.resampling import axis_weights, resample
from moiety.runtime.program import Preprocessing
from moiety.runtime.program.preprocessing import METHODS

Array = npt.NDArray[Any]
SIZES = [(224, 224), (256, 256), (300, 401), (401, 300), (513, 258), (700, 650), (223, 500)]
"""Heights and widths: those of the crop, odd ones, tall ones, wide ones, and smaller ones."""


def picture(values: Array) -> Picture:
    return Picture(values, Identity(file_sha256="", pixel_sha256=""))


def tensor(values: Array, preprocessing: Preprocessing) -> Array:
    return preprocess(picture(values), preprocessing)[0]


def drawn(*shape: int, seed: int = 4) -> npt.NDArray[np.uint8]:
    """Noise over a slope, so that an offset of one pixel shows."""
    slope = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) * 255.0 / sum(shape[:2])
    noise = np.random.default_rng(seed).normal(scale=30, size=shape)
    slope = slope if len(shape) == 2 else slope[..., None]
    return np.clip(slope + noise, 0, 255).astype(np.uint8)


def plain(size: tuple[int, int], channels: int = 1, **changes: Any) -> Preprocessing:
    """Values 0 to 1, as they are."""
    fields = {"size": size, "channels": channels, "mean": (0,) * channels, "std": (1,) * channels}
    made = msgspec.convert(fields | changes, Preprocessing)
    made.check((channels, *size))
    return made


# --- the default: what Moiety always did ----------------------------------------------------------


def earlier(values: Array, size: tuple[int, int]) -> Array:
    """The tensor of Moiety's first Programs: Pillow's bilinear filter on 8 bits, on float32 for
    deeper pictures.
    """
    deep = values.dtype != np.uint8
    plane = Image.fromarray((values * 255).astype(np.float32) if deep else values)
    scale = max(size[0] / plane.height, size[1] / plane.width)
    target = (
        max(size[1], round(plane.width * scale)),
        max(size[0], round(plane.height * scale)),
    )
    left, top = (target[0] - size[1]) // 2, (target[1] - size[0]) // 2
    box = (left, top, left + size[1], top + size[0])
    pixels = np.asarray(plane.resize(target, Image.Resampling.BILINEAR).crop(box), np.float32)
    channels_first = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    result: Array = (channels_first / np.float32(255) - mean) / std
    return result


@pytest.mark.parametrize("size", SIZES)
def test_the_default_is_bit_for_bit_what_it_was(size: tuple[int, int]) -> None:
    imagenet = preset("imagenet", (3, 224, 224))
    assert imagenet == Preprocessing(
        size=(224, 224), channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
    deep = drawn(*size).astype(np.float64) / 255 * 0.9
    for values in (drawn(*size), drawn(*size, 3), deep):
        np.testing.assert_array_equal(tensor(values, imagenet), earlier(values, (224, 224)))


# --- the presets against the libraries ------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", [224, 299])
def test_torchvision(size: tuple[int, int], model: int) -> None:
    """Resize(256), CenterCrop(224), ToTensor and Normalize, of a PIL image: equal bit for bit."""
    short = {224: 256, 299: 342}[model]
    values = drawn(*size, 3)
    image = Image.fromarray(values)
    width, height = image.size
    ratio = (min(width, height), max(width, height))
    long = int(short * ratio[1] / ratio[0])
    image = image.resize(
        (short, long) if width <= height else (long, short), Image.Resampling.BILINEAR
    )
    top, left = (round((side - model) / 2.0) for side in (image.height, image.width))
    cropped = np.asarray(image.crop((left, top, left + model, top + model)))
    scaled = cropped.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    found = tensor(values, preset("torchvision", (3, model, model)))
    np.testing.assert_array_equal(found, (scaled - mean) / std)


@pytest.mark.parametrize("size", [*SIZES, (180, 200)])
def test_torchxrayvision_on_pictures(size: tuple[int, int]) -> None:
    """load_image, XRayCenterCrop, XRayResizer(224): scikit-image's resize is SciPy's Gaussian and
    zoom. In float32 there, in float64 here: 0.002 of a range of 2048.
    """
    ndimage = pytest.importorskip("scipy.ndimage")
    values = drawn(*size, 3)
    scaled = (2 * (values[..., 0].astype(np.float32) / 255) - 1.0) * 1024
    height, width = scaled.shape
    side = min(height, width)
    top, left = height // 2 - side // 2, width // 2 - side // 2
    square = scaled[top : top + side, left : left + side]
    deviation = max(0, (side / 224 - 1) / 2)
    if deviation:
        square = ndimage.gaussian_filter(square, deviation, mode="grid-constant", cval=0)
    expected = ndimage.zoom(square, 224 / side, order=1, mode="grid-constant", grid_mode=True)
    found = tensor(values, preset("torchxrayvision", (1, 224, 224)))
    np.testing.assert_allclose(found[0], expected, atol=2e-3)


DICOM = (data_folder() or Path("no-data")) / "dicom"


@pytest.mark.skipif(not DICOM.is_dir(), reason=f"no data: {HOW_TO_GIVE_DATA}")
@pytest.mark.parametrize(
    "name", ["chest_cr_nih_jpegbaseline_mono2", "chest_cr_rg1_j2klossy_mono1_15bit"]
)
def test_torchxrayvision_on_radiographs(name: str) -> None:
    """Tensors that torchxrayvision 1.5.7 made of the files that the loader reads here; a lossy JPEG
    may differ by a grey level between decoders, which the mean over pixels shows less.
    """
    pytest.importorskip("pydicom")
    shape = (1, 224, 224)
    found = load(DICOM / f"{name}.dcm", Reader(shape, preset("torchxrayvision", shape))).tensor
    expected = np.load(DICOM / "golden" / f"xrv_{name}.npz")["input"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-3 if "j2k" in name else 3)
    assert np.abs(found - expected).mean() < (1e-3 if "j2k" in name else 0.3)


@pytest.mark.parametrize("size", [*SIZES, (100, 130)])
def test_monai(size: tuple[int, int]) -> None:
    """LoadImage, which transposes, ScaleIntensity, and Resize, whose area is PyTorch's adaptive
    average pool. In float32 there: 1e-6.
    """
    values = drawn(*size)[:, ::-1] // 2 + 20
    loaded = values.T.astype(np.float32)
    scaled = (loaded - loaded.min()) / (loaded.max() - loaded.min())
    ends = [
        (np.arange(224) * side // 224, -(-np.arange(1, 225) * side // 224)) for side in scaled.shape
    ]
    (top, bottom), (left, right) = ends
    top, bottom = top[:, None], bottom[:, None]
    sums = np.pad(scaled.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    expected = total / ((bottom - top) * (right - left))
    found = tensor(values, preset("monai", (1, 224, 224)))
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_monai_of_a_picture_without_contrast_is_black() -> None:
    assert not tensor(np.full((300, 300), 90, np.uint8), preset("monai", (1, 224, 224))).any()


# --- resampling -----------------------------------------------------------------------------------


def pytorch(plane: Array, size: tuple[int, int], mode: str) -> Array:
    """PyTorch's `interpolate(align_corners=False)`, by the ONNX operator that it exports to."""
    how: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": "half_pixel",
        "cubic_coeff_a": -0.75,
    }
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **how)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y")]
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 1, *size])
    graph = helper.make_graph([node], "resize", ends[:1], ends[1:], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": plane[None, None].astype(np.float32)})
    result: Array = found[0, 0]
    return result


@pytest.mark.parametrize("size", [(40, 30), (11, 90), (64, 64), (7, 7)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_without_antialias_as_pytorch(interpolation: Any, size: tuple[int, int]) -> None:
    plane = drawn(50, 37) / 2.0 + 60
    mode = {"bilinear": "linear", "bicubic": "cubic"}[interpolation]
    found = resample(plane, size, interpolation, "none")
    np.testing.assert_allclose(found, pytorch(plane, size, mode), atol=1e-3)


def test_box_is_the_share_of_area() -> None:
    plane = drawn(40, 60).astype(np.float64)
    found = resample(plane, (10, 12), "box", "widened")
    np.testing.assert_allclose(found, plane.reshape(10, 4, 12, 5).mean((1, 3)), atol=1e-9)
    thirds = [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]
    np.testing.assert_allclose(axis_weights(3, 2, "box", "widened"), thirds)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_keeps_a_grey_and_its_range(method: Any) -> None:
    """One grey stays it (outside of a Gaussian's edge), and nothing leaves 0 to 255."""
    interpolation, antialias = method
    for size in ((20, 20), (97, 120)):
        grey = resample(np.full((60, 50), 77.0), size, interpolation, antialias, fill=77.0)
        np.testing.assert_allclose(grey, 77.0, atol=1e-4)
        edges = resample(np.where(drawn(60, 50) > 127, 255.0, 0.0), size, interpolation, antialias)
        assert edges.shape == size
        assert edges.min() >= 0
        assert edges.max() <= 255


def test_16_bits_are_kept_by_every_method() -> None:
    """Two pictures that differ by one of 65535 grey levels give different tensors."""
    low = np.full((400, 400), 30000 / 65535)
    for interpolation, antialias in METHODS:
        how = plain((200, 200), interpolation=interpolation, antialias=antialias)
        difference = tensor(low + 1 / 65535, how) - tensor(low, how)
        np.testing.assert_allclose(difference[0, 100, 100], 1 / 65535, rtol=0.02)


# --- framing --------------------------------------------------------------------------------------


def test_torchvisions_offsets_round_to_even() -> None:
    """33 pixels over: 16, and 35 over: 18, where ours is 17."""
    for long, offset, ours in ((257, 16, 16), (259, 18, 17)):
        for rounding, expected in (("torchvision", offset), ("moiety", ours)):
            how = plain((224, 224), rounding=rounding)
            assert fit((224, long), how).crop.left == expected


def test_pad_to_square() -> None:
    values = drawn(30, 20)
    found = tensor(values, plain((30, 30), resize="pad-to-square", fill=0.5))
    np.testing.assert_allclose(found[0, :, 5:25] * 255, values, atol=1e-3)
    np.testing.assert_allclose(np.delete(found[0], np.s_[5:25], 1), 128 / 255, atol=1e-6)


def test_centre_square_and_squash() -> None:
    values = drawn(30, 20)
    found = tensor(values, plain((20, 20), resize="centre-square"))
    np.testing.assert_allclose(found[0] * 255, values[5:25], atol=1e-3)
    squashed = np.asarray(Image.fromarray(values).resize((20, 20), Image.Resampling.BILINEAR))
    found = tensor(values, plain((20, 20), resize="squash"))
    np.testing.assert_allclose(found[0] * 255, squashed, atol=1e-3)


def test_squash_then_crop() -> None:
    values = drawn(60, 40)
    found = tensor(values, plain((20, 20), resize="squash", resize_to=26))
    resized = np.asarray(Image.fromarray(values).resize((26, 26), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(found[0] * 255, resized[3:23, 3:23], atol=1e-3)


@settings(max_examples=100, deadline=None)
@given(
    found=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    resize=st.sampled_from(["short-side-crop", "squash", "pad-to-square", "centre-square"]),
    rounding=st.sampled_from(["moiety", "torchvision", "torchxrayvision"]),
    larger=st.none() | st.floats(1, 4),
)
def test_the_crop_is_always_inside(
    found: tuple[int, int], size: tuple[int, int], resize: str, rounding: str, larger: float | None
) -> None:
    to = None if larger is None else int(max(size) * larger)
    how = plain(size, resize=resize, rounding=rounding, resize_to=to)
    try:
        plan = fit(found, how)
    except BadInput:
        return  # the next test has which
    assert plan.crop.size == size
    for at, inner, outer in zip((plan.crop.top, plan.crop.left), size, plan.resized, strict=True):
        assert 0 <= at <= outer - inner
    for at, inner, outer in zip(
        (plan.frame.top, plan.frame.left), plan.frame.size, found, strict=True
    ):
        assert min(0, outer - inner) <= at <= max(0, outer - inner)


def test_what_is_said_of_small_and_long_pictures() -> None:
    codes = {
        size: [w.code for w in fit(size, plain((224, 224))).warnings]
        for size in ((224, 224), (112, 112), (100, 112), (400, 300), (400, 200))
    }
    assert codes == {
        (224, 224): [],
        (112, 112): [],
        (100, 112): ["enlarged"],
        (400, 300): [],
        (400, 200): ["cropped"],
    }
    assert fit((400, 200), plain((224, 224), resize="pad-to-square")).warnings == ()
    with pytest.raises(BadInput, match="60000x900 pixels, too long and thin"):
        fit((900, 60000), plain((2048, 2048)))
    with pytest.raises(BadInput, match="only 40x30 pixels, too few for a model that looks at 224x"):
        fit((30, 40), plain((224, 224), resize="squash"))


# --- colour and numbers ---------------------------------------------------------------------------


def test_colour_to_grey() -> None:
    values = drawn(16, 16, 3)
    luma = np.asarray(Image.fromarray(values).convert("L"))
    expected = {"as-input": luma, "luma": luma, "mean": values.mean(2), "first": values[..., 0]}
    for colour, grey in expected.items():
        one = tensor(values, plain((16, 16), resize="exact", colour=colour))
        np.testing.assert_allclose(one[0] * 255, grey, atol=1e-3)
        three = tensor(values, plain((16, 16), 3, resize="exact", colour=colour))
        if colour != "as-input":
            np.testing.assert_array_equal(three, np.repeat(one, 3, 0))
        else:
            np.testing.assert_allclose(three * 255, values.transpose(2, 0, 1), atol=1e-3)


def test_blue_first_with_mean_and_std_in_the_models_order() -> None:
    values = drawn(16, 16, 3)
    how = plain(
        (16, 16), 3, resize="exact", channel_order="bgr", mean=(0.1, 0.2, 0.3), std=(1, 2, 4)
    )
    found = tensor(values, how)
    np.testing.assert_allclose(found[0], values[..., 2] / 255 - 0.1, atol=1e-6)
    np.testing.assert_allclose(found[2], (values[..., 0] / 255 - 0.3) / 4, atol=1e-6)


def test_scale_and_offset_come_before_mean_and_std() -> None:
    values = drawn(16, 16)
    found = tensor(values, plain((16, 16), scale=2048, offset=-1024, mean=(10,), std=(4,)))
    np.testing.assert_allclose(found[0], (values / 255 * 2048 - 1034) / 4, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_value_is_beyond_the_reach(data: st.DataObject) -> None:
    number = st.floats(-50, 50, width=32)
    interpolation, antialias = data.draw(st.sampled_from(sorted(METHODS)))
    how = plain(
        (24, 20),
        interpolation=interpolation,
        antialias=antialias,
        resize=data.draw(st.sampled_from(["squash", "pad-to-square", "centre-square"])),
        fill=data.draw(st.floats(0, 1)),
        stretch=data.draw(st.sampled_from(["none", "min-max"])),
        scale=data.draw(number.filter(lambda x: abs(x) > 0.01)),
        offset=data.draw(number),
        mean=(data.draw(number),),
        std=(data.draw(st.floats(0.01, 50)),),
    )
    found = tensor((drawn(40, 31) > 120) * np.uint8(255), how)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= how.reach() * (1 + 1e-4) + 1e-3
