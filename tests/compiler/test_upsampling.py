"""Resize, Upsample, ConvTranspose and copies: imports against onnxruntime,
the passes, the compiled Program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.compiler.compile import CompileOptions, compile_graph
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.ir.graph import Graph
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.manager import optimise
from moiety.compiler.passes.normal_form import check_normal_form
from moiety.protocols.errors import BadModel
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.geometry import Geometry, Pair, geometries, pairs
from tests.support.graphs import PRECISE
from tests.support.onnx_models import Build, build_model, run_model
from tests.support.onnx_models import ModelBuilder as B
from tests.support.passes import IMAGE, after, build, golden, ops

Form = Callable[[B], str]
"""Adds nodes that read `x`, and returns the value they make."""


def resized(
    b: B,
    *factors: float,
    mode: str,
    where: str | None = None,
    rounding: str | None = None,
    sizes: Sequence[int] = (),
    x: str = "x",
) -> str:
    """A Resize by `factors`, or to `sizes`; what is None is left to ONNX's default."""
    written = {"mode": mode, "coordinate_transformation_mode": where, "nearest_mode": rounding}
    attrs = {name: choice for name, choice in written.items() if choice is not None}
    if sizes:
        return b.op("Resize", x, "", "", b.ints(*sizes), **attrs)
    return b.op("Resize", x, "", b.constant([1, 1, *factors], np.float32), **attrs)


def nearest(b: B, x: str, factors: Pair = (2, 2)) -> str:
    """Every pixel repeated."""
    return resized(b, *factors, x=x, mode="nearest", where="asymmetric", rounding="floor")


def between_pixels(where: str, rounding: str) -> Form:
    """Nearest pixels at factors that are not integers."""
    return lambda b: resized(b, 1.6, 0.7, mode="nearest", where=where, rounding=rounding)


def linear(factor: int) -> Form:
    return lambda b: resized(b, factor, factor, mode="linear", where="half_pixel")


PLACES = ("half_pixel", "asymmetric", "align_corners")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")

FORMS: dict[str, Form] = {
    "nearest": lambda b: nearest(b, "x"),
    "nearest-default": lambda b: resized(b, 3, 2, mode="nearest"),
    "nearest-sizes": lambda b: resized(b, sizes=[1, 4, 16, 24], mode="nearest"),
    "nearest-odd-sizes": lambda b: resized(b, sizes=[1, 4, 11, 5], mode="nearest"),
    "nearest-smaller": lambda b: resized(b, 0.5, 0.25, mode="nearest", where="asymmetric"),
    **{
        f"nearest-{where}-{rounding}": between_pixels(where, rounding)
        for where in PLACES
        for rounding in ROUNDINGS
    },
    **{f"linear-half-{factor}": linear(factor) for factor in (2, 3, 4, 5)},
    "linear-half-mixed": lambda b: resized(b, 2, 3, mode="linear", where="half_pixel"),
    "linear-rows": lambda b: resized(b, 4, 1, mode="linear", where="half_pixel"),
    "linear-pytorch": lambda b: resized(b, 2, 2, mode="linear", where="pytorch_half_pixel"),
    "linear-asymmetric": lambda b: resized(b, 2, 3, mode="linear", where="asymmetric"),
    "linear-corners": lambda b: resized(
        b, sizes=[1, 4, 15, 22], mode="linear", where="align_corners"
    ),
    "linear-smaller": lambda b: resized(b, 0.5, 0.25, mode="linear", where="half_pixel"),
    "linear-from-one-pixel": lambda b: resized(
        b, sizes=[1, 4, 8, 6], x=b.op("GlobalAveragePool", "x"), mode="linear", where="half_pixel"
    ),
    "tile": lambda b: b.op("Tile", "x", b.ints(1, 2, 1, 3)),
    "expand": lambda b: b.op("Expand", b.op("GlobalAveragePool", "x"), b.ints(1, 4, 3, 2)),
    "broadcast": lambda b: b.op("Add", "x", b.op("GlobalAveragePool", "x")),
    "broadcast-both": lambda b: b.op(
        "Sub",
        b.op("ReduceMean", "x", axes=[2], keepdims=1),
        b.op("ReduceMean", "x", axes=[3], keepdims=1),
    ),
    "gather-any": lambda b: b.op(
        "Gather", "x", b.constant([[3, 0, -1], [1, 1, 1]], np.int64), axis=2
    ),
    "transposed": lambda b: b.op(
        "ConvTranspose", "x", b.constant(b.normal(4, 3, 2, 2)), strides=[2, 2]
    ),
    "transposed-same": lambda b: b.op(
        "ConvTranspose",
        "x",
        b.constant(b.normal(4, 3, 3, 4)),
        strides=[2, 3],
        auto_pad="SAME_UPPER",
    ),
    "transposed-shape": lambda b: b.op(
        "ConvTranspose",
        "x",
        b.constant(b.normal(4, 3, 3, 3)),
        strides=[3, 2],
        output_shape=[23, 17],
    ),
    "transposed-groups": lambda b: b.op(
        "ConvTranspose",
        "x",
        b.constant(b.normal(4, 3, 3, 3)),
        b.constant(b.normal(6)),
        group=2,
        strides=[2, 2],
        pads=[1, 0, 1, 2],
        output_padding=[1, 1],
        dilations=[1, 2],
    ),
}


