"""Every pass: its text before and after, the function it must keep, where it must not apply; and whole pipelines."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from moiety.compiler.graph import Graph, Node
from moiety.compiler.onnx_import import import_onnx
from moiety.compiler.ops import run_graph
from moiety.compiler.pass_manager import PassManager, dump_to, format_graph, format_pipeline, optimise, parse_pipeline
from moiety.compiler.passes import DEFAULT_PIPELINE, PASSES, Pass, check_normal_form
from moiety.compiler.verify import random_feeds, same_function, verify
from moiety.protocols.errors import BadInput, BadModel, ContractViolation
from tests.support.nets import NETWORKS, random_images, run_onnx
from tests.support.onnx_models import ModelBuilder as B
from tests.support.onnx_models import run_model

DATA = Path(os.environ.get("MOIETY_DATA", Path(__file__).parents[2] / "shared" / "data"))


def build(shape: list[int | str], add: Callable[[B], Any]) -> Graph:
    b = B(shape)
    last = add(b)
    return import_onnx(b.model(*(last if isinstance(last, list) else [last])))


def after(graph: Graph, pipeline: str) -> Graph:
    """The Graph after a pipeline whose every pass is checked, with the tightest tolerance that float32 allows."""
    return PassManager.parse(pipeline, tolerance=1e-4).run(graph)


def text(graph: Graph) -> str:
    return "\n".join(line.strip() for line in format_graph(graph).strip().splitlines()[1:])


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def golden(graph: Graph, expected: str) -> None:
    assert text(graph) == "\n".join(line.strip() for line in expected.strip().splitlines())


IMAGE: list[int | str] = ["N", 4, 8, 8]


# ---------------------------------------------------------------------------------------------------- canonicalise


def test_canonicalise_merges_affine_chains() -> None:
    def add(b: B) -> str:
        y = b.op("Mul", b.op("Sub", "x", b.constant(b.normal(4, 1, 1))), b.constant(b.normal(4, 1, 1)))
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
        y = b.op("Reshape", b.op("Unsqueeze", b.op("GlobalAveragePool", y), b.ints(4)), b.ints(1, 2))
        return b.op("Relu", b.op("Relu", y))

    golden(
        after(build(IMAGE, add), "canonicalise"),
        """
        x: 1x4x8x8 = input
        add2.addconst: 1x4x8x8 = Scale(x, scale[4], shift[4])
        relu3.relu: 1x4x8x8 = Relu(add2.addconst)
        conv6: 1x2x7x7 = Conv(relu3.relu, pads=(1,0,0,1), weight[2x4x3x3], bias[2])
        globalaveragepool7: 1x2x1x1 = AvgPool(conv6, kernel=(7,7))
        reshape9: 1x2 = Reshape(globalaveragepool7, shape=(1,2))
        v11: 1x2 = Relu(reshape9)
        return v11
        """,
    )


def test_canonicalise_flattens_concats_and_keeps_output_names() -> None:
    def add(b: B) -> list[str]:
        inner = b.op("Concat", "x", b.op("Relu", "x"), axis=1)
        return [b.op("Identity", b.op("Reshape", b.op("Concat", inner, "x", axis=1), b.ints(0, 12, 8, 8))), inner]

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


# -------------------------------------------------------------------------------------------------- fold-batchnorm


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
        return [b.conv(y, 4, 6, 3, bias=True, group=2), b.conv(y, 4, 3, 3, bias=True, pads=[1, 1, 1, 1])]

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
            "AveragePool", b.batchnorm(b.op("Relu", "x"), 4), kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1]
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
    assert ops(after(build(IMAGE, lambda b: b.op("Relu", b.batchnorm("x", 4))), "fold-batchnorm")) == ["Scale", "Relu"]


# ------------------------------------------------------------------------------------------------------ pools, clip


def test_relu_after_maxpool() -> None:
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    golden(
        after(build(IMAGE, lambda b: b.op("MaxPool", b.op("Relu", "x"), **pool)), "relu-after-maxpool"),
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
    assert ops(opened) == (["MaxPool", "Scale", "Relu"] if positive else ["Scale", "MaxPool", "Relu"])


def test_pool_before_conv() -> None:
    def add(b: B, **pool: Any) -> str:
        return b.op("AveragePool", b.conv("x", 4, 6, 1, bias=True, group=2), kernel_shape=[2, 2], **pool)

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
    assert ops(after(build(IMAGE, lambda b: add(b, **padded)), "pool-before-conv1x1")) == ["AvgPool", "Conv"]
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
    np.testing.assert_allclose(run_graph(after(graph, "clip-to-relu"), {"x": x})["v0"], np.clip(x, 0, 6), atol=1e-6)


# ------------------------------------------------------------------------------------------------ absorb-batchnorm


def _absorbed(add: Callable[[B, str], Any]) -> bool:
    graph = after(build(IMAGE, lambda b: add(b, b.op("Relu", b.batchnorm("x", 4)))), "absorb-batchnorm")
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
        (True, lambda b, y: b.conv(b.op("AveragePool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 4, 2, 1)),
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
                    "Concat", b.op("Pad", y, b.ints(*[0] * 6, 1, 0)), b.op("Pad", "x", b.ints(*[0] * 6, 1, 0)), axis=1
                ),
                8,
                2,
                1,
            ),
        ),
        (True, lambda b, y: b.conv(b.op("Concat", *b.op("Split", y, axis=2, outputs=2), axis=2), 4, 2, 1)),
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
def test_absorb_batchnorm_follows_every_use(absorbed: bool, add: Callable[[B, str], Any]) -> None:
    assert _absorbed(add) is absorbed


# ---------------------------------------------------------------------------------------------------- strided-conv


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
@given(data=st.data())
def test_strided_conv_on_random_geometry(data: st.DataObject) -> None:
    draw = data.draw
    groups, depth, filters = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(2))
    strides = [draw(st.integers(1, 4)) for _ in range(2)]
    dilations = [draw(st.integers(1, 4)) for _ in range(2)]
    pads = [draw(st.integers(0, 3)) for _ in range(4)]
    least = [max(1, (kernel[i] - 1) * dilations[i] + 1 - pads[i] - pads[i + 2]) for i in range(2)]  # one window fits
    size: list[int | str] = ["N", groups * depth, *(low + draw(st.integers(0, 9)) for low in least)]
    attrs = {"strides": strides, "dilations": dilations, "pads": pads}
    graph = build(
        size, lambda b: b.conv("x", groups * depth, groups * filters, kernel, bias=True, group=groups, **attrs)
    )
    for result in (after(graph, "strided-conv"), after(graph, "strided-conv,canonicalise")):
        check_normal_form(result)
        feeds = random_feeds(graph, np.random.default_rng(0))
        expected, found = (run_graph(g, feeds)[g.outputs[0]] for g in (graph, result))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------------------------------- clean-up


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
    with_dead = Graph("g", ("x",), graph.outputs, (dead, *graph.nodes), {**graph.shapes, "unread": (1, 4, 8, 8)})
    assert ops(after(with_dead, "dead-code")) == ops(graph)


# -------------------------------------------------------------------------------------------------- whole pipelines


def structure(graph: Graph) -> list[tuple[object, ...]]:
    """All of a Graph but the names and the values of its constants."""
    index = {value: position for position, value in enumerate((*graph.inputs, *(node.output for node in graph.nodes)))}
    return [
        (
            node.op,
            tuple(index[value] for value in node.inputs),
            repr(sorted(node.attrs.items())),
            sorted((name, array.shape) for name, array in node.consts.items()),
            graph.shapes[node.output],
        )
        for node in graph.nodes
    ]


@pytest.mark.parametrize("batch_norm", ["separate", "folded", "none"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, batch_norm: str) -> None:
    model = NETWORKS[name](gammas="hostile", batch_norm=batch_norm)
    graph = optimise(import_onnx(model), tolerance=2e-3)
    images = random_images((3, 16, 16), n=2, seed=3)
    found = run_graph(graph, {"image": images})[graph.outputs[0]]
    np.testing.assert_allclose(found, run_onnx(model, images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_structure_depends_on_the_architecture_alone(name: str) -> None:
    """Not on the weights (negative, zero, tiny scales), nor on how the exporter wrote the batch norms or the head."""
    first = structure(optimise(import_onnx(NETWORKS[name](seed=1))))
    for options in ({"gammas": "hostile", "seed": 2}, {"batch_norm": "folded"}, {"opset": 13}, {"opset": 21}):
        assert structure(optimise(import_onnx(NETWORKS[name](**options)), check_numerics=False)) == first, options


@pytest.mark.parametrize("name", ["densenet", "resnet", "inception"])
def test_heads_are_one(name: str) -> None:
    heads = [optimise(import_onnx(NETWORKS[name](head=head))) for head in ("pool", "mean")]
    assert structure(heads[0]) == structure(heads[1])


def test_all_rewrites_happen_on_a_densenet() -> None:
    graph = optimise(import_onnx(NETWORKS["densenet"](gammas="hostile")))
    count = {op: ops(graph).count(op) for op in set(ops(graph))}
    assert "Scale" not in count
    assert count["AffineRelu"] == 2 * 2 + 1 + 1  # dense layers, transition, last norm
    assert ops(graph)[:7] == ["Pad", "Reshape", "Transpose", "Reshape", "Conv", "MaxPool", "Relu"]
    pool = next(node for node in graph.nodes if node.op == "AvgPool")
    assert [node.op for node in graph.consumers(pool.output)] == ["Conv"]


def test_channels_last_export() -> None:
    """As TensorFlow exporters write it: Transposes around every Conv, biases and batch norms over the last axis."""

    def add(b: B) -> str:
        y = "x"
        for cin, cout, stride in ((4, 6, 1), (6, 8, 2)):
            y = b.op("Transpose", y, perm=[0, 3, 1, 2])
            y = b.conv(y, cin, cout, 3, auto_pad="SAME_UPPER", strides=[stride, stride])
            y = b.op("Add", b.op("Transpose", y, perm=[0, 2, 3, 1]), b.constant(b.normal(cout)))
            y = b.op("Relu", b.op("Add", b.op("Mul", y, b.constant(b.normal(cout))), b.constant(b.normal(cout))))
        return b.gemm(b.op("ReduceMean", y, axes=[1, 2], keepdims=0), 8, 3)

    graph = optimise(build(["N", 8, 8, 4], add), tolerance=1e-4)
    assert [op for op in ops(graph) if op in ("Conv", "Scale", "AddConst", "Relu", "AvgPool", "Gemm")] == [
        "Conv",
        "Relu",
        "Conv",
        "Relu",
        "AvgPool",
        "Gemm",
    ]
    assert ops(graph).count("Transpose") == 2  # the input's, and the space-to-depth


def test_trained_densenet_in_both_exports() -> None:
    paths = [DATA / "chest-densenet121.onnx", DATA / "chest-densenet121-folded.onnx"]
    if not all(path.exists() for path in paths):
        pytest.skip(f"no trained model under {DATA}")
    graphs = [optimise(import_onnx(path), check_numerics=False) for path in paths]
    assert structure(graphs[0]) == structure(graphs[1])
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    for path, graph in zip(paths, graphs, strict=True):
        (expected,) = run_model(onnx.load_model(path), x)
        np.testing.assert_allclose(run_graph(graph, {"image": x})["logits"], expected, atol=1e-3)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_random_networks(data: st.DataObject) -> None:
    """Any arrangement of the ops keeps its function through the whole pipeline and ends in normal form."""
    b = B(["N", 4, 8, 8], seed=data.draw(st.integers(0, 99)))
    made: list[tuple[str, tuple[int, int, int]]] = [("x", (4, 8, 8))]
    for _ in range(data.draw(st.integers(1, 9))):
        x, (c, h, w) = data.draw(st.sampled_from(made[-4:]))
        alike = [value for value, shape in made if shape == (c, h, w)]
        match data.draw(
            st.sampled_from(
                ["conv", "conv1", "bn", "relu", "relu", "clip", "max", "avg", "cat", "add", "cut", "turn", "pad"]
            )
        ):
            case "conv" if min(h, w) >= 3:
                stride = data.draw(st.integers(1, 2))
                y = b.conv(x, c, 4, 3, bias=True, pads=[data.draw(st.integers(0, 1))] * 4, strides=[stride, stride])
            case "conv1":
                y = b.conv(x, c, 3, 1, strides=[data.draw(st.integers(1, 2))] * 2)
            case "bn":
                y = b.batchnorm(x, c)
            case "clip":
                y = b.op("Clip", x, b.constant(0, np.float32), b.constant(1, np.float32))
            case "max" if min(h, w) >= 3:
                y = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
            case "avg" if min(h, w) >= 3:
                pads = [data.draw(st.integers(0, 1))] * 4
                counted = data.draw(st.integers(0, 1))
                y = b.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], pads=pads, count_include_pad=counted)
            case "cat":
                y = b.op("Concat", x, data.draw(st.sampled_from(alike)), axis=data.draw(st.integers(1, 3)))
            case "add":
                y = b.op("Add", x, data.draw(st.sampled_from(alike)))
            case "cut":
                y = b.op("Slice", x, b.ints(0), b.ints(2), b.ints(1))
            case "turn":
                y = b.op("Transpose", x, perm=[0, *data.draw(st.permutations([1, 2, 3]))])
            case "pad":
                y = b.op("Pad", x, b.ints(0, 0, 1, 0, 0, 0, 0, 2))
            case _:
                y = b.op("Relu", x)
        shape = import_onnx(b.model(y)).shapes[y]
        made.append((y, (shape[1], shape[2], shape[3])))
    last, (c, h, w) = made[-1]
    if data.draw(st.booleans()):
        last = b.gemm(b.op("Flatten", last), c * h * w, 3)
    graph = import_onnx(b.model(last))
    if graph.nodes:
        check_normal_form(after(graph, DEFAULT_PIPELINE))


LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("densenet121", {"Conv": 121, "AffineRelu": 62, "Relu": 59, "Concat": 58, "MaxPool": 1, "AvgPool": 4}),
        ("inception_v2", {"Conv": 69, "Relu": 69, "Concat": 10, "MaxPool": 5, "AvgPool": 8, "Gemm": 1, "Softmax": 1}),
        (
            "shufflenet",
            {"Conv": 49, "Relu": 33, "Concat": 3, "MaxPool": 1, "AvgPool": 4, "Add": 13, "Gemm": 1, "Softmax": 1},
        ),
        ("squeezenet", {"Conv": 26, "Relu": 26, "Concat": 8, "MaxPool": 3, "AvgPool": 1, "Softmax": 1}),
    ],
)
def test_models_of_another_exporter(name: str, expected: dict[str, int]) -> None:
    """The models that come with the onnx package: opset 9, batch norms as Mul and Add of Unsqueezed constants."""
    path = LIGHT / f"light_{name}.onnx"
    if not path.exists():
        pytest.skip("this onnx package comes without its light models")
    found = ops(optimise(import_onnx(path), check_numerics=name != "densenet121", tolerance=1e-2))
    moves = {"Pad", "Slice", "Reshape", "Transpose"}
    assert {op: found.count(op) for op in set(found) - moves} == expected


def test_check_normal_form() -> None:
    graph = import_onnx(NETWORKS["mobilenet"]())
    with pytest.raises(BadModel, match=r"strides \(2, 2\): add strided-conv"):
        check_normal_form(graph)
    with pytest.raises(BadModel, match=r"Clip .*add clip-to-relu"):
        optimise(graph, "strided-conv")


# ----------------------------------------------------------------------------------------------------- pass manager


def test_pipelines_are_strings() -> None:
    assert format_pipeline(parse_pipeline(DEFAULT_PIPELINE)) == DEFAULT_PIPELINE
    written = "dead-code,relu-after-maxpool{disclose_signs=True},canonicalise"
    assert str(PassManager.parse(written)) == written
    assert parse_pipeline("relu-after-maxpool{disclose_signs=False}") == parse_pipeline("relu-after-maxpool")
    assert parse_pipeline("") == ()
    for wrong, message in {
        "nothing": "no pass 'nothing'",
        "dead-code{x=1}": "no option 'x'",
        "relu-after-maxpool{disclose_signs=maybe}": "'maybe' is no value",
        "relu-after-maxpool{disclose_signs=1}": "needs a bool",
        "dead-code;canonicalise": "cannot read",
        "dead-code,": "ends with a comma",
    }.items():
        with pytest.raises(BadInput, match=message):
            parse_pipeline(wrong)


def test_every_pass_states_its_identity() -> None:
    for name, each in PASSES.items():
        assert each.name == name
        assert each.__doc__
        assert not each.__doc__.startswith(each.__name__ + "(")  # what dataclass writes where there is none


@dataclass(frozen=True)
class _Broken(Pass):
    """Not an identity: drops every bias."""

    name: ClassVar[str] = "broken"
    illegal: bool = False

    def run(self, graph: Graph) -> Graph:
        nodes = [
            node.with_(consts={**node.consts, "bias": node.consts["bias"] * 0}) if "bias" in node.consts else node
            for node in graph.nodes
        ]
        if self.illegal:
            return Graph(graph.name, graph.inputs, graph.outputs, tuple(reversed(nodes)), graph.shapes)
        return graph.rebuilt(nodes)


def test_a_wrong_pass_is_caught_and_the_passes_before_it_named() -> None:
    graph = import_onnx(NETWORKS["resnet"]())
    before = parse_pipeline("canonicalise,fold-batchnorm")
    with pytest.raises(
        ContractViolation, match=r"pass broken on .*changes the function.*already run: canonicalise,fold-batchnorm"
    ):
        PassManager((*before, _Broken())).run(graph)
    with pytest.raises(ContractViolation, match=r"pass broken\{illegal=True\} on .*before it is made"):
        PassManager((*before, _Broken(illegal=True))).run(graph)
    assert not same_function(
        graph, PassManager((*before, _Broken()), check_numerics=False).run(graph), np.random.default_rng(0)
    )


def test_dumps(tmp_path: Path) -> None:
    graph = import_onnx(NETWORKS["vgg"]())
    result = optimise(graph, dump_after=dump_to(tmp_path / "dump"))
    files = sorted((tmp_path / "dump").iterdir())
    assert [path.name for path in files[:3]] == ["00-import.txt", "01-dead-code.txt", "02-canonicalise.txt"]
    assert len(files) == len(parse_pipeline(DEFAULT_PIPELINE)) + 1
    assert files[-1].read_text() == format_graph(result)


def test_passes_do_nothing_the_second_time() -> None:
    for build_net in NETWORKS.values():
        graph = optimise(import_onnx(build_net()), check_numerics=False)
        verify(graph)
        assert format_graph(optimise(graph, check_numerics=False)) == format_graph(graph)
