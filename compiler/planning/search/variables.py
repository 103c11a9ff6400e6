"""The variables of the search for widths: activation bits of every group of values that share
scales, and weight bits of every linear layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from moiety.compiler.ir.ops import LINEAR, PRODUCTS
from moiety.compiler.ir.scale_fields import ScaleMap
from moiety.compiler.planning.formats import Formats
from moiety.compiler.planning.layers import result_layers
from moiety.compiler.planning.ties import tied_together
from moiety.compiler.planning.units import Units
from moiety.protocols.arrays import I64

State = list[int]
"""A width for every variable."""


@dataclass(frozen=True)
class Variable:
    """Activation bits of the values that share scales, or weight bits of one layer. fixed: not to
    be searched for.
    """

    kind: Literal["activation", "weight"]
    values: tuple[str, ...]
    fixed: bool


class Variables:
    """All variables of a Graph, numbered; `weight_of`: by linear layer; `margins`: by variable,
    of activations what the rings of its values have beyond it.

    The units of the image and of the results are public, so their activation bits are fixed; so are
    the weight bits of the layers that write the results, which are small, and nothing after them
    hides their errors.
    """

    def __init__(self, formats: Formats) -> None:
        graph, scales = formats.graph, formats.units.scales
        results = result_layers(graph)
        public = {*graph.inputs, *results}
        activations = [
            Variable("activation", values, not public.isdisjoint(values))
            for values in _searched_together(formats)
        ]
        layers = [node.output for node in graph.nodes_of(*LINEAR)]
        weights = [Variable("weight", (layer,), layer in results) for layer in layers]
        self.formats = formats
        self.all: tuple[Variable, ...] = (*activations, *weights)
        self.weight_of = {layer: number for number, layer in enumerate(layers, len(activations))}
        self._of_class = _numbered(scales, activations)
        self.margins = _margins(formats.units, self._of_class, len(activations))

    def state(self, activation: int, weight: int) -> State:
        """The same widths everywhere, fixed variables as in the options."""
        options = self.formats.options
        searched = {"activation": activation, "weight": weight}
        fixed = {"activation": options.activation_bits, "weight": options.weight_bits}
        return [(fixed if v.fixed else searched)[v.kind] for v in self.all]

    def channels(self, value: str) -> I64:
        """Activation variable of each channel, `(C,)`."""
        ids = self.formats.units.scales.fields[value].ids
        flat = self._of_class[ids.reshape(*ids.shape[:2], -1)[0, :, 0]]
        return np.broadcast_to(flat, (self.formats.graph.shapes[value][1],))

    def inside(self, value: str) -> frozenset[int]:
        """All activation variables of a value's elements."""
        ids = self.formats.units.scales.fields[value].ids
        return frozenset(np.unique(self._of_class[ids]).tolist())

    def without_headroom(self, value: str) -> frozenset[int]:
        """Those of elements whose unit leaves no headroom bit."""
        ids = self.formats.units.scales.fields[value].ids
        bare = ids[self.formats.units.room[ids] < 2]
        return frozenset(np.unique(self._of_class[bare]).tolist())


def _searched_together(formats: Formats) -> list[tuple[str, ...]]:
    """The values where scales begin, those together of which channels are in one class, or in one
    operand of a product: its one shift asks for the same bits in all channels.
    """
    scales = formats.units.scales
    roots = scales.classes.roots()
    in_class: dict[int, list[str]] = {}
    for value, ids in scales.sources.items():
        for root in roots[ids].tolist():
            in_class.setdefault(root, []).append(value)
    in_operand = (
        [each for root in np.unique(roots[scales.fields[operand].ids]) for each in in_class[root]]
        for node in formats.graph.nodes_of(*PRODUCTS)
        for operand in node.inputs
    )
    return tied_together(tuple(scales.sources), (*in_class.values(), *in_operand))


def _margins(units: Units, of_class: I64, count: int) -> list[int]:
    """By activation variable, the most bits that a ring of its values has beyond it."""
    margins = np.zeros(count, np.int64)
    np.maximum.at(margins, of_class, units.bits - units.filled)
    return margins.tolist()


def _numbered(scales: ScaleMap, activations: list[Variable]) -> I64:
    """By class id, the number of its variable."""
    numbers = np.zeros(len(scales.classes.roots()), np.int64)
    for number, variable in enumerate(activations):
        for value in variable.values:
            numbers[scales.sources[value]] = number
    return numbers
