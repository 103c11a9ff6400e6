"""pool-before-conv1x1: average first, so that the convolution has fewer pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from moiety.compiler.ir.graph import Graph
from moiety.compiler.passes.base import Pass, register
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
                if conv is None or not rewriter.sole_reader(conv.output):
                    continue
                plain = (
                    conv.consts["weight"].shape[2:] == (1, 1)
                    and set(conv.attrs["strides"]) == {1}
                    and not any(conv.attrs["pads"])
                )
                smaller = math.prod(rewriter.shapes[pool.output][2:]) < math.prod(
                    rewriter.shapes[conv.output][2:]
                )
                if (
                    not plain
                    or not smaller
                    or (pool.attrs["count_include_pad"] and any(pool.attrs["pads"]))
                ):
                    continue
                first = rewriter.make("AvgPool", conv.inputs, pool, None, **pool.attrs)
                rewriter.replace(
                    pool, first, conv.with_(inputs=(first.output,), output=pool.output)
                )
                again = True
        return rewriter.finish()
