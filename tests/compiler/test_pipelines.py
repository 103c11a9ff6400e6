"""Whole pipelines on whole networks, and the pass manager."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.compiler.ir.evaluate import run_graph, same_function
from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.queries import result_forms
from moiety.compiler.ir.shapes import rebuilt
from moiety.compiler.ir.text import format_graph
from moiety.compiler.ir.verify import verify
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.base import PASSES, Pass
from moiety.compiler.passes.manager import PassManager, dump_to, optimise
from moiety.compiler.passes.normal_form import check_normal_form
from moiety.compiler.passes.pipeline import DEFAULT_PIPELINE, format_pipeline, parse_pipeline
from moiety.models.xrays import HOW_TO_GIVE_DATA, data_folder
from moiety.protocols.errors import BadInput, BadModel, ContractViolation
from tests.support.nets import NETWORKS, random_images, run_onnx
from tests.support.onnx_models import ModelBuilder as B
from tests.support.onnx_models import run_model
from tests.support.passes import after, build, ops

DATA = data_folder() or Path("no-data")

# ---------------------------------------------------------------------------------- whole pipelines


def structure(graph: Graph) -> list[tuple[object, ...]]:
    """All of a Graph but the names and the values of its constants."""
    index = {
        value: position
        for position, value in enumerate((*graph.inputs, *(node.output for node in graph.nodes)))
    }
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
    """Not on the weights (negative, zero, tiny scales), nor on how the exporter
    wrote the batch norms or the head.
    """
    first = structure(optimise(import_onnx(NETWORKS[name](seed=1))))
    for options in (
        {"gammas": "hostile", "seed": 2},
        {"batch_norm": "folded"},
        {"opset": 13},
        {"opset": 21},
    ):
        assert (
            structure(optimise(import_onnx(NETWORKS[name](**options)), check_numerics=False))
            == first
        ), options


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
    """As TensorFlow exporters write it: Transposes around every Conv, biases and
    batch norms over the last axis.
    """

    def add(b: B) -> str:
        y = "x"
        for cin, cout, stride in ((4, 6, 1), (6, 8, 2)):
            y = b.op("Transpose", y, perm=[0, 3, 1, 2])
            y = b.conv(y, cin, cout, 3, auto_pad="SAME_UPPER", strides=[stride, stride])
            y = b.op("Add", b.op("Transpose", y, perm=[0, 2, 3, 1]), b.constant(b.normal(cout)))
            y = b.op(
                "Relu",
                b.op("Add", b.op("Mul", y, b.constant(b.normal(cout))), b.constant(b.normal(cout))),
            )
        return b.gemm(b.op("ReduceMean", y, axes=[1, 2], keepdims=0), 8, 3)

    graph = optimise(build(["N", 8, 8, 4], add), tolerance=1e-4)
    assert [
        op for op in ops(graph) if op in ("Conv", "Scale", "AddConst", "Relu", "AvgPool", "Gemm")
    ] == [
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
        pytest.skip(f"no trained model in both styles: {HOW_TO_GIVE_DATA}")
    graphs = [optimise(import_onnx(path), check_numerics=False) for path in paths]
    assert structure(graphs[0]) == structure(graphs[1])
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    for path, graph in zip(paths, graphs, strict=True):
        (expected,) = run_model(onnx.load_model(path), x)
        np.testing.assert_allclose(run_graph(graph, {"image": x})["logits"], expected, atol=1e-3)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_random_networks(data: st.DataObject) -> None:
    """Any arrangement of the ops keeps its function through the whole
    pipeline and ends in normal form.
    """
    b = B(["N", 4, 8, 8], seed=data.draw(st.integers(0, 99)))
    made: list[tuple[str, tuple[int, int, int]]] = [("x", (4, 8, 8))]
    for _ in range(data.draw(st.integers(1, 9))):
        x, (c, h, w) = data.draw(st.sampled_from(made[-4:]))
        alike = [value for value, shape in made if shape == (c, h, w)]
        match data.draw(
            st.sampled_from(
                [
                    "conv",
                    "conv1",
                    "bn",
                    "relu",
                    "relu",
                    "clip",
                    "max",
                    "avg",
                    "cat",
                    "add",
                    "cut",
                    "turn",
                    "pad",
                ]
            )
        ):
            case "conv" if min(h, w) >= 3:
                stride = data.draw(st.integers(1, 2))
                y = b.conv(
                    x,
                    c,
                    4,
                    3,
                    bias=True,
                    pads=[data.draw(st.integers(0, 1))] * 4,
                    strides=[stride, stride],
                )
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
                y = b.op(
                    "AveragePool",
                    x,
                    kernel_shape=[2, 2],
                    strides=[2, 2],
                    pads=pads,
                    count_include_pad=counted,
                )
            case "cat":
                y = b.op(
                    "Concat",
                    x,
                    data.draw(st.sampled_from(alike)),
                    axis=data.draw(st.integers(1, 3)),
                )
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
        (result,) = result_forms(import_onnx(b.model(y)))
        c, h, w = result.shape
        made.append((y, (c, h, w)))
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
        (
            "densenet121",
            {"Conv": 121, "AffineRelu": 62, "Relu": 59, "Concat": 58, "MaxPool": 1, "AvgPool": 4},
        ),
        (
            "inception_v2",
            {
                "Conv": 69,
                "Relu": 69,
                "Concat": 10,
                "MaxPool": 5,
                "AvgPool": 8,
                "Gemm": 1,
            },
        ),
        (
            "shufflenet",
            {
                "Conv": 49,
                "Relu": 33,
                "Concat": 3,
                "MaxPool": 1,
                "AvgPool": 4,
                "Add": 13,
                "Gemm": 1,
            },
        ),
        (
            "squeezenet",
            {"Conv": 26, "Relu": 26, "Concat": 8, "MaxPool": 3, "AvgPool": 1},
        ),
    ],
)
def test_models_of_another_exporter(name: str, expected: dict[str, int]) -> None:
    """The models that come with the onnx package: opset 9, batch norms as Mul
    and Add of Unsqueezed constants.
    """
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


# ------------------------------------------------------------------------------------- pass manager


def test_pipelines_are_strings() -> None:
    assert format_pipeline(parse_pipeline(DEFAULT_PIPELINE)) == DEFAULT_PIPELINE
    written = "dead-code,relu-after-maxpool{disclose_signs=True},canonicalise"
    assert str(PassManager.parse(written)) == written
    assert parse_pipeline("relu-after-maxpool{disclose_signs=False}") == parse_pipeline(
        "relu-after-maxpool"
    )
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
        assert not each.__doc__.startswith(
            each.__name__ + "("
        )  # what dataclass writes where there is none


@dataclass(frozen=True)
class _Broken(Pass):
    """Not an identity: drops every bias."""

    name: ClassVar[str] = "broken"
    illegal: bool = False

    def run(self, graph: Graph) -> Graph:
        nodes = [
            node.with_(consts={**node.consts, "bias": node.consts["bias"] * 0})
            if "bias" in node.consts
            else node
            for node in graph.nodes
        ]
        if self.illegal:
            return Graph(
                graph.name, graph.inputs, graph.outputs, tuple(reversed(nodes)), graph.shapes
            )
        return rebuilt(graph, nodes)


def test_a_wrong_pass_is_caught_and_the_passes_before_it_named() -> None:
    graph = import_onnx(NETWORKS["resnet"]())
    before = parse_pipeline("canonicalise,fold-batchnorm")
    with pytest.raises(
        ContractViolation,
        match=r"pass broken on .*changes the function.*already run: canonicalise,fold-batchnorm",
    ):
        PassManager((*before, _Broken())).run(graph)
    with pytest.raises(
        ContractViolation, match=r"pass broken\{illegal=True\} on .*before it is made"
    ):
        PassManager((*before, _Broken(illegal=True))).run(graph)
    assert not same_function(
        graph,
        PassManager((*before, _Broken()), check_numerics=False).run(graph),
        np.random.default_rng(0),
    )


def test_dumps(tmp_path: Path) -> None:
    graph = import_onnx(NETWORKS["vgg"]())
    result = optimise(graph, dump_after=dump_to(tmp_path / "dump"))
    files = sorted((tmp_path / "dump").iterdir())
    assert [path.name for path in files[:3]] == [
        "00-import.txt",
        "01-dead-code.txt",
        "02-canonicalise.txt",
    ]
    assert len(files) == len(parse_pipeline(DEFAULT_PIPELINE)) + 1
    assert files[-1].read_text() == format_graph(result)


def test_passes_do_nothing_the_second_time() -> None:
    for build_net in NETWORKS.values():
        graph = optimise(import_onnx(build_net()), check_numerics=False)
        verify(graph)
        assert format_graph(optimise(graph, check_numerics=False)) == format_graph(graph)
