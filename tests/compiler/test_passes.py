"""Every pass: its text before and after, the function it must keep, where it must not apply."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from onnx import numpy_helper

from moiety.compiler.ir.evaluate import random_feeds, run_graph
from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.passes.normal_form import check_normal_form
from tests.support.geometry import Geometry, Pair, geometries, pairs
from tests.support.onnx_models import Attribute
from tests.support.onnx_models import ModelBuilder as B
from tests.support.passes import IMAGE, after, build, golden, ops

# ------------------------------------------------------------------------------------- canonicalise


def test_canonicalise_merges_affine_chains() -> None:
    def add(b: B) -> str:
        y = b.op(
            "Mul", b.op("Sub", "x", b.constant(b.normal(4, 1, 1))), b.constant(b.normal(4, 1, 1))
        )
        return b.op("Relu", b.op("Add", b.batchnorm(y, 4), b.constant(2, np.float32)))

    graph = build(IMAGE, add)
    assert ops(graph) == ["AddConst", "Scale", "Scale", "AddConst", "Relu"]
    golden(
        after(graph, "canonicalise"),
        """
        x: 1x4x8x8 = input
        add3: 1x4x8x8 = Scale(x, scale[4], shift[4])
        v4: 1x4x8x8 = Relu(add3)
        return v4
        """,
    )


def test_canonicalise_cancels_transposes_and_reshapes() -> None:
    def add(b: B) -> str:
        y = b.op("Transpose", "x", perm=[0, 2, 3, 1])
        y = b.op("Add", b.op("Mul", y, b.constant(b.normal(4))), b.constant(b.normal(4)))
        y = b.op("Pad", b.op("Relu", y), b.ints(0, 1, 0, 0, 0, 0, 1, 0))
        y = b.op("Conv", b.op("Transpose", y, perm=[0, 3, 1, 2]), b.constant(b.normal(2, 4, 3, 3)))
        y = b.op(
            "Reshape", b.op("Unsqueeze", b.op("GlobalAveragePool", y), b.ints(4)), b.ints(1, 2)
        )
        return b.op("Relu", b.op("Relu", y))

    golden(
        after(build(IMAGE, add), "canonicalise"),
        """
        x: 1x4x8x8 = input
        add2.addconst: 1x4x8x8 = Scale(x, scale[4], shift[4])
        relu3.relu: 1x4x8x8 = Relu(add2.addconst)
        conv6: 1x2x7x7 = Conv(relu3.relu, pads=(1,0,0,1), weight[2x4x3x3], bias[2])
        globalaveragepool7: 1x2x1x1 = AvgPool(conv6, kernel=(7,7))
        relu10.relu: 1x2x1x1 = Relu(globalaveragepool7)
        v11: 1x2 = Reshape(relu10.relu, shape=(1,2))
        return v11
        """,
    )


def test_canonicalise_flattens_concats_and_keeps_output_names() -> None:
    def add(b: B) -> list[str]:
        inner = b.op("Concat", "x", b.op("Relu", "x"), axis=1)
        return [
            b.op(
                "Identity", b.op("Reshape", b.op("Concat", inner, "x", axis=1), b.ints(0, 12, 8, 8))
            ),
            inner,
        ]

    graph = build(IMAGE, add)
    result = after(graph, "canonicalise")
    assert result.outputs == graph.outputs
    golden(
        result,
        """
        x: 1x4x8x8 = input
        relu0: 1x4x8x8 = Relu(x)
        v1: 1x8x8x8 = Concat(x, relu0, axis=1)
        v4: 1x12x8x8 = Concat(x, relu0, x, axis=1)
        return v4, v1
        """,
    )


def test_canonicalise_merges_slices() -> None:
    def add(b: B) -> str:
        y = b.op("Slice", "x", b.ints(1, 1), b.ints(8, 8), b.ints(2, 3), b.ints(2, 1))
        return b.op("Slice", y, b.ints(1, 0), b.ints(4, 7), b.ints(2, 3), b.ints(1, 3))

    golden(
        after(build(IMAGE, add), "canonicalise"),
        """
        x: 1x4x8x8 = input
        v1: 1x4x3x3 = Slice(x, starts=(0,0,3,1), stops=(1,4,8,8), steps=(1,1,2,3))
        return v1
        """,
    )


def test_canonicalise_leaves_shared_values_alone() -> None:
    def add(b: B) -> str:
        y = b.batchnorm("x", 4)
        return b.op("Add", b.batchnorm(y, 4), y)

    assert ops(after(build(IMAGE, add), "canonicalise")) == ["Scale", "Scale", "Add"]


def test_canonicalise_joins_the_layers_of_signals() -> None:
    """1-D layers are 2-D ones of width 1; the Reshapes between them go, and batch
    norms meet their convolutions.
    """

    def add(b: B) -> str:
        y = b.op("Conv", "x", b.constant(b.normal(6, 4, 3)), pads=[1, 1])
        y = b.op(
            "Relu", b.op("Add", b.batchnorm(y, 6), b.op("Conv", "x", b.constant(b.normal(6, 4, 1))))
        )
        y = b.op(
            "Concat",
            b.op("MaxPool", y, kernel_shape=[2], strides=[2]),
            b.op("AveragePool", y, kernel_shape=[2], strides=[2]),
            axis=1,
        )
        return b.gemm(
            b.op("Flatten", b.op("GlobalAveragePool", b.op("Relu", b.batchnorm(y, 12)))), 12, 2
        )

    golden(
        after(build(["N", 4, 16], add), "canonicalise,fold-batchnorm"),
        """
        x: 1x4x16 = input
        conv0: 1x4x16x1 = Reshape(x, shape=(1,4,16,1))
        batchnormalization1.scale: 1x6x16x1 = Conv(conv0, pads=(1,0,1,0), weight[6x4x3x1], bias[6])
        conv2: 1x4x16x1 = Reshape(x, shape=(1,4,16,1))
        conv2#2: 1x6x16x1 = Conv(conv2, weight[6x4x1x1], bias[6])
        add3.add: 1x6x16x1 = Add(batchnormalization1.scale, conv2#2)
        relu4.relu: 1x6x16x1 = Relu(add3.add)
        maxpool5#2: 1x6x8x1 = MaxPool(relu4.relu, kernel=(2,1), strides=(2,1))
        averagepool6#2: 1x6x8x1 = AvgPool(relu4.relu, kernel=(2,1), strides=(2,1))
        concat7.concat: 1x12x8x1 = Concat(maxpool5#2, averagepool6#2, axis=1)
        batchnormalization8.scale: 1x12x8x1 = Scale(concat7.concat, scale[12], shift[12])
        relu9.relu: 1x12x8x1 = Relu(batchnormalization8.scale)
        globalaveragepool10#2: 1x12x1x1 = AvgPool(relu9.relu, kernel=(8,1))
        flatten11: 1x12 = Reshape(globalaveragepool10#2, shape=(1,12))
        v12: 1x2 = Gemm(flatten11, weight[2x12], bias[2])
        return v12
        """,
    )


# ----------------------------------------------------------------------------------- fold-batchnorm


def test_fold_batchnorm_after_a_layer() -> None:
    def add(b: B) -> str:
        y = b.op("Relu", b.batchnorm(b.conv("x", 4, 6, 3, group=2), 6))
        y = b.op("Flatten", b.op("GlobalAveragePool", y))
        return b.op("Add", b.op("MatMul", y, b.constant(b.normal(6, 3))), b.constant(b.normal(3)))

    golden(
        after(build(IMAGE, add), "fold-batchnorm"),
        """
        x: 1x4x8x8 = input
        batchnormalization1: 1x6x6x6 = Conv(x, groups=2, weight[6x2x3x3], bias[6])
        relu2: 1x6x6x6 = Relu(batchnormalization1)
        globalaveragepool3: 1x6x1x1 = AvgPool(relu2, kernel=(6,6))
        flatten4: 1x6 = Reshape(globalaveragepool3, shape=(1,6))
        v6: 1x3 = Gemm(flatten4, weight[3x6], bias[3])
        return v6
        """,
    )


def test_fold_batchnorm_before_a_layer() -> None:
    def add(b: B) -> list[str]:
        y = b.batchnorm("x", 4)
        return [
            b.conv(y, 4, 6, 3, bias=True, group=2),
            b.conv(y, 4, 3, 3, bias=True, pads=[1, 1, 1, 1]),
        ]

    golden(
        after(build(IMAGE, add), "fold-batchnorm"),
        """
        x: 1x4x8x8 = input
        v1: 1x6x6x6 = Conv(x, groups=2, weight[6x2x3x3], bias[6])
        v2.conv: 1x3x8x8 = Conv(x, pads=(1,1,1,1), weight[3x4x3x3], bias[3])
        v2: 1x3x8x8 = AddConst(v2.conv, value[1x3x8x8])
        return v1, v2
        """,
    )
    gemm = after(build(["N", 7], lambda b: b.gemm(b.batchnorm("x", 7), 7, 3)), "fold-batchnorm")
    assert ops(gemm) == ["Gemm"]


def test_fold_batchnorm_moves_an_affine_map_to_its_layer() -> None:
    def add(b: B) -> str:
        y = b.op(
            "AveragePool",
            b.batchnorm(b.op("Relu", "x"), 4),
            kernel_shape=[2, 2],
            strides=[2, 2],
            pads=[0, 0, 1, 1],
        )
        y = b.op("Slice", b.op("Transpose", y, perm=[0, 1, 3, 2]), b.ints(1), b.ints(4), b.ints(1))
        return b.gemm(b.op("Flatten", y), 48, 3)

    assert ops(after(build(IMAGE, add), "fold-batchnorm")) == [
        "Relu",
        "AvgPool",
        "Transpose",
        "Slice",
        "Reshape",
        "Gemm",
    ]
    pooled = build(IMAGE, lambda b: b.op("GlobalAveragePool", b.batchnorm("x", 4)))
    assert ops(after(pooled, "fold-batchnorm")) == ["Scale", "AvgPool"]


def test_fold_batchnorm_needs_the_only_use() -> None:
    def add(b: B) -> str:
        y = b.conv("x", 4, 4, 1)
        return b.op("Add", b.batchnorm(y, 4), y)

    assert ops(after(build(IMAGE, add), "fold-batchnorm")) == ["Conv", "Scale", "Add"]
    assert ops(
        after(build(IMAGE, lambda b: b.op("Relu", b.batchnorm("x", 4))), "fold-batchnorm")
    ) == ["Scale", "Relu"]


# -------------------------------------------------------------------------------------- pools, clip


def test_relu_after_maxpool() -> None:
    def add(b: B) -> str:
        window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
        return b.op("MaxPool", b.op("Relu", "x"), **window)

    golden(
        after(build(IMAGE, add), "relu-after-maxpool"),
        """
        x: 1x4x8x8 = input
        v1.maxpool: 1x4x4x4 = MaxPool(x, kernel=(3,3), strides=(2,2), pads=(1,1,1,1))
        v1: 1x4x4x4 = Relu(v1.maxpool)
        return v1
        """,
    )


@pytest.mark.parametrize("positive", [True, False])
def test_relu_after_maxpool_looks_at_signs_only_when_told(positive: bool) -> None:
    def add(b: B) -> str:
        gamma = np.array([0.5, 2, 0 if positive else -1, 1], np.float32).reshape(4, 1, 1)
        y = b.op("Add", b.op("Mul", "x", b.constant(gamma)), b.constant(b.normal(4, 1, 1)))
        return b.op("MaxPool", b.op("Relu", y), kernel_shape=[2, 2], strides=[2, 2])

    graph = build(IMAGE, add)
    closed = after(graph, "canonicalise,relu-after-maxpool")
    assert ops(closed) == ["Scale", "MaxPool", "Relu"]
    opened = after(graph, "canonicalise,relu-after-maxpool{disclose_signs=True}")
    assert ops(opened) == (
        ["MaxPool", "Scale", "Relu"] if positive else ["Scale", "MaxPool", "Relu"]
    )


def test_pool_before_conv() -> None:
    def add(b: B, **pool: Attribute) -> str:
        return b.op(
            "AveragePool", b.conv("x", 4, 6, 1, bias=True, group=2), kernel_shape=[2, 2], **pool
        )

    golden(
        after(build(IMAGE, lambda b: add(b, strides=[2, 2])), "pool-before-conv1x1"),
        """
        x: 1x4x8x8 = input
        v1.avgpool: 1x4x4x4 = AvgPool(x, kernel=(2,2), strides=(2,2))
        v1: 1x6x4x4 = Conv(v1.avgpool, groups=2, weight[6x2x1x1], bias[6])
        return v1
        """,
    )
    padded = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    assert ops(after(build(IMAGE, lambda b: add(b, **padded)), "pool-before-conv1x1")) == [
        "AvgPool",
        "Conv",
    ]
    counted = build(IMAGE, lambda b: add(b, **padded, count_include_pad=1))
    assert ops(after(counted, "pool-before-conv1x1")) == ["Conv", "AvgPool"]
    wide = build(IMAGE, lambda b: b.op("GlobalAveragePool", b.conv("x", 4, 6, 3)))
    assert ops(after(wide, "pool-before-conv1x1")) == ["Conv", "AvgPool"]


def test_clip_to_relu() -> None:
    six = [0, 6]
    graph = build(IMAGE, lambda b: b.op("Clip", "x", *(b.constant(v, np.float32) for v in six)))
    golden(
        after(graph, "clip-to-relu"),
        """
        x: 1x4x8x8 = input
        v0.relu: 1x4x8x8 = Relu(x)
        v0.addconst: 1x4x8x8 = AddConst(x, value[1x1x1x1])
        v0.relu2: 1x4x8x8 = Relu(v0.addconst)
        v0: 1x4x8x8 = Sub(v0.relu, v0.relu2)
        return v0
        """,
    )
    x = np.linspace(-20, 20, 256, dtype=np.float32).reshape(1, 4, 8, 8)
    np.testing.assert_allclose(
        run_graph(after(graph, "clip-to-relu"), {"x": x})["v0"], np.clip(x, 0, 6), atol=1e-6
    )


# --------------------------------------------------------------------------------- absorb-batchnorm


def _absorbed(add: Callable[[B, str], str | list[str]]) -> bool:
    graph = after(
        build(IMAGE, lambda b: add(b, b.op("Relu", b.batchnorm("x", 4)))), "absorb-batchnorm"
    )
    assert ("AffineRelu" in ops(graph)) != ("Relu" in ops(graph))
    return "AffineRelu" in ops(graph)


def test_absorb_batchnorm_text() -> None:
    graph = build(IMAGE, lambda b: b.conv(b.op("Relu", b.batchnorm("x", 4)), 4, 2, 3))
    golden(
        after(graph, "absorb-batchnorm"),
        """
        x: 1x4x8x8 = input
        relu1: 1x4x8x8 = AffineRelu(x, scale[4], shift[4])
        v2: 1x2x6x6 = Conv(relu1, weight[2x4x3x3], bias[2])
        return v2
        """,
    )
    assert graph.nodes[0].consts["scale"][0] == 0
    assert any(graph.nodes[0].consts["scale"] < 0)


@pytest.mark.parametrize(
    ("absorbed", "add"),
    [
        (True, lambda b, y: b.conv(y, 4, 2, 3, group=2, pads=[1, 1, 1, 1])),
        (
            True,
            lambda b, y: b.conv(
                b.op("AveragePool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 4, 2, 1
            ),
        ),
        (True, lambda b, y: b.conv(b.op("Concat", "x", y, axis=1), 8, 2, 1)),
        (True, lambda b, y: b.conv(b.op("Concat", y, "x", y, axis=1), 12, 2, 1)),
        (True, lambda b, y: b.conv(b.op("Pad", y, b.ints(0, 1, 1, 1, 0, 0, 1, 1)), 5, 2, 1)),
        (True, lambda b, y: b.conv(b.op("Slice", y, b.ints(1), b.ints(3), b.ints(1)), 2, 2, 1)),
        (True, lambda b, y: b.conv(b.op("SpaceToDepth", y, blocksize=2), 16, 2, 1)),
        (True, lambda b, y: b.gemm(b.op("Flatten", y), 256, 2)),
        (True, lambda b, y: b.conv(b.op("Transpose", y, perm=[0, 1, 3, 2]), 4, 2, 3)),
        (True, lambda b, y: [b.conv(y, 4, 2, 1), b.conv(y, 4, 2, 3)]),
        (
            True,
            lambda b, y: b.conv(
                b.op(
                    "Concat",
                    b.op("Pad", y, b.ints(*[0] * 6, 1, 0)),
                    b.op("Pad", "x", b.ints(*[0] * 6, 1, 0)),
                    axis=1,
                ),
                8,
                2,
                1,
            ),
        ),
        (
            True,
            lambda b, y: b.conv(
                b.op("Concat", *b.multi_op(2, "Split", y, axis=2), axis=2), 4, 2, 1
            ),
        ),
        (False, lambda b, y: [b.conv(y, 4, 2, 1), y]),
        (False, lambda b, y: [b.conv(y, 4, 2, 1), b.op("MaxPool", y, kernel_shape=[2, 2])]),
        (False, lambda b, y: b.op("Add", b.conv(y, 4, 4, 1), y)),
        (False, lambda b, y: b.conv(b.op("Add", y, "x"), 4, 2, 1)),
        (False, lambda b, y: b.conv(b.op("Concat", y, "x", axis=2), 4, 2, 1)),
        (False, lambda b, y: b.conv(b.op("Transpose", y, perm=[0, 2, 1, 3]), 8, 2, 1)),
        (False, lambda b, y: b.conv(b.op("Reshape", y, b.ints(1, 2, 16, 8)), 2, 2, 1)),
        (False, lambda b, y: b.conv(b.op("MaxPool", y, kernel_shape=[2, 2]), 4, 2, 1)),
        (False, lambda b, y: b.op("GlobalAveragePool", y)),
    ],
)
def test_absorb_batchnorm_follows_every_use(
    absorbed: bool, add: Callable[[B, str], str | list[str]]
) -> None:
    assert _absorbed(add) is absorbed


# ------------------------------------------------------------------------------------- strided-conv


def test_strided_conv_text() -> None:
    stem = build(IMAGE, lambda b: b.conv("x", 4, 6, 7, strides=[2, 2], pads=[3, 3, 3, 3]))
    golden(
        after(stem, "strided-conv"),
        """
        x: 1x4x8x8 = input
        v0.pad: 1x4x14x14 = Pad(x, pads=((0,0),(0,0),(3,3),(3,3)))
        v0.reshape: 1x4x7x2x7x2 = Reshape(v0.pad, shape=(1,4,7,2,7,2))
        v0.transpose: 1x4x2x2x7x7 = Transpose(v0.reshape, perm=(0,1,3,5,2,4))
        v0.reshape2: 1x16x7x7 = Reshape(v0.transpose, shape=(1,16,7,7))
        v0: 1x6x4x4 = Conv(v0.reshape2, weight[6x16x4x4], bias[6])
        return v0
        """,
    )
    projection = build(IMAGE, lambda b: b.conv("x", 4, 6, 1, strides=[2, 2]))
    golden(
        after(projection, "strided-conv"),
        """
        x: 1x4x8x8 = input
        v0.slice: 1x4x4x4 = Slice(x, starts=(0,0,0,0), stops=(1,4,7,7), steps=(1,1,2,2))
        v0: 1x6x4x4 = Conv(v0.slice, weight[6x4x1x1], bias[6])
        return v0
        """,
    )


@settings(max_examples=120, deadline=None)
@given(geometry=geometries(), room=pairs(0, 9))
def test_strided_conv_on_random_geometry(geometry: Geometry, room: Pair) -> None:
    size = (least + more for least, more in zip(geometry.least_size, room, strict=True))
    graph = build(
        ["N", geometry.channels, *size],
        lambda b: b.conv(
            "x",
            geometry.channels,
            geometry.outputs,
            geometry.kernel,
            bias=True,
            group=geometry.groups,
            strides=geometry.strides,
            dilations=geometry.dilations,
            pads=geometry.pads,
        ),
    )
    for result in (after(graph, "strided-conv"), after(graph, "strided-conv,canonicalise")):
        check_normal_form(result)
        feeds = random_feeds(graph, np.random.default_rng(0))
        expected, found = (run_graph(g, feeds)[g.outputs[0]] for g in (graph, result))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# ----------------------------------------------------------------------------------------- clean-up


def test_common_subexpressions_and_dead_code() -> None:
    def add(b: B) -> str:
        weight = b.constant(b.normal(4, 4, 1, 1))
        left, right = (b.op("Relu", b.op("Conv", "x", weight)) for _ in range(2))
        equal = numpy_helper.to_array(b.initialisers[0]).copy()  # a tensor of its own, though equal
        other = b.op("Relu", b.op("Conv", "x", b.constant(equal)))
        return b.op("Concat", left, right, other, axis=1)

    graph = build(IMAGE, add)
    golden(
        after(graph, "common-subexpressions"),
        """
        x: 1x4x8x8 = input
        conv0: 1x4x8x8 = Conv(x, weight[4x4x1x1], bias[4])
        relu1: 1x4x8x8 = Relu(conv0)
        conv4: 1x4x8x8 = Conv(x, weight[4x4x1x1], bias[4])
        relu5: 1x4x8x8 = Relu(conv4)
        v6: 1x12x8x8 = Concat(relu1, relu1, relu5, axis=1)
        return v6
        """,
    )
    dead = Node("Relu", "dead", ("x",), "unread")
    with_dead = Graph(
        "g", ("x",), graph.outputs, (dead, *graph.nodes), {**graph.shapes, "unread": (1, 4, 8, 8)}
    )
    assert ops(after(with_dead, "dead-code")) == ops(graph)
