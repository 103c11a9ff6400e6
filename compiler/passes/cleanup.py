"""common-subexpressions and dead-code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.shapes import rebuilt
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.rewriter import Rewriter


@register
@dataclass(frozen=True)
class CommonSubexpressions(Pass):
    """Two nodes with one op, one set of operands, attributes and constants make the same value.

    Constants are the same when they are one array, that is one tensor of the model: sharing is
    architecture. Equal contents are not looked for; what both parties know of the Graph must not
    depend on the weights' values.
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
    attrs = tuple(sorted((name, repr(value)) for name, value in node.attrs.items()))
    return (
        node.op,
        node.inputs,
        attrs,
        tuple(sorted((name, id(array)) for name, array in node.consts.items())),
    )


@register
@dataclass(frozen=True)
class DeadCode(Pass):
    """A value that no graph output depends on need not be made."""

    name: ClassVar[str] = "dead-code"

    def run(self, graph: Graph) -> Graph:
        live = rebuilt(graph, graph.nodes)
        return live if len(live.nodes) != len(graph.nodes) else graph
