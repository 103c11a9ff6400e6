"""absorb-batchnorm: the affine map before a ReLU, where its scale can move into the linear
layers after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from moiety.compiler.ir.graph import Graph
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.channels import factors_reach_weights
from moiety.compiler.passes.rewriter import Rewriter


@register
@dataclass(frozen=True)
class AbsorbBatchnorm(Pass):
    """`relu(g*x + h) = g * [g*(x + h/g) > 0] * (x + h/g)` with g constant per channel: the
    factor g can wait.

    Everything that reads the AffineRelu must pass it on linearly, channel by channel (AvgPool,
    Concat, Pad, Slice, Reshape, Transpose), until it meets a Conv or Gemm, whose weights take it.
    To decide, every element gets its channel's number as a label and the labels take the way the
    values would: a pool must not mix labels, and a Conv must find one label per input channel. The
    AffineRelu keeps g and h apart, so negative, tiny and zero g are as good as any; the division
    happens when the Program is made. The decision does not look at the weights.
    """

    name: ClassVar[str] = "absorb-batchnorm"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for node in rewriter.nodes("Relu"):
            scale = rewriter.producer(node.inputs[0], "Scale")
            if scale is not None and factors_reach_weights(rewriter, node.output):
                rewriter.replace(
                    node, rewriter.make("AffineRelu", scale.inputs, node, node.output, scale.consts)
                )
        return rewriter.finish()
