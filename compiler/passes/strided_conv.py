"""strided-conv: every Conv with stride 1, after a reindexing of its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from moiety.compiler.ir.graph import Array, Graph, Node
from moiety.compiler.passes.base import Pass, Rewriter


@dataclass(frozen=True)
class _Axis:
    """How one spatial axis of a strided Conv is treated."""

    stride: int  # of the space-to-depth; 1 where the axis is left alone or subsampled
    step: int  # of the subsampling; 1 where there is none
    dilation: int  # of the stride-1 Conv that remains
    taps: int  # of the stride-1 Conv that remains
    phases: int  # residues modulo `stride` that the kernel reads; the others are dropped
    before: int  # zeros in front
    after: int  # zeros behind, or, where negative, elements that no window reads


@dataclass(frozen=True)
class StridedConv(Pass):
    """`y[p] = sum_k w[k] x[s*p + k*d]`: with `k*d = s*i + a`, the sum over i of a stride-1 Conv
    over the s phases `x_a[j] = x[s*j + a]`.

    The phases become channels (space-to-depth: Pad, Reshape, Transpose, Reshape, all local),
    the weights are spread out over them, with zeros where the kernel (dilated) does not reach.
    An axis where only phase 0 is read, a kernel of one tap or a dilation that the stride
    divides, is subsampled by a Slice instead. Phases beyond a kernel smaller than the stride
    are sliced off. Groups stay together.
    """

    name: ClassVar[str] = "strided-conv"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for node in rewriter.nodes("Conv"):
            if set(node.attrs["strides"]) != {1}:
                rewriter.replace(node, *_rewrite(rewriter, node))
        return rewriter.finish()


def _plan(
    size: int, outputs: int, kernel: int, stride: int, dilation: int, before: int, after: int
) -> _Axis:
    if stride == 1:
        return _Axis(1, 1, dilation, kernel, 1, before, after)
    if kernel == 1 or dilation % stride == 0:
        remaining = 1 if kernel == 1 else dilation // stride
        needed = (outputs - 1) * stride + (kernel - 1) * dilation + 1
        return _Axis(1, stride, remaining, kernel, 1, before, needed - size - before)
    extent = (kernel - 1) * dilation + 1
    taps = -(-extent // stride)
    return _Axis(
        stride,
        1,
        1,
        taps,
        min(stride, extent),
        before,
        stride * (outputs - 1 + taps) - size - before,
    )


def _rewrite(rewriter: Rewriter, node: Node) -> list[Node]:
    weight, attrs = node.consts["weight"], node.attrs
    shape, result = rewriter.shapes[node.inputs[0]], rewriter.shapes[node.output]
    pads = ((attrs["pads"][0], attrs["pads"][2]), (attrs["pads"][1], attrs["pads"][3]))
    rows, columns = (
        _plan(
            shape[2 + i],
            result[2 + i],
            weight.shape[2 + i],
            attrs["strides"][i],
            attrs["dilations"][i],
            *pads[i],
        )
        for i in range(2)
    )
    nodes: list[Node] = []

    def add(op: str, **fields: Any) -> None:
        value = nodes[-1].output if nodes else node.inputs[0]
        nodes.append(rewriter.make(op, [value], node, None, **fields))

    def current() -> tuple[int, ...]:
        return rewriter.shapes[nodes[-1].output if nodes else node.inputs[0]]

    if max(rows.before, rows.after, columns.before, columns.after) > 0:
        add(
            "Pad",
            pads=(
                (0, 0),
                (0, 0),
                (rows.before, max(0, rows.after)),
                (columns.before, max(0, columns.after)),
            ),
        )
    read = [
        size + axis.before + axis.after
        for size, axis in zip(shape[2:], (rows, columns), strict=True)
    ]
    steps = (1, 1, rows.step, columns.step)
    if current()[2:] != tuple(read) or max(steps) > 1:
        add("Slice", starts=(0, 0, 0, 0), stops=(*shape[:2], *read), steps=steps)
    if max(rows.stride, columns.stride) > 1:
        batch, channels, height, width = current()
        height, width = height // rows.stride, width // columns.stride
        add("Reshape", shape=(batch, channels, height, rows.stride, width, columns.stride))
        add("Transpose", perm=(0, 1, 3, 5, 2, 4))
        if (rows.phases, columns.phases) != (rows.stride, columns.stride):
            stops = (batch, channels, rows.phases, columns.phases, height, width)
            add("Slice", starts=(0,) * 6, stops=stops, steps=(1,) * 6)
        add("Reshape", shape=(batch, channels * rows.phases * columns.phases, height, width))
    spread = _spread(weight, rows, columns, attrs["dilations"])
    fields: dict[str, Any] = {
        "strides": (1, 1),
        "pads": (0, 0, 0, 0),
        "dilations": (rows.dilation, columns.dilation),
        "groups": attrs["groups"],
    }
    consts = {"weight": spread, "bias": node.consts["bias"]}
    value = nodes[-1].output if nodes else node.inputs[0]
    return [*nodes, rewriter.make("Conv", [value], node, node.output, consts, **fields)]


def _spread(weight: Array, rows: _Axis, columns: _Axis, dilations: tuple[int, int]) -> Array:
    """The weights over phases, `(M, C/g, kh, kw) -> (M, C/g * phases, taps,
    taps)`; phases are the faster index.
    """
    filters, depth, kh, kw = weight.shape
    spread = np.zeros(
        (filters, depth, rows.phases, columns.phases, rows.taps, columns.taps), weight.dtype
    )

    def place(axis: _Axis, tap: int, dilation: int) -> tuple[int, int]:
        return (
            (0, tap)
            if axis.stride == 1
            else (tap * dilation % axis.stride, tap * dilation // axis.stride)
        )

    for y in range(kh):
        for x in range(kw):
            (a, i), (b, j) = place(rows, y, dilations[0]), place(columns, x, dilations[1])
            spread[:, :, a, b, i, j] = weight[:, :, y, x]
    return spread.reshape(filters, depth * rows.phases * columns.phases, rows.taps, columns.taps)
