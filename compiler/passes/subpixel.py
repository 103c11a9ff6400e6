"""Convolutions that enlarge the image, as stride-1 convolutions of the small one: one filter
per output phase.

`y[s*q + a] = sum_k w[k] x[q + u(a, k)]` for phases `a < s`: a stride-1 Conv with `s` times as many
filters per axis, then depth to space (Reshape, Transpose, Reshape, all local). Nothing is
multiplied by an inserted zero or computed on a copied pixel, and only the small image is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moiety.compiler.ir.graph import Array, Graph, Node
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.rewriter import Chain, Rewriter

Offset = Callable[[int, int], int | None]
"""u(a, k) of an axis: how far from pixel q phase a's tap k reads; None where it reads nothing."""


@register
@dataclass(frozen=True)
class TransposedConv(Pass):
    """ConvTranspose: `y[o] = sum over j, k with s*j + d*k = o + p of w[k] x[j]`, so `u(a, k) = (a +
    p - d*k) / s` where s divides it, and no tap elsewhere.
    """

    name: ClassVar[str] = "transposed-conv"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for node in rewriter.nodes("ConvTranspose"):
            attrs, weight = node.attrs, node.consts["weight"]
            channels, depth, kh, kw = weight.shape
            groups = attrs["groups"]
            grouped = weight.reshape(groups, channels // groups, depth, kh, kw).transpose(
                0, 2, 1, 3, 4
            )
            offsets = [
                _transposed(attrs["strides"][i], attrs["dilations"][i], attrs["pads"][i])
                for i in range(2)
            ]
            plain = grouped.reshape(groups * depth, channels // groups, kh, kw)
            _subpixel(rewriter, node, node.inputs[0], plain, attrs["strides"], offsets)
        return rewriter.finish()


@register
@dataclass(frozen=True)
class UpsampleIntoConv(Pass):
    """A stride-1 Conv of an Upsample reads pixel `floor((o + d*k - p) / s)` of the small image, so
    `u(a, k) = floor((a + d*k - p) / s)`; taps that meet on one pixel are added. Zeros around the
    large image are zeros around the small one.
    """

    name: ClassVar[str] = "upsample-into-conv"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for node in rewriter.nodes("Conv"):
            source, attrs = rewriter.producer(node.inputs[0], "Upsample"), node.attrs
            if source is None or set(attrs["strides"]) != {1}:
                continue
            factors = source.attrs["factors"]
            offsets = [
                _upsampled(factors[i], attrs["dilations"][i], attrs["pads"][i]) for i in range(2)
            ]
            weight = node.consts["weight"]
            _subpixel(rewriter, node, source.inputs[0], weight, factors, offsets)
        return rewriter.finish()


def _transposed(stride: int, dilation: int, pad: int) -> Offset:
    def offset(phase: int, tap: int) -> int | None:
        quotient, rest = divmod(phase + pad - dilation * tap, stride)
        return None if rest else quotient

    return offset


def _upsampled(factor: int, dilation: int, pad: int) -> Offset:
    return lambda phase, tap: (phase + dilation * tap - pad) // factor


@dataclass(frozen=True)
class _Axis:
    taps: int  # of the stride-1 Conv
    pixels: int  # of its result
    before: int  # zeros in front
    after: int  # zeros behind
    places: tuple[tuple[int, int, int], ...]  # (phase, tap of the old kernel, tap of the new one)


def _plan(size: int, outputs: int, kernel: int, factor: int, offset: Offset) -> _Axis:
    read = [(phase, tap, offset(phase, tap)) for phase in range(factor) for tap in range(kernel)]
    used = [(phase, tap, u) for phase, tap, u in read if u is not None]
    pixels = -(-outputs // factor)
    # Where the pads cut off more than the kernel's reach, taps of zero stand for pixels that
    # nothing reads.
    low, high = min(0, *(u for *_, u in used)), max(size - pixels, *(u for *_, u in used))
    places = tuple((phase, tap, u - low) for phase, tap, u in used)
    return _Axis(high - low + 1, pixels, -low, pixels + high - size, places)


def _subpixel(
    rewriter: Rewriter,
    node: Node,
    source: str,
    weight: Array,
    factors: Sequence[int],
    offsets: Sequence[Offset],
) -> None:
    """Replace `node`, a Conv or ConvTranspose whose taps `weight` `(M, C/groups, kh, kw)` read
    `source` at `offsets`.
    """
    chain, result = Chain(rewriter, node, source), rewriter.shapes[node.output]
    rows, columns = (
        _plan(chain.shape[2 + i], result[2 + i], weight.shape[2 + i], factors[i], offsets[i])
        for i in range(2)
    )
    consts = {
        "weight": _spread(weight, rows, columns, factors),
        "bias": np.repeat(node.consts["bias"], math.prod(factors)),
    }
    pads = (rows.before, columns.before, rows.after, columns.after)
    groups = node.attrs["groups"]
    chain.add("Conv", consts, strides=(1, 1), pads=pads, dilations=(1, 1), groups=groups)
    _depth_to_space(chain, weight.shape[0], factors)
    if chain.shape != result:
        chain.add("Slice", starts=(0, 0, 0, 0), stops=result, steps=(1, 1, 1, 1))
    chain.put_in_place()


def _depth_to_space(chain: Chain, filters: int, factors: Sequence[int]) -> None:
    """Phases, the faster index of the channels, become pixels."""
    height, width = chain.shape[2:]
    chain.add("Reshape", shape=(1, filters, *factors, height, width))
    chain.add("Transpose", perm=(0, 1, 4, 2, 5, 3))
    chain.add("Reshape", shape=(1, filters, height * factors[0], width * factors[1]))


def _spread(weight: Array, rows: _Axis, columns: _Axis, factors: Sequence[int]) -> Array:
    """`(M, C/g, kh, kw) -> (M * phases, C/g, taps, taps)`; phases are the faster index."""
    filters, depth = weight.shape[:2]
    spread = np.zeros((filters, *factors, depth, rows.taps, columns.taps), weight.dtype)
    for a, y, i in rows.places:
        for b, x, j in columns.places:
            spread[:, a, b, :, i, j] += weight[:, :, y, x]
    return spread.reshape(filters * math.prod(factors), depth, rows.taps, columns.taps)
