"""fuse-activations: constants before and after an activation become part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from moiety.compiler.ir.formulas import MAX_TOKENS, Formula, compose
from moiety.compiler.ir.formulas_of_nodes import own_formula
from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.rewriter import Rewriter


@register
@dataclass(frozen=True)
class FuseActivations(Pass):
    """`g(f(x)) = (g . f)(x)` for an Activation and what is applied to each element alike, right
    before it or after it, and read by nobody else: another Activation, a Scale or AddConst by one
    number, a Relu, a Clip.
    """

    name: ClassVar[str] = "fuse-activations"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for node in rewriter.nodes():
            made: Node | None = node
            while made is not None:
                made = _fused_with_operand(rewriter, made)
        return rewriter.finish()


def _fused_with_operand(rewriter: Rewriter, node: Node) -> Node | None:
    """What stands for `node` and its operand's producer; None where they stay."""
    if len(node.inputs) != 1 or not rewriter.sole_reader(node.inputs[0]):
        return None
    before = rewriter.producer(node.inputs[0])
    formula = None if before is None else _fused(before, node)
    if before is None or formula is None:
        return None
    made = rewriter.make("Activation", before.inputs, node, node.output, formula=formula)
    rewriter.replace(node, made)
    return made


def _fused(before: Node, after: Node) -> Formula | None:
    if "Activation" not in (before.op, after.op):
        return None
    inner, outer = own_formula(before), own_formula(after)
    if inner is None or outer is None:
        return None
    fused = compose(outer, inner)
    return fused if len(fused) <= MAX_TOKENS else None
