"""strided-conv: every Conv with stride 1, after a reindexing of its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moiety.compiler.ir.graph import Array, Graph, Node
from moiety.compiler.passes.base import Pass, register
from moiety.compiler.passes.rewriter import Chain, Rewriter


@register
@dataclass(frozen=True)
class StridedConv(Pass):
    """`y[p] = sum_k w[k] x[s*p + k*d]`: with `k*d = s*i + a`, the sum over i of a stride-1 Conv
    over the s phases `x_a[j] = x[s*j + a]`.

    The phases become channels (space-to-depth: Pad, Reshape, Transpose, Reshape, all local), the
    weights are spread out over them, with zeros where the kernel (dilated) does not reach. An axis
    where only phase 0 is read, a kernel of one tap or a dilation that the stride divides, is
    subsampled by a Slice instead. Phases beyond a kernel smaller than the stride are sliced off.
    Groups stay together.
    """

    name: ClassVar[str] = "strided-conv"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for node in rewriter.nodes("Conv"):
            if set(node.attrs["strides"]) != {1}:
                _rewrite(rewriter, node)
        return rewriter.finish()


@dataclass(frozen=True)
class _Axis:
    """How one spatial axis of a strided Conv is treated."""

    size: int  # of the operand
    stride: int  # of the space-to-depth; 1 where the axis is left alone or subsampled
    step: int  # of the subsampling; 1 where there is none
    dilation: int  # of the stride-1 Conv that remains
    taps: int  # of the stride-1 Conv that remains
    phases: int  # residues modulo `stride` that the kernel reads; the others are dropped
    before: int  # zeros in front
    after: int  # zeros behind, or, where negative, elements that no window reads

    @property
    def read(self) -> int:
        """Elements that windows reach, zeros included."""
        return self.size + self.before + self.after


def _rewrite(rewriter: Rewriter, node: Node) -> None:
    chain = Chain(rewriter, node, node.inputs[0])
    sizes, outputs = chain.shape[2:], rewriter.shapes[node.output][2:]
    rows, columns = (_axis(node, i, sizes[i], outputs[i]) for i in range(2))
    _fit(chain, rows, columns)
    if max(rows.stride, columns.stride) > 1:
        _space_to_depth(chain, rows, columns)
    weight = _spread(node.consts["weight"], rows, columns, node.attrs["dilations"])
    chain.add(
        "Conv",
        {"weight": weight, "bias": node.consts["bias"]},
        strides=(1, 1),
        pads=(0, 0, 0, 0),
        dilations=(rows.dilation, columns.dilation),
        groups=node.attrs["groups"],
    )
    chain.put_in_place()


def _axis(node: Node, i: int, size: int, outputs: int) -> _Axis:
    """The treatment of axis `i` (height, width) of `size` elements, for `outputs` windows."""
    stride, dilation = node.attrs["strides"][i], node.attrs["dilations"][i]
    kernel, before, after = (
        node.consts["weight"].shape[2 + i],
        node.attrs["pads"][i],
        node.attrs["pads"][2 + i],
    )
    extent = (kernel - 1) * dilation + 1
    if stride == 1:
        return _Axis(size, 1, 1, dilation, kernel, 1, before, after)
    if kernel == 1 or dilation % stride == 0:  # only phase 0 is read
        remaining = 1 if kernel == 1 else dilation // stride
        behind = (outputs - 1) * stride + extent - size - before
        return _Axis(size, 1, stride, remaining, kernel, 1, before, behind)
    taps = -(-extent // stride)
    behind = stride * (outputs - 1 + taps) - size - before
    return _Axis(size, stride, 1, 1, taps, min(stride, extent), before, behind)


def _fit(chain: Chain, rows: _Axis, columns: _Axis) -> None:
    """Zeros around as the windows read them, and nothing that they do not read."""
    around = tuple((axis.before, max(0, axis.after)) for axis in (rows, columns))
    if any(map(any, around)):
        chain.add("Pad", pads=((0, 0), (0, 0), *around))
    steps, read = (1, 1, rows.step, columns.step), (rows.read, columns.read)
    if chain.shape[2:] != read or max(steps) > 1:
        chain.add("Slice", starts=(0, 0, 0, 0), stops=(*chain.shape[:2], *read), steps=steps)


def _space_to_depth(chain: Chain, rows: _Axis, columns: _Axis) -> None:
    """Pixels become phases of the channels they are in, the column's phase the fastest index."""
    batch, channels, height, width = chain.shape
    height, width = height // rows.stride, width // columns.stride
    chain.add("Reshape", shape=(batch, channels, height, rows.stride, width, columns.stride))
    chain.add("Transpose", perm=(0, 1, 3, 5, 2, 4))
    if (rows.phases, columns.phases) != (rows.stride, columns.stride):
        stops = (batch, channels, rows.phases, columns.phases, height, width)
        chain.add("Slice", starts=(0,) * 6, stops=stops, steps=(1,) * 6)
    chain.add("Reshape", shape=(batch, channels * rows.phases * columns.phases, height, width))


def _spread(weight: Array, rows: _Axis, columns: _Axis, dilations: Sequence[int]) -> Array:
    """The weights over phases, `(M, C/g, kh, kw) -> (M, C/g * phases, taps, taps)`; phases are
    the faster index.
    """
    filters, depth, kh, kw = weight.shape
    phases, taps = (rows.phases, columns.phases), (rows.taps, columns.taps)
    spread = np.zeros((filters, depth, *phases, *taps), weight.dtype)
    for y in range(kh):
        for x in range(kw):
            (a, i), (b, j) = _place(rows, y, dilations[0]), _place(columns, x, dilations[1])
            spread[:, :, a, b, i, j] = weight[:, :, y, x]
    return spread.reshape(filters, depth * rows.phases * columns.phases, *taps)


def _place(axis: _Axis, tap: int, dilation: int) -> tuple[int, int]:
    """Phase and tap of the new Conv that a tap of the old one becomes."""
    if axis.stride == 1:
        return 0, tap
    tap, phase = divmod(tap * dilation, axis.stride)
    return phase, tap
