"""upsample-late and expand-upsample: nearest-neighbour upsampling after the work, and as copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import ELEMENTWISE
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.pointwise import per_channel, pointwise_conv
from moiety.compiler.passes.rewriter import Chain, Rewriter


@register
@dataclass(frozen=True)
class UpsampleLate(Pass):
    """`f(up(x)) = up(f(x))` for f that acts on every pixel alike: ReLU, Clip, a per-channel affine
    map, a 1x1 Conv with stride 1 and no padding; and `up(x) + up(y) = up(x + y)`. So f has fewer
    pixels to work on.
    """

    name: ClassVar[str] = "upsample-late"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        again = True
        while again:
            again = False
            for node in rewriter.nodes("Conv", *ELEMENTWISE):
                ups = [rewriter.producer(value, "Upsample") for value in node.inputs]
                sources = [up.inputs[0] for up in ups if up is not None]
                factors = {tuple(up.attrs["factors"]) for up in ups if up is not None}
                if len(sources) < len(ups) or len(factors) > 1 or not _pointwise(rewriter, node):
                    continue
                small = rewriter.make(node.op, sources, node, None, node.consts, **node.attrs)
                (factor,) = factors
                large = rewriter.make("Upsample", [small.output], node, node.output, factors=factor)
                rewriter.replace(node, small, large)
                again = True
        return rewriter.finish()


def _pointwise(rewriter: Rewriter, node: Node) -> bool:
    if node.op == "AddConst":
        return per_channel(node, rewriter.shapes[node.output][1]) is not None
    if node.op == "Conv":
        return pointwise_conv(node)
    return True


@register
@dataclass(frozen=True)
class ExpandUpsample(Pass):
    """Every pixel `s` times in a row: a Reshape with an axis of length 1 behind height and width, a
    Concat of copies along it, a Reshape. All of them are local, and no copy is ever sent.
    """

    name: ClassVar[str] = "expand-upsample"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for node in rewriter.nodes("Upsample"):
            chain = Chain(rewriter, node, node.inputs[0])
            batch, channels, height, width = chain.shape
            chain.add("Reshape", shape=(batch, channels, height, 1, width, 1))
            for axis, factor in zip((3, 5), node.attrs["factors"], strict=True):
                if factor > 1:
                    chain.add("Concat", copies=factor, axis=axis)
            chain.add("Reshape", shape=rewriter.shapes[node.output])
            chain.put_in_place()
        return rewriter.finish()
