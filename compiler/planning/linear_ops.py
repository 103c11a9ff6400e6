"""Linear ops: Conv, Gemm and (depthwise) Scale as one convolution, and those that write results."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from moiety.compiler.ir.graph import Graph, Node, Shape
from moiety.compiler.passes.legalise import output_layers, revealed
from moiety.protocols.arrays import F64, I64
from moiety.protocols.linear.layout import Geometry


class Convolution(NamedTuple):
    """Constants of a linear op as a convolution: weight float64 `(M, C/groups, kh, kw)`, bias
    float64 `(M,)`.
    """

    weight: F64
    bias: F64
    groups: int

    @property
    def input_channels(self) -> I64:
        """The input channel that `weight[m, c]` reads, `(M, C/groups)`."""
        filters, depth = self.weight.shape[:2]
        group = np.arange(filters) // (filters // self.groups)
        return np.asarray(group[:, None] * depth + np.arange(depth)[None, :])

    def of_constants(self, means: F64) -> F64:
        """Result for constant input channels `(C,)`, without the bias and borders left aside:
        `(M,)`.
        """
        taps = self.weight.sum(axis=(2, 3))
        filters, depth = taps.shape
        grouped = taps.reshape(self.groups, -1, depth)
        sums = np.einsum("gmc,gc->gm", grouped, means.reshape(self.groups, depth))
        return np.asarray(sums.reshape(filters))


def as_convolution(node: Node) -> Convolution:
    """The convolution that a linear op is."""
    match node.op:
        case "Conv":
            weight, groups = node.consts["weight"], int(node.attrs["groups"])
        case "Gemm":
            weight, groups = node.consts["weight"][:, :, None, None], 1
        case _:
            weight, groups = node.consts["scale"][:, None, None, None], len(node.consts["scale"])
    bias = node.consts["shift" if node.op == "Scale" else "bias"]
    return Convolution(weight.astype(np.float64), bias.astype(np.float64), groups)


def layer_geometry(graph: Graph, node: Node) -> Geometry:
    """The geometry of the Linear step that a linear op becomes. BadPlan if it is impossible."""
    convolution = as_convolution(node)
    conv = node.op == "Conv"
    return Geometry(
        in_shape=as_image(graph.shapes[node.inputs[0]][1:]),
        out_shape=as_image(graph.shapes[node.output][1:]),
        kernel=(convolution.weight.shape[2], convolution.weight.shape[3]),
        pads=tuple(node.attrs["pads"]) if conv else (0, 0, 0, 0),
        dilations=tuple(node.attrs["dilations"]) if conv else (1, 1),
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
    return [
        layer
        for output in graph.outputs
        for layer in output_layers(graph, revealed(graph, output)) or ()
    ]
