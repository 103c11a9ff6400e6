"""Linear layers of a Graph: their geometry as convolutions, those that write the results, and what
their operands are.
"""

from __future__ import annotations

import math

from moiety.compiler.ir.graph import Graph, Node, Shape
from moiety.compiler.ir.ops import OPS, REINDEXING
from moiety.compiler.ir.queries import output_layers
from moiety.protocols.linear.layout import Geometry


def layer_geometry(graph: Graph, node: Node) -> Geometry:
    """The geometry of the Linear step that a linear op becomes. BadPlan if it is impossible."""
    convolution = OPS[node.op].convolution(node)
    return Geometry(
        in_shape=as_image(graph.shapes[node.inputs[0]][1:]),
        out_shape=as_image(graph.shapes[node.output][1:]),
        kernel=(convolution.weight.shape[2], convolution.weight.shape[3]),
        pads=convolution.pads,
        dilations=convolution.dilations,
        groups=convolution.groups,
    )


def as_image(shape: Shape) -> tuple[int, int, int]:
    """`(C,H,W)` of a shape without batch: a vector `(K,)` is an image of one pixel; of any other
    rank, all axes but the channels are rows.
    """
    if len(shape) == 3:
        return (shape[0], shape[1], shape[2])
    return (shape[0], math.prod(shape[1:]), 1)


def result_layers(graph: Graph) -> list[str]:
    """The linear layers that write the outputs; their unit is public."""
    return [layer for output in graph.outputs for layer in output_layers(graph, output) or ()]


def averaged_bits(graph: Graph, node: Node) -> int:
    """Bits by which the operand of a layer is larger for the average pools below, which are sums:
    log2 of what they divide by, from the architecture alone.
    """
    divisor, below = 1, graph.producer(node.inputs[0])
    while below is not None and below.op in REINDEXING:
        divisor *= OPS[below.op].enlarges(graph, below)
        below = graph.producer(below.inputs[0])
    return math.ceil(math.log2(divisor))
