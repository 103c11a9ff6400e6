"""clip-to-relu: ReLU6 and its like as two ReLUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moiety.compiler.ir.graph import Graph
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.rewriter import Rewriter


@register
@dataclass(frozen=True)
class ClipToRelu(Pass):
    """`min(max(x, 0), m) = relu(x) - relu(x - m)`; `x - m` is an AddConst, a local operation."""

    name: ClassVar[str] = "clip-to-relu"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for node in rewriter.nodes("Clip"):
            if node.attrs["min"] != 0 or not node.attrs["max"] > 0:
                continue  # the normal form check names it
            shape = (1,) * len(rewriter.shapes[node.output])
            lowered = np.full(shape, -node.attrs["max"], np.float32)
            below = rewriter.make("Relu", node.inputs, node)
            moved = rewriter.make("AddConst", node.inputs, node, None, {"value": lowered})
            above = rewriter.make("Relu", [moved.output], node)
            rewriter.replace(
                node,
                below,
                moved,
                above,
                rewriter.make("Sub", [below.output, above.output], node, node.output),
            )
        return rewriter.finish()