def agrees(model: onnx.ModelProto, graph: Graph, batch: int = 2) -> None:
    x = np.random.default_rng(1).standard_normal((batch, *graph.shapes["x"][1:])).astype(np.float32)
    (expected,) = run_model(model, x)
    found = run_graph(graph, {"x": x})[graph.outputs[0]]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_import_and_passes_against_onnxruntime(name: str) -> None:
    model = build_model(IMAGE, FORMS[name])
    graph = import_onnx(model)
    batch = 1 if "sizes" in name or "corners" in name or "one-pixel" in name else 2
    agrees(model, graph, batch)
    agrees(model, optimise(graph, tolerance=1e-4), batch)


@pytest.mark.parametrize("opset", [9, 10])
def test_older_opsets(opset: int) -> None:
    b = B(IMAGE, opset=opset)
    scales = b.constant([1, 1, 2, 3], np.float32)
    model = b.model(b.op("Upsample" if opset == 9 else "Resize", "x", scales, mode="nearest"))
    agrees(model, import_onnx(model))


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda b: b.op("Tile", "x", b.ints(2, 1, 1, 1)), "every axis but the batch"),
        (
            lambda b: b.op("ConvTranspose", "x", b.constant(b.normal(4, 3, 3, 3)), pads=[5] * 4),
            "leave nothing",
        ),
    ],
)
def test_refusals(add: Build, message: str) -> None:
    with pytest.raises(BadModel, match=message):
        build(IMAGE, add)


def test_transposed_conv_text() -> None:
    graph = build(
        IMAGE,
        lambda b: b.op("ConvTranspose", "x", b.constant(b.normal(4, 3, 2, 2)), strides=[2, 2]),
    )
    golden(
        after(graph, "transposed-conv"),
        """
        x: 1x4x8x8 = input
        v0.conv: 1x12x8x8 = Conv(x, weight[12x4x1x1], bias[12])
        v0.reshape: 1x3x2x2x8x8 = Reshape(v0.conv, shape=(1,3,2,2,8,8))
        v0.transpose: 1x3x8x2x8x2 = Transpose(v0.reshape, perm=(0,1,4,2,5,3))
        v0: 1x3x16x16 = Reshape(v0.transpose, shape=(1,3,16,16))
        return v0
        """,
    )


def test_upsample_into_conv_text() -> None:
    graph = build(IMAGE, lambda b: b.conv(nearest(b, "x"), 4, 3, 3, pads=[1, 1, 1, 1]))
    golden(
        after(graph, "canonicalise,upsample-into-conv"),
        """
        x: 1x4x8x8 = input
        v1.conv: 1x12x8x8 = Conv(x, pads=(1,1,1,1), weight[12x4x3x3], bias[12])
        v1.reshape: 1x3x2x2x8x8 = Reshape(v1.conv, shape=(1,3,2,2,8,8))
        v1.transpose: 1x3x8x2x8x2 = Transpose(v1.reshape, perm=(0,1,4,2,5,3))
        v1: 1x3x16x16 = Reshape(v1.transpose, shape=(1,3,16,16))
        return v1
        """,
    )
    strided = build(IMAGE, lambda b: b.conv(nearest(b, "x"), 4, 3, 3, strides=[2, 2]))
    assert ops(after(strided, "canonicalise,upsample-into-conv")) == ["Upsample", "Conv"]


def test_upsample_late_and_expanded() -> None:
    def add(b: B) -> str:
        y = b.op("Add", nearest(b, "x"), nearest(b, b.op("Relu", "x")))
        return b.op("Relu", b.batchnorm(b.conv(y, 4, 2, 1), 2))

    graph = build(IMAGE, add)
    late = after(graph, "canonicalise,upsample-late")
    assert ops(late) == ["Relu", "Add", "Conv", "Scale", "Relu", "Upsample"]
    assert ops(after(graph, "canonicalise,upsample-late,expand-upsample"))[-4:] == [
        "Reshape",
        "Concat",
        "Concat",
        "Reshape",
    ]
    other = build(IMAGE, lambda b: b.op("Add", nearest(b, "x"), resized(b, 2, 2, mode="linear")))
    assert ops(after(other, "upsample-late"))[-1] == "Add"


