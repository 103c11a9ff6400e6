"""The float meaning of Graphs, and whether two Graphs compute the same function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from moiety.compiler.ir.graph import Array, Graph
from moiety.compiler.ir.ops import OPS
from moiety.compiler.ir.queries import result_forms
from moiety.protocols.errors import ContractViolation


@cache
def _libraries() -> ThreadpoolController:
    """Looking through what a process has loaded takes longer than running a small Graph; NumPy's
    BLAS is there since NumPy is.
    """
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """BLAS threads that wait for a busy core cost more than they bring (measured: 7x)."""
    return _libraries().limit(limits=1, user_api="blas")


def run_graph(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of the Graph by name, inputs included.

    `feeds` are `(N, ...)` float32 or float64 arrays of any batch size N; everything is computed in
    their dtype. ContractViolation where a feed is missing or has another shape.
    """
    values: dict[str, Array] = {}
    for name in graph.inputs:
        if name not in feeds or feeds[name].shape[1:] != graph.shapes[name][1:]:
            found = feeds[name].shape if name in feeds else "nothing"
            wanted = ", ".join(map(str, graph.shapes[name][1:]))
            raise ContractViolation(f"input {name!r} needs shape (N, {wanted}), got {found}")
        values[name] = feeds[name]
    for node in graph.nodes:
        operands = [values[value] for value in node.inputs]
        values[node.output] = np.asarray(OPS[node.op].evaluate(node, operands))
    return values


def evaluate(graph: Graph, feeds: Mapping[str, Array]) -> list[Array]:
    """The Graph's outputs, in order."""
    with one_thread():
        values = run_graph(graph, feeds)
    return [values[value] for value in graph.outputs]


def results(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The model's outputs by name, `(N, ...)`: what the client computes from the Graph's outputs,
    image by image.
    """
    outputs = [output.astype(np.float64) for output in evaluate(graph, feeds)]
    images = [graph.expression.evaluate(image) for image in zip(*outputs, strict=True)]
    names = [form.name for form in result_forms(graph)]
    return dict(zip(names, map(np.stack, zip(*images, strict=True)), strict=True))


def random_feeds(graph: Graph, rng: np.random.Generator) -> dict[str, Array]:
    """Standard normal float32 inputs, batch 1."""
    return {
        value: rng.standard_normal(graph.shapes[value]).astype(np.float32) for value in graph.inputs
    }


def worst_difference(expected: Sequence[Array], found: Sequence[Array]) -> float:
    """Largest difference over all outputs, each in units of its largest magnitude; infinite
    where not finite.
    """
    if [a.shape for a in expected] != [b.shape for b in found]:
        return float("inf")
    worst = 0.0
    for a, b in zip(expected, found, strict=True):
        difference = float(np.max(np.abs(a.astype(np.float64) - b), initial=0.0))
        if not np.isfinite(difference):
            return float("inf")
        size = float(np.max(np.abs(a), initial=0.0))
        worst = max(worst, difference / max(size, 1e-6))
    return worst


def precise_difference(before: Graph, after: Graph, feeds: Mapping[str, Array]) -> float:
    """`worst_difference` of two Graphs in float64: what is left when float32's noise is not."""
    wide = {value: array.astype(np.float64) for value, array in feeds.items()}
    return worst_difference(evaluate(before, wide), evaluate(after, wide))


def same_function(
    before: Graph, after: Graph, rng: np.random.Generator, tolerance: float = 1e-3
) -> bool:
    """Same outputs on a random float32 input, within `tolerance` of each output's
    largest magnitude?
    """
    feeds = random_feeds(before, rng)
    return worst_difference(evaluate(before, feeds), evaluate(after, feeds)) <= tolerance
