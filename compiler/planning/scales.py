"""Scale fields: which elements of a value share one scale, through every op.

An integer v of a value stands for the real number `v * multiplier * S[class]`. The planner may
choose S per class freely (every output channel of a linear layer starts a class of its own, since
its scale is absorbed by the integer weights before and after it) but ops tie classes together: the
operands of a residual addition must agree, a window must not mix scales. A `Field` records class id
and multiplier of every element, as arrays that broadcast to the value's shape, so that any
reindexing op is the same reindexing of the two arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.protocols.errors import BadModel, ContractViolation

Ids = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

LINEAR = frozenset({"Conv", "Gemm", "Scale"})
"""Ops that become a Linear step: their output channels have scales of their own."""

REINDEXING = frozenset({"Concat", "Slice", "Reshape", "Transpose", "Pad", "AvgPool"})
"""Local ops that are linear and act alike on all channels; they work in any ring."""

SUMS = frozenset({"Add", "Sub", "AddConst"})
FINAL = frozenset({"Sigmoid", "Softmax"})


class Classes:
    """Scale classes: a union-find over ids."""

    def __init__(self) -> None:
        self._parent: list[int] = []

    def fresh(self, count: int) -> Ids:
        """`count` new ids, each a class of its own."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def root(self, index: int) -> int:
        """The representative of an id's class."""
        parent = self._parent
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def tie(self, ids: Iterable[int]) -> None:
        """Make all ids one class."""
        first, *rest = (self.root(int(i)) for i in ids)
        for other in rest:
            self._parent[self.root(other)] = self.root(first)

    def roots(self) -> Ids:
        """Representative of every id."""
        return np.array([self.root(i) for i in range(len(self._parent))], np.int64)


@dataclass(frozen=True, eq=False)
class Field:
    """Class ids and multipliers of a value's elements; both broadcast
    to its shape (batch 1 first).
    """

    ids: Ids
    multiplier: F64

    def map(self, change: Callable[[Array], Array]) -> Field:
        """The same change of both arrays, constant axes squeezed to length 1."""
        return Field(_squeeze(change(self.ids)), _squeeze(change(self.multiplier)))

    def widened(self, shape: Shape) -> Field:
        """With both arrays at full shape (as views)."""
        return Field(np.broadcast_to(self.ids, shape), np.broadcast_to(self.multiplier, shape))


def _squeeze(array: Array) -> Array:
    for axis, size in enumerate(array.shape):
        first = np.take(array, [0], axis)
        if size > 1 and (array == first).all():
            array = first
    return array


@dataclass(frozen=True, eq=False)
class ScaleMap:
    """Fields of all values of a Graph, and the classes they refer to. `sources`: value -> ids of
    its channels, where new ids begin.
    """

    classes: Classes
    fields: dict[str, Field] = field(default_factory=dict)
    sources: dict[str, Ids] = field(default_factory=dict)


@dataclass(frozen=True)
class WindowFactors:
    """An average pool as `sum * factors / divisor`, with a public integer
    factor per row and per column.
    """

    per_axis: tuple[tuple[int, ...], tuple[int, ...]]
    divisor: int

    @property
    def largest(self) -> int:
        return max(max(factors) for factors in self.per_axis)