def test_batch_norm_folds_into_the_transposed_convolution_before_it() -> None:
    def add(b: B) -> str:
        weight = b.constant(b.normal(4, 3, 3, 3))
        return b.op(
            "Relu", b.batchnorm(b.op("ConvTranspose", "x", weight, group=2, strides=[2, 2]), 6)
        )

    assert ops(after(build(IMAGE, add), "fold-batchnorm")) == ["ConvTranspose", "Relu"]
    assert "Scale" not in ops(optimise(build(IMAGE, add)))


def test_batch_norm_before_an_upsample_is_absorbed() -> None:
    graph = build(IMAGE, lambda b: b.conv(nearest(b, b.op("Relu", b.batchnorm("x", 4))), 4, 3, 3))
    assert ops(optimise(graph)) == ["AffineRelu", "Conv", "Reshape", "Transpose", "Reshape"]


@settings(max_examples=80, deadline=None)
@given(geometry=geometries(), size=pairs(1, 5), data=st.data())
def test_random_transposed_convolutions(
    geometry: Geometry, size: Pair, data: st.DataObject
) -> None:
    extra = [data.draw(st.integers(0, stride - 1)) for stride in geometry.strides]
    result = [(size[i] - 1) * geometry.strides[i] + geometry.span[i] + extra[i] for i in range(2)]
    fits = all(result[i] > geometry.pads[i] + geometry.pads[i + 2] for i in range(2))
    b = B(["N", geometry.channels, *size])
    weight = b.constant(b.normal(geometry.channels, geometry.filters, *geometry.kernel))
    b.op(
        "ConvTranspose",
        "x",
        weight,
        b.constant(b.normal(geometry.outputs)),
        strides=geometry.strides,
        output_padding=extra,
        group=geometry.groups,
        dilations=geometry.dilations,
        pads=geometry.pads if fits else [0] * 4,
    )
    rewritten_agrees(b)


@settings(max_examples=80, deadline=None)
@given(geometry=geometries(), size=pairs(1, 5))
def test_random_convolutions_after_an_upsample(geometry: Geometry, size: Pair) -> None:
    large = [side * factor for side, factor in zip(size, geometry.strides, strict=True)]
    fits = all(large[i] >= geometry.least_size[i] for i in range(2))
    b = B(["N", geometry.channels, *size])
    b.conv(
        nearest(b, "x", geometry.strides),
        geometry.channels,
        geometry.outputs,
        geometry.kernel,
        bias=True,
        group=geometry.groups,
        dilations=geometry.dilations,
        pads=geometry.pads if fits else geometry.span * 2,
    )
    rewritten_agrees(b)


def rewritten_agrees(b: B) -> None:
    """The model as imported, and what the passes of upsampling make of it."""
    model = b.model()
    graph = import_onnx(model)
    agrees(model, graph)
    result_graph = after(graph, "canonicalise,transposed-conv,upsample-into-conv,expand-upsample")
    check_normal_form(result_graph)
    agrees(model, result_graph)


@pytest.mark.parametrize(
    "name", ["nearest", "linear-half-2", "linear-asymmetric", "transposed-groups", "broadcast"]
)
def test_compiled(name: str) -> None:
    """Between two convolutions, and as the output."""
    b = B(IMAGE)
    y = b.op("Relu", b.conv("x", 4, 4, 3, pads=[1, 1, 1, 1]))
    first = len(b.nodes)
    large = FORMS[name](b)
    for node in b.nodes[first:]:  # the form reads the convolution rather than the image
        for index, value in enumerate(node.input):
            if value == "x":
                node.input[index] = y
    filters = 6 if "transposed" in name else 4
    model = b.model(
        b.op("Sub", b.conv(large, filters, filters, 1), large) if name != "nearest" else large
    )
    graph = optimise(import_onnx(model))
    images = np.random.default_rng(0).standard_normal((12, 4, 8, 8)).astype(np.float32)
    compiled = compile_graph(graph, images, CompileOptions(PRECISE))
    executor = CleartextExecutor(compiled.program, compiled.weights, np.random.default_rng(1))
    (expected,) = run_model(model, images)
    found = np.stack([executor.run(image)[graph.outputs[0]] for image in images])
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
    assert not executor.overflows
