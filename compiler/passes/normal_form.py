"""The normal form that the default pipeline ends in, and that the planner takes."""

from __future__ import annotations

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.ops import OPS
from moiety.protocols.errors import BadModel


def check_normal_form(graph: Graph) -> None:
    """Raise BadModel unless the passes have left nothing undone: every Conv has stride 1, and no op
    is left that a pass rewrites (Clip, ConvTranspose, Upsample).
    """
    for node in graph.nodes:
        problem = OPS[node.op].left_undone(node)
        if problem is not None:
            raise BadModel(f"{node.op} {node.name!r} {problem}")
