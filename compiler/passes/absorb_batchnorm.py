"""absorb-batchnorm: the affine map before a ReLU, where its scale can move into the linear layers after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from moiety.compiler.graph import Array, Graph, Node, Shape
from moiety.compiler.ops import OPS, channelwise
from moiety.compiler.passes.base import Pass, Rewriter

REINDEXING = ("Concat", "Pad", "Slice", "Reshape", "Transpose")
_ANY = -2  # label of padding: zero, so that every factor fits it
_ONE = -1  # label of what comes from elsewhere, whose factor is one


@dataclass(frozen=True)
class AbsorbBatchnorm(Pass):
    """`relu(g*x + h) = g * [g*(x + h/g) > 0] * (x + h/g)` with g constant per channel: the factor g can wait.

    Everything that reads the AffineRelu must pass it on linearly, channel by channel (AvgPool, Concat, Pad, Slice,
    Reshape, Transpose), until it meets a Conv or Gemm, whose weights take it. To decide, every element gets its
    channel's number as a label and the labels take the way the values would: a pool must not mix labels, and a Conv
    must find one label per input channel. The AffineRelu keeps g and h apart, so negative, tiny and zero g are as
    good as any; the division happens when the Program is made. The decision does not look at the weights.
    """

    name: ClassVar[str] = "absorb-batchnorm"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for node in rewriter.nodes("Relu"):
            scale = rewriter.producer(node.inputs[0], "Scale")
            if scale is not None and reaches_linear_layers(rewriter, node.output):
                rewriter.replace(node, rewriter.make("AffineRelu", scale.inputs, node, node.output, scale.consts))
        return rewriter.finish()


def reaches_linear_layers(rewriter: Rewriter, value: str) -> bool:
    """Can a factor per channel (axis 1) of `value` move into weights, on every path from it?"""
    shape = rewriter.shapes[value]
    if len(shape) < 2:
        return False
    labels: dict[str, Array] = {value: np.broadcast_to(channelwise(np.arange(shape[1]), len(shape)), shape)}
    for node in rewriter.nodes():
        if not any(operand in labels for operand in node.inputs):
            continue
        if node.op in ("Conv", "Gemm"):
            if _per_channel(labels[node.inputs[0]]) is None:
                return False
            continue
        shapes = [rewriter.shapes[operand] for operand in node.inputs]
        passed = _pass_on(node, [labels.get(operand) for operand in node.inputs], shapes)
        if passed is None:
            return False
        labels[node.output] = passed
    return not any(each in rewriter.graph.outputs for each in labels)


def _per_channel(labels: Array) -> Array | None:
    """The one label of every channel (_ANY aside), or None where a channel has two."""
    flat = labels.reshape(*labels.shape[:2], -1)[0]
    highest = flat.max(axis=1)
    return highest if bool(np.all((flat == highest[:, None]) | (flat == _ANY))) else None


def _pass_on(node: Node, labels: list[Array | None], shapes: list[Shape]) -> Array | None:
    if node.op == "AvgPool":
        assert labels[0] is not None
        channels = _per_channel(labels[0])
        if channels is None:
            return None
        height, width = OPS["AvgPool"].infer(node, shapes)[2:]
        return np.broadcast_to(channels[None, :, None, None], (1, len(channels), height, width))
    if node.op not in REINDEXING:
        return None
    filled = [np.full(shape, _ONE) if label is None else label for label, shape in zip(labels, shapes, strict=True)]
    if node.op == "Pad":
        return np.pad(filled[0], node.attrs["pads"], constant_values=_ANY)
    return np.asarray(OPS[node.op].evaluate(node, filled))
