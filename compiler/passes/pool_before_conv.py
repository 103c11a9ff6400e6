"""pool-before-conv1x1: average first, so that the convolution has fewer pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops.pooling import counts_padding
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.pointwise import pointwise_conv
from moiety.compiler.passes.rewriter import Rewriter


@register
@dataclass(frozen=True)
class PoolBeforeConv1x1(Pass):
    """`avg(W x + b) = W avg(x) + b` for a 1x1 Conv with stride 1 and no padding: one acts on
    channels, the other on positions.

    The bias needs every window's weights to sum to one, so a pool that counts its padding stays
    behind. Applies where the pool is the Conv's only reader and makes the image smaller; Reshapes
    and the like between them are not looked through.
    """

    name: ClassVar[str] = "pool-before-conv1x1"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        again = True
        while again:
            again = False
            for pool in rewriter.nodes("AvgPool"):
                conv = rewriter.producer(pool.inputs[0], "Conv")
                if conv is None or not _swaps(rewriter, conv, pool):
                    continue
                first = rewriter.make("AvgPool", conv.inputs, pool, None, **pool.attrs)
                second = conv.with_(inputs=(first.output,), output=pool.output)
                rewriter.replace(pool, first, second)
                again = True
        return rewriter.finish()


def _swaps(rewriter: Rewriter, conv: Node, pool: Node) -> bool:
    """May `pool` stand before `conv`, which it reads, and does that pay?"""
    before, after = (math.prod(rewriter.shapes[each.output][2:]) for each in (conv, pool))
    return (
        rewriter.sole_reader(conv.output)
        and pointwise_conv(conv)
        and not counts_padding(pool)
        and after < before
    )
