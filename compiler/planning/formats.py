"""Formats: what the integers of every value stand for, and the ring that they are in.

A value is integers in a ring of `bits` bits; its real numbers are the integers times a unit per
channel, which the vendor alone knows. Units are chosen so that the calibrated range of each
class of channels (see `scales`) fills `activation_bits`, and are absorbed into the integer
weights of the layers around (see `quantise`). They need be no powers of two and cost nothing at
run time (docs/decisions/0002-channel-scales.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.ops import PRODUCTS
from moiety.compiler.planning.options import MAX_RING_BITS, PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.rings import result_widths, ring_widths, widening
from moiety.compiler.planning.unit_choice import Widths, choose_units
from moiety.compiler.planning.units import Units
from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadPlan


@dataclass(frozen=True, eq=False)
class Formats:
    """The format of every value of `graph`, whose constant gates are frozen. rings: of values
    between layers; output_bits: of those that write results, and of what is reindexed from them;
    widths: what departs from the options.
    """

    graph: Graph
    options: PlanOptions
    ranges: Ranges
    units: Units
    output_bits: Mapping[str, int]
    rings: Mapping[str, int]
    widths: Widths

    def input_unit(self, source: str) -> float:
        """Real number per integer step of an input."""
        return float(self.units.of(self.graph, source)[0])

    @property
    def input_bits(self) -> int:
        """Width of a ring that holds an encoded input."""
        options = self.options
        return options.ring_bits if options.uniform is not None else options.activation_bits + 1

    @property
    def output_unit(self) -> float:
        """Real number per integer step of the results."""
        options = self.options
        return 2.0 ** -(options.output_frac if options.uniform is None else options.uniform)

    def unit(self, value: str) -> F64:
        """Real number per integer step of each channel of `value`, `(C,)`."""
        return self.units.of(self.graph, value)

    def zero(self, value: str) -> F64:
        """Real number that integer 0 stands for in each channel of `value`, a linear layer's result
        or a gate's operand, `(C,)`.
        """
        return self.units.zero_of(self.graph, value)

    def bits(self, value: str) -> int:
        """Width of the ring in which `value` is kept between layers."""
        return self.rings[value]

    def shift(self, product: str) -> int:
        """Bits dropped after a product of two values."""
        return self.units.shifts[product]

    def has_headroom(self, value: str) -> bool:
        """Does `value` lie in the inner half of its ring? Of results, whose rings are chosen for
        what they show, nothing is said.
        """
        roomy = int(self.units.roomy_bits_of(self.graph, value).max())
        return value not in self.output_bits and roomy <= self.rings[value]

    def compared_bits(self, value: str) -> int:
        """Width of a ring that holds `value` itself: comparisons need no wider one."""
        return min(own_bits(self.graph, self.units, value), self.rings[value])


def choose_formats(
    graph: Graph, ranges: Ranges, options: PlanOptions, widths: Widths | None = None
) -> Formats:
    """Formats of a legalised Graph, with `widths` instead of those of the options where given.
    BadPlan where there is no room; BadInput if the ranges are another Graph's.
    """
    ranges.check(graph)
    widths = widths or Widths()
    graph, units = choose_units(graph, ranges, options, widths)
    output_bits = result_widths(graph, ranges, options)
    needed = {value: own_bits(graph, units, value) for value in graph.shapes}
    if options.uniform is None:
        needed |= _roomy_bits(graph, units)
    formats = Formats(
        graph=graph,
        options=options,
        ranges=ranges,
        units=units,
        output_bits=output_bits,
        rings=ring_widths(graph, needed) | output_bits,
        widths=widths,
    )
    _check_products(formats)
    return formats


def _roomy_bits(graph: Graph, units: Units) -> dict[str, int]:
    """Rings with a headroom bit, of the values that are extended: it costs every value of the ring
    a bit or two, and saves each of these a comparison.
    """
    return {
        value: int(units.roomy_bits_of(graph, value).max()) for value in widening(graph).extended
    }


def _check_products(formats: Formats) -> None:
    """BadPlan for a product of two values that fits no ring."""
    for node in formats.graph.nodes_of(*PRODUCTS):
        bits = formats.bits(node.output) + formats.shift(node.output)
        if bits > MAX_RING_BITS:
            raise BadPlan(
                f"{node.op} {node.name!r}: the product of its operands takes {bits} bits, "
                f"{MAX_RING_BITS} are possible: give fewer activation bits or margin bits"
            )


def own_bits(graph: Graph, units: Units, value: str) -> int:
    """Width of a ring that holds every channel of `value`."""
    return int(units.bits_of(graph, value).max())
