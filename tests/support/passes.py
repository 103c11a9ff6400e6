"""What the tests of passes share: Graphs from a few ONNX nodes, their text, pipelines checked at
every step.
"""

from __future__ import annotations

from collections.abc import Sequence

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.text import format_graph
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.manager import PassManager
from tests.support.onnx_models import Build, build_model

IMAGE: list[int | str] = ["N", 4, 8, 8]


def build(shape: Sequence[int | str], add: Build) -> Graph:
    return import_onnx(build_model(shape, add))


def after(graph: Graph, pipeline: str) -> Graph:
    """The Graph after a pipeline whose every pass is checked, with the tightest tolerance that
    float32 allows.
    """
    return PassManager.parse(pipeline, tolerance=1e-4).run(graph)


def text(graph: Graph) -> str:
    return "\n".join(line.strip() for line in format_graph(graph).strip().splitlines()[1:])


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def golden(graph: Graph, expected: str) -> None:
    assert text(graph) == "\n".join(line.strip() for line in expected.strip().splitlines())
