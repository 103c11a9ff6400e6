"""Scale fields through a whole Graph: every op's own rule (`ir/ops`), in order."""

from __future__ import annotations

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.ops import OPS
from moiety.compiler.ir.scale_fields import ScaleMap


def propagate(graph: Graph) -> ScaleMap:
    """The scale field of every value. BadModel where one channel would need several
    scales at once.
    """
    scales = ScaleMap(graph)
    for value in graph.inputs:
        scales.fields[value] = scales.begin(value, 1)  # one for all channels
    for node in graph.nodes:
        scales.fields[node.output] = OPS[node.op].scale_rule(scales, node)
    return scales
