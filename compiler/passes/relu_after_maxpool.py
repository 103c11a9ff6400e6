"""relu-after-maxpool: pool first, so that fewer elements are compared with zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from moiety.compiler.ir.graph import Graph
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.rewriter import Rewriter


@register
@dataclass(frozen=True)
class ReluAfterMaxpool(Pass):
    """`max_i f(x_i) = f(max_i x_i)` for non-decreasing f: ReLU, Clip, and a per-channel affine map
    of non-negative scale.

    Padding is minus infinity on either side and every window holds an element of the image, so it
    never decides. Applies where the pool is the only reader. The affine case depends on the signs
    of the weights, so whether the rewrite happened would tell both parties that none is negative:
    it is only done with `disclose_signs`. (A batch norm right after a Conv is folded before this
    pass, whatever its signs, and needs no such thing.)
    """

    name: ClassVar[str] = "relu-after-maxpool"
    disclose_signs: bool = False

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        again = True
        while again:
            again = False
            for node in rewriter.nodes("MaxPool"):
                first = rewriter.producer(node.inputs[0], "Relu", "Clip", "Scale", "AffineRelu")
                if first is None or not rewriter.sole_reader(first.output):
                    continue
                if "scale" in first.consts and not (
                    self.disclose_signs and first.consts["scale"].min() >= 0
                ):
                    continue
                pool = rewriter.make("MaxPool", first.inputs, node, None, **node.attrs)
                rewriter.replace(node, pool, first.with_(inputs=(pool.output,), output=node.output))
                again = True
        return rewriter.finish()
