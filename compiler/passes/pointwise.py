"""Nodes that act on every pixel alike, where that depends on their constants and attributes."""

from __future__ import annotations

import numpy as np

from moiety.compiler.ir.graph import Node
from moiety.protocols.arrays import F64


def per_channel(node: Node, channels: int) -> tuple[F64, F64] | None:
    """Scale and shift, float64 `(channels,)`, of a Scale or a per-channel AddConst; else None."""
    if node.op == "Scale":
        return node.consts["scale"].astype(np.float64), node.consts["shift"].astype(np.float64)
    value = node.consts["value"]
    if any(size > 1 for axis, size in enumerate(value.shape) if axis != 1):
        return None
    return np.ones(channels), np.broadcast_to(value.reshape(-1), (channels,)).astype(np.float64)


def pointwise_conv(conv: Node) -> bool:
    """A 1x1 Conv with stride 1 and no padding: it acts on every pixel alike."""
    one = conv.consts["weight"].shape[2:] == (1, 1)
    return one and set(conv.attrs["strides"]) == {1} and not any(conv.attrs["pads"])