def window_factors(graph: Graph, node: Node) -> WindowFactors:
    """Where padding is not counted, windows at the border have fewer elements: the least
    common multiple is the divisor.
    """
    per_axis, divisor = [], 1
    for axis in (0, 1):
        kernel, stride, before = (
            node.attrs["kernel"][axis],
            node.attrs["strides"][axis],
            node.attrs["pads"][axis],
        )
        size, count = graph.shapes[node.inputs[0]][2 + axis], graph.shapes[node.output][2 + axis]
        if node.attrs["count_include_pad"]:
            counts = [kernel] * count
        else:
            starts = [position * stride - before for position in range(count)]
            counts = [min(start + kernel, size) - max(start, 0) for start in starts]
        common = math.lcm(*counts)
        per_axis.append(tuple(common // n for n in counts))
        divisor *= common
    return WindowFactors((per_axis[0], per_axis[1]), divisor)


def propagate(graph: Graph) -> ScaleMap:
    """The scale field of every value. BadModel where one channel
    would need several scales at once.
    """
    result = ScaleMap(Classes())
    for value in graph.inputs:
        _begin(result, value, graph.shapes[value], 1)
    for node in graph.nodes:
        _RULES[node.op](result, graph, node)
    return result


def _begin(result: ScaleMap, value: str, shape: Shape, channels: int) -> Ids:
    """A field of fresh ids, one per channel (or one for all)."""
    ids = result.classes.fresh(channels)
    rank = len(shape)
    result.sources[value] = ids
    result.fields[value] = Field(ids.reshape((1, -1) + (1,) * (rank - 2)), np.ones((1,) * rank))
    return ids


def _per_channel(result: ScaleMap, graph: Graph, node: Node, value: str) -> Field:
    """The field of `value` with one id and multiplier per channel (axis 1); ties what lies at
    different positions of a channel.
    """
    given = result.fields[value]
    if all(size == 1 for array in (given.ids, given.multiplier) for size in array.shape[2:]):
        return given
    shape = graph.shapes[value]
    full = given.widened(shape)
    channels = full.ids.reshape(shape[1], -1)
    multiplier = full.multiplier.reshape(shape[1], -1)
    if (multiplier != multiplier[:, :1]).any():
        raise BadModel(
            f"{node.op} {node.name!r}: the operand's channels mix values of different scale (an average pool or batch "
            "norm whose result is transposed or reshaped across channels first); move that op after this one"
        )
    for row in channels:
        result.classes.tie(np.unique(row))
    tied = Field(
        channels[:, 0].reshape((1, -1) + (1,) * (len(shape) - 2)),
        multiplier[:, 0].reshape((1, -1) + (1,) * (len(shape) - 2)),
    )
    result.fields[value] = tied
    return tied


def _linear(result: ScaleMap, graph: Graph, node: Node) -> None:
    if node.op != "Gemm":
        _per_channel(result, graph, node, node.inputs[0])
    shape = graph.shapes[node.output]
    _begin(result, node.output, shape, shape[1])


def _keep(result: ScaleMap, graph: Graph, node: Node) -> None:
    result.fields[node.output] = result.fields[node.inputs[0]]


def _affine(result: ScaleMap, graph: Graph, node: Node) -> None:
    given = _per_channel(result, graph, node, node.inputs[0])
    gain = (
        node.consts["scale"]
        .astype(np.float64)
        .reshape((1, -1) + (1,) * (len(graph.shapes[node.output]) - 2))
    )
    result.fields[node.output] = Field(given.ids, given.multiplier * gain)


def _max_pool(result: ScaleMap, graph: Graph, node: Node) -> None:
    result.fields[node.output] = _per_channel(result, graph, node, node.inputs[0])


def _avg_pool(result: ScaleMap, graph: Graph, node: Node) -> None:
    given = _per_channel(result, graph, node, node.inputs[0])
    result.fields[node.output] = Field(
        given.ids, given.multiplier / window_factors(graph, node).divisor
    )


def _sum(result: ScaleMap, graph: Graph, node: Node) -> None:
    shape = graph.shapes[node.output]
    ids = _begin(result, node.output, shape, shape[1])
    for value in node.inputs:
        given = _per_channel(result, graph, node, value)
        if (given.multiplier != 1).any():
            raise ContractViolation(
                f"{node.op} {node.name!r} adds values of different multiplier; legalise first"
            )
        for own, other in zip(ids, np.broadcast_to(given.ids.reshape(-1), ids.shape), strict=True):
            result.classes.tie((int(other), int(own)))


def _concat(result: ScaleMap, graph: Graph, node: Node) -> None:
    axis = node.attrs["axis"]

    def join(arrays: list[Array]) -> Array:
        rest = np.broadcast_shapes(*((*a.shape[:axis], 1, *a.shape[axis + 1 :]) for a in arrays))
        widths = [graph.shapes[value][axis] for value in node.inputs]
        parts = [
            np.broadcast_to(a, (*rest[:axis], width, *rest[axis + 1 :]))
            for a, width in zip(arrays, widths, strict=True)
        ]
        return _squeeze(np.concatenate(parts, axis=axis))

    given = [result.fields[value] for value in node.inputs]
    result.fields[node.output] = Field(
        join([f.ids for f in given]), join([f.multiplier for f in given])
    )


def _slice(result: ScaleMap, graph: Graph, node: Node) -> None:
    limits = [
        slice(*t)
        for t in zip(node.attrs["starts"], node.attrs["stops"], node.attrs["steps"], strict=True)
    ]

    def cut(array: Array) -> Array:
        return array[
            tuple(
                slice(None) if size == 1 else limit
                for size, limit in zip(array.shape, limits, strict=True)
            )
        ]

    result.fields[node.output] = result.fields[node.inputs[0]].map(cut)


def _reshape(result: ScaleMap, graph: Graph, node: Node) -> None:
    given, shape = result.fields[node.inputs[0]], graph.shapes[node.output]
    result.fields[node.output] = given.widened(graph.shapes[node.inputs[0]]).map(
        lambda array: array.reshape(shape)
    )


def _transpose(result: ScaleMap, graph: Graph, node: Node) -> None:
    result.fields[node.output] = result.fields[node.inputs[0]].map(
        lambda array: array.transpose(node.attrs["perm"])
    )


def _pad(result: ScaleMap, graph: Graph, node: Node) -> None:
    """Zero is zero in any scale: a padding element takes its neighbour's."""

    def extend(array: Array) -> Array:
        pads = [
            (0, 0) if size == 1 else pair
            for size, pair in zip(array.shape, node.attrs["pads"], strict=True)
        ]
        return np.pad(array, pads, mode="edge")

    result.fields[node.output] = result.fields[node.inputs[0]].map(extend)


_RULES: dict[str, Callable[[ScaleMap, Graph, Node], None]] = {
    "Conv": _linear,
    "Gemm": _linear,
    "Scale": _linear,
    "Relu": _keep,
    "AffineRelu": _affine,
    "MaxPool": _max_pool,
    "AvgPool": _avg_pool,
    "Add": _sum,
    "Sub": _sum,
    "AddConst": _sum,
    "Concat": _concat,
    "Slice": _slice,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Pad": _pad,
    "Sigmoid": _keep,
    "Softmax": _keep,
}
