"""Following the channels of a value through the ops that only move, join or average elements."""

from __future__ import annotations

import numpy as np

from moiety.compiler.ir.graph import Array, Node, Shape, channelwise
from moiety.compiler.ir.ops import OPS
from moiety.compiler.passes.base import Rewriter

LINEAR = ("Conv", "Gemm")
REINDEXING = ("Concat", "Pad", "Slice", "Reshape", "Transpose", "Upsample")
_ANY = -2  # label of padding: zero, so that every factor fits it
_ONE = -1  # label of what comes from elsewhere, whose factor is one


def channel_labels(shape: Shape) -> Array:
    """Every element's channel number (axis 1), int64."""
    return np.broadcast_to(channelwise(np.arange(shape[1]), len(shape)), shape)


def reaches_linear_layers(rewriter: Rewriter, value: str) -> bool:
    """Can a factor per channel (axis 1) of `value` move into weights, on every path from it?"""
    shape = rewriter.shapes[value]
    if len(shape) < 2:
        return False
    labels: dict[str, Array] = {value: channel_labels(shape)}
    for node in rewriter.nodes():
        if not any(operand in labels for operand in node.inputs):
            continue
        if node.op in LINEAR:
            if label_per_channel(labels[node.inputs[0]]) is None:
                return False
            continue
        shapes = [rewriter.shapes[operand] for operand in node.inputs]
        passed = pass_on(node, [labels.get(operand) for operand in node.inputs], shapes)
        if passed is None:
            return False
        labels[node.output] = passed
    return not any(each in rewriter.graph.outputs for each in labels)


def label_per_channel(labels: Array) -> Array | None:
    """The one label of every channel (_ANY aside), or None where a channel has two."""
    flat = labels.reshape(*labels.shape[:2], -1)[0]
    highest = flat.max(axis=1)
    return highest if bool(np.all((flat == highest[:, None]) | (flat == _ANY))) else None


def pass_on(node: Node, labels: list[Array | None], shapes: list[Shape]) -> Array | None:
    """Labels of what `node` makes from labelled operands (None: from
    elsewhere); None where they would mix.
    """
    if node.op == "AvgPool":
        channels = None if labels[0] is None else label_per_channel(labels[0])
        if channels is None:
            return None
        height, width = OPS["AvgPool"].infer(node, shapes)[2:]
        return np.broadcast_to(channels[None, :, None, None], (1, len(channels), height, width))
    if node.op not in REINDEXING:
        return None
    filled = [
        np.full(shape, _ONE) if label is None else label
        for label, shape in zip(labels, shapes, strict=True)
    ]
    if node.op == "Pad":
        return np.pad(filled[0], node.attrs["pads"], constant_values=_ANY)
    return np.asarray(OPS[node.op].evaluate(node, filled))
