"""upsample-late and expand-upsample: nearest-neighbour upsampling after the work, and as copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.passes.base import Pass, Rewriter
from moiety.compiler.passes.fold_batchnorm import per_channel


@dataclass(frozen=True)
class UpsampleLate(Pass):
    """`f(up(x)) = up(f(x))` for f that acts on every pixel alike: ReLU, Clip, a per-channel
    affine map, a 1x1 Conv with stride 1 and no padding; and `up(x) + up(y) = up(x + y)`. So
    f has fewer pixels to work on.
    """

    name: ClassVar[str] = "upsample-late"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        again = True
        while again:
            again = False
            for node in rewriter.nodes(
                "Relu", "AffineRelu", "Clip", "Scale", "AddConst", "Conv", "Add", "Sub"
            ):
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
        one = node.consts["weight"].shape[2:] == (1, 1)
        return one and set(node.attrs["strides"]) == {1} and not any(node.attrs["pads"])
    return True


@dataclass(frozen=True)
class ExpandUpsample(Pass):
    """Every pixel `s` times in a row: a Reshape with an axis of length 1 behind height and width, a
    Concat of copies along it, a Reshape. All of them are local, and no copy is ever sent.
    """

    name: ClassVar[str] = "expand-upsample"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for node in rewriter.nodes("Upsample"):
            rewriter.replace(node, *_copies(rewriter, node))
        return rewriter.finish()


def _copies(rewriter: Rewriter, node: Node) -> list[Node]:
    batch, channels, height, width = rewriter.shapes[node.inputs[0]]
    nodes: list[Node] = []

    def add(op: str, count: int = 1, output: str | None = None, **fields: Any) -> None:
        value = nodes[-1].output if nodes else node.inputs[0]
        nodes.append(rewriter.make(op, [value] * count, node, output, **fields))

    add("Reshape", shape=(batch, channels, height, 1, width, 1))
    for axis, factor in zip((3, 5), node.attrs["factors"], strict=True):
        if factor > 1:
            add("Concat", factor, axis=axis)
    add("Reshape", 1, node.output, shape=rewriter.shapes[node.output])
    return nodes
