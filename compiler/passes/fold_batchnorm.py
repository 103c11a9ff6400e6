"""fold-batchnorm: per-channel affine maps into the linear layers beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moiety.compiler.ir.graph import Array, Graph, Node, channelwise
from moiety.compiler.ir.ops import AVERAGING, MIXING, OPS
from moiety.compiler.ir.ops.pooling import counts_padding
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.channels import (
    channel_labels,
    factors_reach_weights,
    label_per_channel,
    pass_on,
)
from moiety.compiler.passes.pointwise import per_channel
from moiety.compiler.passes.rewriter import Rewriter


@register
@dataclass(frozen=True)
class FoldBatchnorm(Pass):
    """`s*(W x + b) + t = (s W) x + (s b + t)`, and before a layer
    `W(s x + t) + b = (W s) x + (W t + b)`.

    Forward needs the linear layer's value to have no other reader, backward every reader of the
    affine value to be a linear layer. Where a Conv pads, its zeros are not `0*s + t`, so `W t`
    depends on the position near the border: it is added as an AddConst with one value per position,
    which costs nothing. An affine map moves past an average pool, a Reshape, a Transpose, a Slice
    or an Upsample when that brings it to such a layer. No decision looks at a weight's value.
    """

    name: ClassVar[str] = "fold-batchnorm"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        _fold_forward(rewriter)
        while any(_sink(rewriter, node) for node in rewriter.nodes("Scale")):
            pass
        _fold_backward(rewriter)
        return rewriter.finish()


def _fold_forward(rewriter: Rewriter) -> None:
    """Affine maps into the layer that makes their operand."""
    for node in rewriter.nodes("Scale", "AddConst"):
        layer = rewriter.producer(node.inputs[0], *MIXING, "ConvTranspose")
        if layer is not None and rewriter.sole_reader(layer.output):
            affine = per_channel(node, layer.consts["bias"].shape[0])
            if affine is not None:
                rewriter.replace(node, _after(layer, *affine).with_(output=node.output))


def _fold_backward(rewriter: Rewriter) -> None:
    """Affine maps into all the layers that read them."""
    for node in rewriter.nodes("Scale"):
        readers = rewriter.readers(node.output)
        if not readers or node.output in rewriter.graph.outputs:
            continue
        if all(reader.op in MIXING for reader in readers):
            for reader in readers:
                rewriter.replace(reader, *_before(rewriter, node, reader))


def _after(layer: Node, scale: Array, shift: Array) -> Node:
    weight = layer.consts["weight"]
    if layer.op == "ConvTranspose":  # (C, M/groups, kh, kw)
        groups = layer.attrs["groups"]
        grouped = weight.reshape(groups, -1, *weight.shape[1:]) * scale.reshape(groups, 1, -1, 1, 1)
        weight = grouped.reshape(weight.shape)
    else:
        weight = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    bias = layer.consts["bias"] * scale + shift
    return layer.with_(
        consts={"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
    )


def _sink(rewriter: Rewriter, scale: Node) -> bool:
    """Swap a Scale with the one op that reads it, if the ops behind that lead to
    linear layers only.
    """
    if not rewriter.sole_reader(scale.output) or not factors_reach_weights(rewriter, scale.output):
        return False
    (reader,) = rewriter.readers(scale.output)
    if reader.op not in AVERAGING or (reader.op == "AvgPool" and counts_padding(reader)):
        return False
    shape = rewriter.shapes[scale.output]
    labels = pass_on(reader, [channel_labels(shape)], [shape])
    channels = None if labels is None else label_per_channel(labels)
    if channels is None:
        return False
    inner = rewriter.make(reader.op, scale.inputs, reader, None, **reader.attrs)
    consts = {name: array[channels] for name, array in scale.consts.items()}
    rewriter.replace(
        reader, inner, rewriter.make("Scale", [inner.output], scale, reader.output, consts)
    )
    return True


def _before(rewriter: Rewriter, scale: Node, layer: Node) -> list[Node]:
    """What stands for `layer`, which reads `scale`, without it."""
    weight, groups = layer.consts["weight"].astype(np.float64), layer.attrs.get("groups", 1)
    gain, shift = _of_filters(scale, groups, weight.shape[0])
    folded = weight * gain.reshape(*gain.shape, *(1,) * (weight.ndim - 2))
    consts = {"weight": folded.astype(np.float32), "bias": layer.consts["bias"]}
    if any(layer.attrs.get("pads", ())):
        inner = rewriter.make("Conv", scale.inputs, layer, None, consts, **layer.attrs)
        border = {"value": _shift_at_border(rewriter, scale, layer).astype(np.float32)}
        return [inner, rewriter.make("AddConst", [inner.output], layer, layer.output, border)]
    total = (weight.reshape(*shift.shape, -1).sum(axis=2) * shift).sum(axis=1)
    consts["bias"] = (layer.consts["bias"] + total).astype(np.float32)
    return [layer.with_(inputs=scale.inputs, consts=consts)]


def _of_filters(scale: Node, groups: int, filters: int) -> tuple[Array, Array]:
    """Factor and shift of the channel that each filter reads, `(M, C/groups)`."""
    gain, shift = (
        np.repeat(scale.consts[name].reshape(groups, -1), filters // groups, axis=0)
        for name in ("scale", "shift")
    )
    return gain, shift.astype(np.float64)


def _shift_at_border(rewriter: Rewriter, scale: Node, layer: Node) -> Array:
    """`W t` at every position, `(1, M, H, W)` float64: less of it where the kernel reads zeros."""
    shape, weight = rewriter.shapes[scale.output], layer.consts["weight"].astype(np.float64)
    shift = channelwise(scale.consts["shift"].astype(np.float64), len(shape))
    unbiased = layer.with_(consts={"weight": weight, "bias": np.zeros(weight.shape[0])})
    return OPS[layer.op].evaluate(unbiased, [np.broadcast_to(shift, shape)])
