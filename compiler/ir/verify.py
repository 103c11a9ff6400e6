"""Is this a well-formed Graph, and do two Graphs compute the same function?"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from moiety.compiler.ir.graph import Array, Graph
from moiety.compiler.ir.ops import OPS, infer_shapes, run_graph
from moiety.protocols.errors import ContractViolation


def verify(graph: Graph) -> None:
    """Raise ContractViolation unless the Graph is single-assignment, nodes fit
    their operators and shapes agree.
    """
    made = set(graph.inputs)
    if not graph.outputs or len(made) != len(graph.inputs):
        raise ContractViolation(f"Graph {graph.name!r} has no output or names an input twice")
    for node in graph.nodes:
        definition = OPS.get(node.op)
        if definition is None:
            raise ContractViolation(f"{node.name!r}: {node.op!r} is no operator of the Graph")
        where = f"{node.op} {node.name!r} making {node.output!r}"
        if node.output in made:
            raise ContractViolation(f"{where}: that value is already made")
        if set(node.attrs) != set(definition.attrs) or set(node.consts) != set(definition.consts):
            raise ContractViolation(
                f"{where}: has attributes {sorted(node.attrs)} and constants {sorted(node.consts)}"
            )
        for name, array in node.consts.items():
            if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
                raise ContractViolation(
                    f"{where}: constant {name!r} is not finite and floating ({array.dtype})"
                )
        if any(value not in made for value in node.inputs):
            raise ContractViolation(
                f"{where}: reads {next(value for value in node.inputs if value not in made)!r} before it is made"
            )
        made.add(node.output)
    missing = [value for value in graph.outputs if value not in made]
    if missing:
        raise ContractViolation(f"nothing makes the output {missing[0]!r}")
    inferred = infer_shapes(graph.nodes, {value: graph.shapes[value] for value in graph.inputs})
    for value, shape in inferred.items():
        if tuple(graph.shapes.get(value, ())) != shape or shape[:1] != (1,):
            raise ContractViolation(
                f"value {value!r} is recorded as {graph.shapes.get(value)}, inferred as {shape}, batch 1 first"
            )
    for node in graph.nodes:
        if node.op in ("Sigmoid", "Softmax") and graph.consumers(node.output):
            raise ContractViolation(
                f"{node.op} {node.name!r} is read by {graph.consumers(node.output)[0].name!r}: it must be last"
            )


def evaluate(graph: Graph, feeds: dict[str, Array]) -> list[Array]:
    """The Graph's outputs, in order, by its float meaning (`ops.run_graph`)."""
    with threadpool_limits(
        1, "blas"
    ):  # BLAS threads that wait for a busy core cost more than they bring (measured: 7x)
        values = run_graph(graph, feeds)
    return [values[value] for value in graph.outputs]


def random_feeds(graph: Graph, rng: np.random.Generator) -> dict[str, Array]:
    """Standard normal float32 inputs, batch 1."""
    return {
        value: rng.standard_normal(graph.shapes[value]).astype(np.float32) for value in graph.inputs
    }


def worst_difference(expected: list[Array], found: list[Array]) -> float:
    """Largest difference over all outputs, each in units of its largest
    magnitude; infinite where not finite.
    """
    if [a.shape for a in expected] != [b.shape for b in found]:
        return float("inf")
    worst = 0.0
    for a, b in zip(expected, found, strict=True):
        difference = float(np.max(np.abs(a.astype(np.float64) - b), initial=0.0))
        size = float(np.max(np.abs(a), initial=0.0))
        worst = (
            max(worst, difference / max(size, 1e-6)) if np.isfinite(difference) else float("inf")
        )
    return worst


def precise_difference(before: Graph, after: Graph, feeds: dict[str, Array]) -> float:
    """`worst_difference` of two Graphs in float64: what is left when float32's noise is not."""
    wide = {value: array.astype(np.float64) for value, array in feeds.items()}
    return worst_difference(evaluate(before, wide), evaluate(after, wide))


def same_function(
    before: Graph, after: Graph, rng: np.random.Generator, tolerance: float = 1e-3
) -> bool:
    """Same outputs on a random float32 input, within `tolerance` of
    each output's largest magnitude?
    """
    feeds = random_feeds(before, rng)
    return worst_difference(evaluate(before, feeds), evaluate(after, feeds)) <= tolerance
