"""Following the channels of a value through the ops that only move, join or average elements.

Every element gets its channel's number as a label, and the labels go where the values would go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from moiety.compiler.ir.graph import Node, Shape, channelwise
from moiety.compiler.ir.ops import MIXING, MOVEMENT, OPS
from moiety.compiler.passes.rewriter import Rewriter
from moiety.protocols.arrays import I64

_ANY = -2  # label of padding: zero, so that every factor fits it
_ONE = -1  # label of what comes from elsewhere, whose factor is one


def channel_labels(shape: Shape) -> I64:
    """Every element's channel number (axis 1), of `shape`."""
    return np.broadcast_to(channelwise(np.arange(shape[1]), len(shape)), shape)


def factors_reach_weights(rewriter: Rewriter, value: str) -> bool:
    """Can a factor per channel (axis 1) of `value` move into weights, on every path from it?"""
    if len(rewriter.shapes[value]) < 2:
        return False
    labels = {value: channel_labels(rewriter.shapes[value])}
    for node in rewriter.nodes():
        if labels.keys().isdisjoint(node.inputs):
            continue
        if node.op in MIXING:
            if label_per_channel(labels[node.inputs[0]]) is None:
                return False
        else:
            passed = _labels_after(rewriter, node, labels)
            if passed is None:
                return False
            labels[node.output] = passed
    return labels.keys().isdisjoint(rewriter.graph.outputs)


def label_per_channel(labels: I64) -> I64 | None:
    """The one label of every channel (padding aside), or None where a channel has two."""
    flat = labels.reshape(*labels.shape[:2], -1)[0]
    highest = flat.max(axis=1)
    alike = (flat == highest[:, None]) | (flat == _ANY)
    return np.asarray(highest) if alike.all() else None


def _labels_after(rewriter: Rewriter, node: Node, labels: Mapping[str, I64]) -> I64 | None:
    shapes = [rewriter.shapes[operand] for operand in node.inputs]
    return pass_on(node, [labels.get(operand) for operand in node.inputs], shapes)


def pass_on(node: Node, labels: Sequence[I64 | None], shapes: Sequence[Shape]) -> I64 | None:
    """Labels of what `node` makes from labelled operands (None: from elsewhere); None where
    they would mix.
    """
    filled = [
        np.full(shape, _ONE) if label is None else label
        for label, shape in zip(labels, shapes, strict=True)
    ]
    if node.op in ("AvgPool", "LinearMap"):
        return _averaged(node, filled[0], shapes)
    if node.op == "Pad":
        return np.pad(filled[0], node.attrs["pads"], constant_values=_ANY)
    return np.asarray(OPS[node.op].evaluate(node, filled)) if node.op in MOVEMENT else None


def _averaged(node: Node, labels: I64, shapes: Sequence[Shape]) -> I64 | None:
    """A window must not mix labels; wherever it is, it keeps its channel's."""
    channels = label_per_channel(labels)
    if channels is None:
        return None
    shape = OPS[node.op].infer(node, shapes)
    return np.broadcast_to(channelwise(channels, len(shape)), shape)
