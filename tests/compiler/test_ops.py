"""Every op of the Graph against onnxruntime: shape, float meaning, batch sizes; and
the errors of ill-fitting nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from hypothesis import given, settings

from moiety.compiler.ir.axis_map import AxisMap
from moiety.compiler.ir.evaluate import random_feeds, run_graph, same_function
from moiety.compiler.ir.formulas import NAMED
from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.compiler.ir.ops import OPS
from moiety.compiler.ir.shapes import infer_shapes, rebuilt
from moiety.compiler.ir.to_onnx import to_onnx
from moiety.compiler.ir.verify import verify
from moiety.protocols.arrays import F32
from moiety.protocols.errors import ContractViolation
from moiety.runtime.program import Expression, Result
from tests.support.geometry import Geometry, Pads, Pair, geometries, pairs
from tests.support.onnx_models import run_model

RNG = np.random.default_rng(0)


def _normal(*shape: int) -> F32:
    return RNG.standard_normal(shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """One node over inputs x0, x1, ..., whose shapes stand here without the batch."""

    op: str
    shapes: Sequence[Shape]
    attrs: Mapping[str, object] = field(default_factory=dict)
    consts: Mapping[str, Array] = field(default_factory=dict)

    def graph(self) -> Graph:
        """The node alone, its output `y`."""
        inputs = tuple(f"x{index}" for index in range(len(self.shapes)))
        nodes = (Node(self.op, "node", inputs, "y", self.attrs, self.consts),)
        batched = {name: (1, *shape) for name, shape in zip(inputs, self.shapes, strict=True)}
        return Graph("single", inputs, ("y",), nodes, infer_shapes(nodes, batched))


def _conv(
    weight: Shape = (5, 4, 3, 3),
    strides: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    dilations: Pair = (1, 1),
    groups: int = 1,
) -> Case:
    attrs = {"strides": strides, "pads": pads, "dilations": dilations, "groups": groups}
    consts = {"weight": _normal(*weight), "bias": _normal(weight[0])}
    return Case("Conv", [(4, 9, 8)], attrs, consts)


def _maxpool(kernel: Pair = (3, 2), strides: Pair = (2, 1), pads: Pads = (1, 0, 2, 1)) -> Case:
    return Case("MaxPool", [(4, 9, 8)], {"kernel": kernel, "strides": strides, "pads": pads})


def _avgpool(
    count_include_pad: bool,
    kernel: Pair = (3, 2),
    strides: Pair = (2, 1),
    pads: Pads = (1, 0, 2, 1),
) -> Case:
    attrs = {"kernel": kernel, "strides": strides, "pads": pads}
    return Case("AvgPool", [(4, 9, 8)], {**attrs, "count_include_pad": count_include_pad})


AFFINE = {"scale": _normal(4), "shift": _normal(4)}
CASES: dict[str, Case] = {
    "conv": _conv(),
    "conv-1x1": _conv((7, 4, 1, 1)),
    "conv-strided-padded": _conv((6, 4, 3, 2), (2, 3), (1, 0, 2, 1)),
    "conv-dilated": _conv((3, 4, 2, 3), dilations=(3, 2), pads=(1, 2, 0, 1)),
    "conv-groups": _conv((6, 2, 3, 3), groups=2),
    "conv-depthwise": _conv((8, 1, 3, 3), (2, 2), (1, 1, 1, 1), groups=4),
    "convtranspose": Case(
        "ConvTranspose",
        [(4, 5, 3)],
        {
            "strides": (3, 2),
            "pads": (1, 0, 0, 2),
            "dilations": (1, 2),
            "output_padding": (2, 1),
            "groups": 2,
        },
        {"weight": _normal(4, 3, 2, 3), "bias": _normal(6)},
    ),
    "upsample": Case("Upsample", [(2, 3, 4)], {"factors": (3, 2)}),
    "gemm": Case("Gemm", [(7,)], {}, {"weight": _normal(3, 7), "bias": _normal(3)}),
    "scale": Case("Scale", [(4, 3, 2)], {}, AFFINE),
    "scale-vector": Case("Scale", [(4,)], {}, AFFINE),
    "addconst": Case("AddConst", [(4, 3, 2)], {}, {"value": _normal(1, 4, 1, 2)}),
    "relu": Case("Relu", [(4, 3)]),
    "affine-relu": Case("AffineRelu", [(4, 3, 3)], {}, AFFINE),
    "clip": Case("Clip", [(4, 3)], {"min": 0.0, "max": 0.5}),
    "maxpool": _maxpool(),
    "avgpool-exclude": _avgpool(False),
    "avgpool-include": _avgpool(True),
    "avgpool-global": _avgpool(False, (9, 8), (1, 1), (0, 0, 0, 0)),
    "concat": Case("Concat", [(2, 3), (4, 3), (1, 3)], {"axis": 1}),
    "slice": Case("Slice", [(6, 5)], {"starts": (0, 1, 0), "stops": (1, 6, 5), "steps": (1, 2, 3)}),
    "add": Case("Add", [(4, 3), (4, 3)]),
    "sub": Case("Sub", [(4, 3), (4, 3)]),
    "add-spread": Case("Add", [(4, 3, 2), (4, 1, 1)]),
    "sub-spread": Case("Sub", [(4, 3, 2), (1, 3, 2)]),
    "mean-product": Case("MeanProduct", [(4, 3, 2), (4, 3, 2)]),
    "power": Case("Power", [(4, 3)], {"exponent": 2.0}),
    "mul": Case("Mul", [(4, 3), (4, 3)]),
    "mul-channel-gate": Case("Mul", [(4, 3, 2), (4, 1, 1)]),
    "mul-pixel-gate": Case("Mul", [(4, 3, 2), (1, 3, 2)]),
    "reshape": Case("Reshape", [(4, 6)], {"shape": (1, 2, 12)}),
    "transpose": Case("Transpose", [(4, 6, 2)], {"perm": (0, 3, 1, 2)}),
    "linear-map": Case("LinearMap", [(4, 6, 2)], {"axis": 2, "map": AxisMap.of(_normal(5, 6))}),
    "pad": Case("Pad", [(4, 3, 2)], {"pads": ((0, 0), (1, 0), (0, 2), (3, 1))}),
    "activation": Case("Activation", [(4, 3)], {"formula": NAMED["gelu"]}),
    "activation-shared": Case("Activation", [(4,)], {"formula": NAMED["mish"]}),
}


def test_every_op_has_a_case() -> None:
    assert {case.op for case in CASES.values()} == set(OPS)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_op_equals_onnxruntime(name: str, dtype: type) -> None:
    graph = CASES[name].graph()
    verify(graph)
    feeds: dict[str, Array] = {
        v: np.random.default_rng(1).standard_normal((3, *graph.shapes[v][1:])).astype(dtype)
        for v in graph.inputs
    }
    found = run_graph(graph, feeds)["y"]
    (expected,) = run_model(
        to_onnx(graph), {name: array.astype(np.float32) for name, array in feeds.items()}
    )
    assert found.dtype == dtype
    assert found.shape == expected.shape == (3, *graph.shapes["y"][1:])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(geometry=geometries(), room=pairs(0, 8))
def test_random_convolutions(geometry: Geometry, room: Pair) -> None:
    graph = Case(
        "Conv",
        [(geometry.channels, geometry.least_size[0] + room[0], geometry.least_size[1] + room[1])],
        {
            "strides": geometry.strides,
            "pads": geometry.pads,
            "dilations": geometry.dilations,
            "groups": geometry.groups,
        },
        {
            "weight": _normal(geometry.outputs, geometry.depth, *geometry.kernel),
            "bias": _normal(geometry.outputs),
        },
    ).graph()
    feeds = random_feeds(graph, np.random.default_rng(2))
    np.testing.assert_allclose(
        run_graph(graph, feeds)["y"], run_model(to_onnx(graph), feeds)[0], rtol=1e-4, atol=1e-5
    )


def test_to_onnx_returns_any_value_and_is_valid() -> None:
    nodes = (
        Node("Relu", "a", ("x",), "y"),
        Node("Transpose", "b", ("y",), "z", {"perm": (0, 2, 1)}),
    )
    graph = Graph("two", ("x",), ("z",), nodes, infer_shapes(nodes, {"x": (1, 2, 3)}))
    model = to_onnx(graph, ["y", "x", "z"], batch=4)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(3).standard_normal((4, 2, 3)).astype(np.float32)
    y, same, z = run_model(model, x)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(z, y.transpose(0, 2, 1))
    with pytest.raises(ContractViolation, match="no value 'w'"):
        to_onnx(graph, ["w"])


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (Case("Conv", [(3, 9, 8)], CASES["conv"].attrs, CASES["conv"].consts), "does not fit"),
        (Case("Gemm", [(6,)], {}, CASES["gemm"].consts), "does not fit"),
        (Case("Add", [(4, 1), (4, 3)]), "does not broadcast"),
        (Case("MeanProduct", [(4, 3, 2), (4, 1, 2)]), "one shape"),
        (Case("MeanProduct", [(4, 3), (4, 3)]), "height and width"),
        (Case("Mul", [(4, 1), (4, 3)]), "does not broadcast"),
        (Case("Mul", [(4, 3), (3,)]), "does not broadcast"),
        (Case("Transpose", [(4, 3)], {"perm": (1, 0, 2)}), "batch axis"),
        (Case("Reshape", [(4, 3)], {"shape": (12,)}), "keep the batch"),
        (Case("Slice", [(4,)], {"starts": (0, 3), "stops": (1, 3), "steps": (1, 1)}), "empty"),
        (Case("Scale", [(5,)], {}, AFFINE), "scale must be"),
        (_maxpool((2, 2), (1, 1), (2, 0, 0, 0)), "smaller than the kernel"),
        (_conv((2, 4, 11, 3)), "larger than the padded input"),
        (Case("Tanh", [(4,)]), "no operator"),
        (Case("Activation", [(4,)], {"formula": ("x", "mul")}), "'mul' is out of place"),
        (Case("Activation", [(4,)], {"formula": ("x", 2.0)}), "is no formula"),
    ],
)
def test_ill_fitting_nodes_are_named(case: Case, message: str) -> None:
    with pytest.raises(ContractViolation, match=message) as caught:
        case.graph()
    assert "node" in str(caught.value)


def test_verify_finds_broken_graphs() -> None:
    relu = Node("Relu", "a", ("x",), "y")
    shapes = {"x": (1, 3), "y": (1, 3)}
    verify(Graph("good", ("x",), ("y",), (relu,), shapes))
    scale = Node("Scale", "s", ("x",), "y", {}, {"scale": np.full(3, np.nan), "shift": np.zeros(3)})
    broken = {
        "already made": Graph("g", ("x",), ("y",), (relu, relu), shapes),
        "before it is made": Graph("g", ("x",), ("y",), (relu.with_(inputs=("z",)),), shapes),
        "output 'w'": Graph("g", ("x",), ("w",), (relu,), shapes),
        "attributes": Graph("g", ("x",), ("y",), (relu.with_(attrs={"axis": 1}),), shapes),
        "recorded": Graph("g", ("x",), ("y",), (relu,), {**shapes, "y": (1, 4)}),
        "not finite": Graph("g", ("x",), ("y",), (scale,), shapes),
        "output twice": Graph("g", ("x",), ("y", "y"), (relu,), shapes),
        "there is none": Graph(
            "g",
            ("x",),
            ("y",),
            (relu,),
            shapes,
            Expression(results=(Result(name="y", value=1),)),
        ),
    }
    for message, graph in broken.items():
        with pytest.raises(ContractViolation, match=message):
            verify(graph)


def test_same_function_tells_graphs_apart() -> None:
    graph = CASES["conv"].graph()
    other = CASES["conv-1x1"].graph()
    weight = graph.nodes[0].consts["weight"].copy()
    weight[0, 0, 0, 0] += 0.1
    changed = rebuilt(
        graph, [graph.nodes[0].with_(consts={**graph.nodes[0].consts, "weight": weight})]
    )
    assert same_function(graph, graph, np.random.default_rng(0))
    assert not same_function(graph, changed, np.random.default_rng(0))
    assert not same_function(graph, other, np.random.default_rng(0))


def test_run_graph_checks_its_feeds() -> None:
    with pytest.raises(ContractViolation, match="needs shape"):
        run_graph(CASES["relu"].graph(), {"x0": np.zeros((1, 3, 4), np.float32)})
