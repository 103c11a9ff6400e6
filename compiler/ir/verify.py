"""Is this a well-formed Graph?"""

from __future__ import annotations

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import OPS
from moiety.compiler.ir.shapes import infer_shapes
from moiety.protocols.errors import BadArtifact, ContractViolation


def verify(graph: Graph) -> None:
    """Raise ContractViolation unless the Graph is single-assignment, nodes fit their operators
    and shapes agree.
    """
    made = set(graph.inputs)
    if not graph.outputs or len(made) != len(graph.inputs):
        raise ContractViolation(f"Graph {graph.name!r} has no output or names an input twice")
    for node in graph.nodes:
        _check_node(node, made)
        made.add(node.output)
    missing = [value for value in graph.outputs if value not in made]
    if missing:
        raise ContractViolation(f"nothing makes the output {missing[0]!r}")
    _check_shapes(graph)
    if len(set(graph.outputs)) != len(graph.outputs):
        raise ContractViolation(f"Graph {graph.name!r} names an output twice")
    try:
        graph.expression.check([graph.shapes[value][1:] for value in graph.outputs])
    except BadArtifact as error:
        raise ContractViolation(f"Graph {graph.name!r}: {error}") from None


def _check_node(node: Node, made: set[str]) -> None:
    """Its op exists, has these attributes and constants, and reads values of `made` alone."""
    op = OPS.get(node.op)
    if op is None:
        raise ContractViolation(f"{node.name!r}: {node.op!r} is no operator of the Graph")
    where = f"{node.op} {node.name!r} making {node.output!r}"
    if node.output in made:
        raise ContractViolation(f"{where}: that value is already made")
    if set(node.attrs) != set(op.attrs) or set(node.consts) != set(op.consts):
        raise ContractViolation(
            f"{where}: has attributes {sorted(node.attrs)} and constants {sorted(node.consts)}"
        )
    for name, array in node.consts.items():
        if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            raise ContractViolation(
                f"{where}: constant {name!r} is not finite and floating ({array.dtype})"
            )
    early = [value for value in node.inputs if value not in made]
    if early:
        raise ContractViolation(f"{where}: reads {early[0]!r} before it is made")


def _check_shapes(graph: Graph) -> None:
    inferred = infer_shapes(graph.nodes, {value: graph.shapes[value] for value in graph.inputs})
    for value, shape in inferred.items():
        if tuple(graph.shapes.get(value, ())) != shape or shape[:1] != (1,):
            raise ContractViolation(
                f"value {value!r} is recorded as {graph.shapes.get(value)}, inferred as {shape}, "
                "batch 1 first"
            )
