"""Linear and cubic resizing: every attribute against onnxruntime, and the compiled Program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.compiler.compile import CompileOptions, compile_graph
from moiety.compiler.ir.axis_map import MAX_DIVISOR, AxisMap
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.manager import optimise
from moiety.protocols.errors import BadModel
from moiety.runtime.program import Linear, LinearMap
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.graphs import PRECISE
from tests.support.onnx_models import Attribute, run_model
from tests.support.onnx_models import ModelBuilder as B

COORDINATES = (
    "half_pixel",
    "pytorch_half_pixel",
    "asymmetric",
    "align_corners",
    "half_pixel_symmetric",
)


def resized(b: B, sizes: Sequence[int], x: str = "x", **attrs: Attribute) -> str:
    return b.op("Resize", x, "", "", b.ints(*sizes), **attrs)


def agrees(b: B, output: str, tolerance: float = 1e-4) -> None:
    """The imported Graph gives what onnxruntime gives."""
    model = b.model(output)
    graph = import_onnx(model)
    x = np.random.default_rng(1).standard_normal((1, *graph.shapes["x"][1:])).astype(np.float32)
    (expected,) = run_model(model, x)
    (found,) = (run_graph(graph, {"x": x})[name] for name in graph.outputs)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=tolerance)


@settings(max_examples=120, deadline=None)
@given(
    mode=st.sampled_from(["linear", "cubic"]),
    coordinates=st.sampled_from(COORDINATES),
    size=st.tuples(st.integers(1, 9), st.integers(2, 9)),
    result=st.tuples(st.integers(1, 20), st.integers(2, 20)),
    antialias=st.booleans(),
)
def test_any_size_against_onnxruntime(
    mode: str,
    coordinates: str,
    size: tuple[int, int],
    result: tuple[int, int],
    antialias: bool,
) -> None:
    b = B([1, 2, *size], opset=18)
    attrs: dict[str, Attribute] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    agrees(b, resized(b, [1, 2, *result], "x", **attrs, antialias=int(antialias)))


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_crops_extrapolate(mode: str) -> None:
    b = B([1, 2, 6, 5], opset=19)
    roi = b.constant([0, 0, -0.2, 0.4, 1, 1, 1.3, 0.9], np.float32)
    crop = "tf_crop_and_resize"
    attrs: dict[str, Attribute] = {"mode": mode, "coordinate_transformation_mode": crop}
    sizes = b.ints(1, 2, 7, 9)
    agrees(b, b.op("Resize", "x", roi, "", sizes, **attrs, extrapolation_value=2.5))


@pytest.mark.parametrize("a", [-0.75, -0.5])
def test_cubic_without_the_pixels_outside(a: float) -> None:
    b = B([1, 2, 6, 5], opset=17)
    agrees(b, resized(b, [1, 2, 9, 4], mode="cubic", cubic_coeff_a=a, exclude_outside=1))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(0.6, 0.5), (0.4, 2.5), (1.5, 0.7), (1.0, 0.35)])
def test_opset_10_resizes_as_onnxruntime(mode: str, scales: tuple[float, float]) -> None:
    """ONNX left open there which pixel is the nearest."""
    b = B([1, 2, 7, 9], opset=10)
    factors = b.constant([1, 1, *scales], np.float32)
    agrees(b, b.op("Resize", "x", factors, mode=mode))


def test_channels_last_and_signals() -> None:
    b = B([1, 6, 5, 3], opset=17)
    agrees(b, resized(b, [1, 9, 11, 3], mode="linear"))
    b = B([1, 3, 8], opset=17)
    agrees(b, resized(b, [1, 3, 21], mode="linear"))


def test_unknown_words_are_refused() -> None:
    for attrs, message in (
        ({"mode": "quintic"}, "mode 'quintic' is unknown"),
        ({"coordinate_transformation_mode": "corner", "mode": "linear"}, "'corner' is unknown"),
        ({"nearest_mode": "up"}, "nearest_mode 'up' is unknown"),
    ):
        b = B([1, 3, 4, 4])
        with pytest.raises(BadModel, match=message):
            import_onnx(b.model(resized(b, [1, 3, 5, 5], **attrs)))


def test_the_integers_of_a_map() -> None:
    """Exact where the weights have a small common divisor; else every row keeps its sum."""
    half = AxisMap.of(np.array([[4, 0], [3, 1], [1, 3], [0, 4]]) / 4)
    assert (half.divisor, half.integers.tolist()) == (4, [[4, 0], [3, 1], [1, 3], [0, 4]])
    assert np.array_equal(AxisMap.of(half.matrix).matrix, half.matrix)
    thirds = np.random.default_rng(0).dirichlet(np.ones(5), size=300)
    found = AxisMap.of(thirds)
    assert found.divisor == MAX_DIVISOR
    assert (found.integers.sum(axis=1) == MAX_DIVISOR).all()
    assert np.abs(found.integers / MAX_DIVISOR - thirds).max() < 1 / MAX_DIVISOR


@pytest.mark.parametrize(
    ("attrs", "size", "rescaled"),
    [
        ({"mode": "linear"}, 16, 0),
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, 16, 1),
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, 35, 2),
        ({"mode": "cubic"}, 16, 2),
    ],
)
def test_compiled_between_convolutions(
    attrs: dict[str, Attribute], size: int, rescaled: int
) -> None:
    """Beside a map that is not resized. No message is sent for it: the division is in the layer
    behind, but where that would leave its weights no precision.
    """
    b = B([1, 3, 8, 8])
    y = b.op("Relu", b.conv("x", 3, 4, 3, pads=[1, 1, 1, 1]))
    joined = b.op(
        "Concat",
        resized(b, [1, 4, size, size], y, **attrs),
        b.op("Resize", y, "", "", b.ints(1, 4, size, size)),
        axis=1,
    )
    model = b.model(b.conv(joined, 8, 3, 3))
    graph = optimise(import_onnx(model))
    images = np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype(np.float32)
    compiled = compile_graph(graph, images, CompileOptions(PRECISE))
    kinds = [type(step) for step in compiled.program.steps]
    assert kinds.count(LinearMap) == 2
    assert kinds.count(Linear) == 2 + rescaled
    executor = CleartextExecutor(compiled.program, compiled.weights, np.random.default_rng(1))
    (expected,) = zip(*(run_model(model, image[None]) for image in images), strict=True)
    found = np.stack([executor.run(image)[graph.outputs[0]] for image in images])
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-3 * np.abs(expected).max())
    assert not executor.overflows
