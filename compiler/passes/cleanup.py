"""common-subexpressions and dead-code."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from moiety.compiler.graph import Graph, Node
from moiety.compiler.passes.base import Pass, Rewriter


@dataclass(frozen=True)
class CommonSubexpressions(Pass):
    """Two nodes with the same op, operands, attributes and constants make the same value; one is enough.

    Constants are compared by content. That two layers on the same operand hold the very same weights happens only
    where the model shares them, which is its architecture, not its training.
    """

    name: ClassVar[str] = "common-subexpressions"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        seen: dict[tuple[object, ...], str] = {}
        for node in rewriter.nodes():
            key = _key(node)
            first = rewriter.producer(seen.get(key, ""))
            if first is None or not rewriter.bypass(node, first.output):
                seen[key] = node.output
        return rewriter.finish()


def _key(node: Node) -> tuple[object, ...]:
    digests = tuple(
        (name, array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest())
        for name, array in sorted(node.consts.items())
    )
    return node.op, node.inputs, tuple(sorted((name, repr(value)) for name, value in node.attrs.items())), digests


@dataclass(frozen=True)
class DeadCode(Pass):
    """A value that no graph output depends on need not be made."""

    name: ClassVar[str] = "dead-code"

    def run(self, graph: Graph) -> Graph:
        rebuilt = graph.rebuilt(graph.nodes)
        return rebuilt if len(rebuilt.nodes) != len(graph.nodes) else graph
