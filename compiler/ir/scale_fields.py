"""Scale fields: which elements of a value share one scale.

An integer v of a value stands for the real number `v * multiplier * S[class]`. The planner may
choose S per class freely (every output channel of a linear layer starts a class of its own, since
its scale is absorbed by the integer weights before and after it) but ops tie classes together: the
operands of a residual addition must agree, a window must not mix scales. A `Field` records class id
and multiplier of every element, as arrays that broadcast to the value's shape, so that any
reindexing op is the same reindexing of the two arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from moiety.compiler.ir.graph import Array, Graph, Node, Shape, channelwise
from moiety.protocols.arrays import F64, I64
from moiety.protocols.errors import BadModel


class Classes:
    """Scale classes: a union-find over ids."""

    def __init__(self) -> None:
        self._parent: list[int] = []

    def fresh(self, count: int) -> I64:
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

    def roots(self) -> I64:
        """Representative of every id."""
        return np.array([self.root(i) for i in range(len(self._parent))], np.int64)


@dataclass(frozen=True, eq=False)
class Field:
    """Class ids and multipliers of a value's elements; both broadcast to its shape
    (batch 1 first).
    """

    ids: I64
    multiplier: F64

    def map(self, change: Callable[[Array], Array]) -> Field:
        """The same change of both arrays, constant axes squeezed to length 1."""
        return Field(squeezed(change(self.ids)), squeezed(change(self.multiplier)))

    def widened(self, shape: Shape) -> Field:
        """With both arrays at full shape (as views)."""
        return Field(np.broadcast_to(self.ids, shape), np.broadcast_to(self.multiplier, shape))


def squeezed(array: Array) -> Array:
    """Axes along which nothing changes, at length 1."""
    for axis, size in enumerate(array.shape):
        first = np.take(array, [0], axis)
        if size > 1 and (array == first).all():
            array = first
    return array


@dataclass(frozen=True, eq=False)
class ScaleMap:
    """The fields of a Graph's values, as far as its nodes have been walked, and the classes that
    they refer to. `sources`: value -> ids of its channels, where new ids begin.
    """

    graph: Graph
    classes: Classes = field(default_factory=Classes)
    fields: dict[str, Field] = field(default_factory=dict)
    sources: dict[str, I64] = field(default_factory=dict)

    def begin(self, value: str, channels: int) -> Field:
        """A field of fresh ids for `value`, one per channel (one for all with `channels` 1)."""
        ids = self.classes.fresh(channels)
        rank = len(self.graph.shapes[value])
        self.sources[value] = ids
        return Field(channelwise(ids, rank), np.ones((1,) * rank))

    def alone(self, value: str) -> bool:
        """Is each channel of `value`, where new ids begin, tied to nothing else?"""
        roots, own = self.classes.roots(), self.sources[value]
        return int(np.isin(roots, roots[own]).sum()) == len(own) == len(np.unique(roots[own]))

    def per_channel(self, node: Node, value: str) -> Field:
        """The field of `value`, an operand of `node`, with one id and multiplier per channel (axis
        1): what lies at different positions of a channel is tied. BadModel where it cannot be.
        """
        given = self.fields[value]
        if all(size == 1 for array in (given.ids, given.multiplier) for size in array.shape[2:]):
            return given
        shape = self.graph.shapes[value]
        full = given.widened(shape)
        ids = full.ids.reshape(shape[1], -1)
        multiplier = full.multiplier.reshape(shape[1], -1)
        if (multiplier != multiplier[:, :1]).any():
            raise BadModel(
                f"{node.op} {node.name!r}: the operand's channels mix values of different scale "
                "(an average pool or batch norm whose result is transposed or reshaped across "
                "channels first); move that op after this one"
            )
        for row in ids:
            self.classes.tie(np.unique(row))
        rank = len(shape)
        tied = Field(channelwise(ids[:, 0], rank), channelwise(multiplier[:, 0], rank))
        self.fields[value] = tied
        return tied
