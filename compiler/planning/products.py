"""The unit of a product of two values.

The integers of x and y count steps of u_x and u_y, those of `x*y` steps of `u_x*u_y`, in each
channel its own. The truncation after it, by one public shift for all channels, makes that
`u_x * u_y * 2^shift`. A layer's weights absorb what is left of such a ratio; here are none, so the
unit of a product is no free choice. The shift is the least at which the calibrated range of every
channel fits the bits that it is to fill. Minimal disclosure takes the one at which it does for any
ranges: that of operands which fill their bits.

The mean of products (a variance) is their sum, and its unit that much smaller, before it is
truncated.

Its ring has the margins of both operands: of two that grow twice beyond their calibrated ranges,
the product grows four times.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops.products import summands
from moiety.compiler.planning.options import MAX_RING_BITS, PlanOptions
from moiety.compiler.planning.units import Units, finer_bits
from moiety.protocols.arrays import F64

SLACK = 1e-4
"""Bits by which a range may exceed what it is to fill: ranges are measured in single precision."""


SQUARE_ROOM = 2
"""Bits by which the ring of a square exceeds its operand's."""


class ProductWidths(NamedTuple):
    """bits: ring of the product, and of its wide operand. shift: bits to truncate afterwards.
    out_bits: ring of what is left.
    """

    bits: int
    shift: int
    out_bits: int


def product_widths(ring: int, asked: int, shift: int, least: int) -> ProductWidths:
    """Of a product whose result is kept in `ring` bits and wanted in a ring of `asked`: it is made
    there, unless that takes a ring that there is not. The product's own has at least `least` bits.
    """
    out_bits = max(ring, asked) if asked + shift <= MAX_RING_BITS else ring
    return ProductWidths(max(out_bits + shift, least), shift, out_bits)


def with_product(graph: Graph, units: Units, options: PlanOptions, node: Node) -> Units:
    """The units with that of one product made to follow from its operands'."""
    ids = units.scales.sources[node.output]
    x, y = node.inputs
    steps = (units.of(graph, x) * units.of(graph, y))[: len(ids)] / _summed(graph, node)
    shift: float = _shift_of_full_operands(graph, units, node)
    if options.disclose != "minimal":
        shift = min(shift, _shift_of_range(units, node, steps))
    dropped = max(int(shift), 0)
    unit, bits = units.unit.copy(), units.bits.copy()
    unit[ids] = steps * 2.0**dropped
    margins = (units.margin_of(graph, x) + units.margin_of(graph, y))[: len(ids)]
    bits[ids] = units.filled[ids] + margins + finer_bits(units.room[ids])
    return replace(units, unit=unit, bits=bits, shifts={**units.shifts, node.output: dropped})


def _shift_of_range(units: Units, node: Node, steps: F64) -> float:
    """The least shift at which the calibrated range of every channel fits its bits; infinite where
    the product was 0 on all images, which says nothing of others.
    """
    ids = units.scales.sources[node.output]
    wanted = units.reach[ids] * units.room[ids] / 2.0 ** (units.filled[ids] - 1)
    coarser = float((wanted / steps).max())
    return math.ceil(math.log2(coarser) - SLACK) if coarser > 0 else math.inf


def _shift_of_full_operands(graph: Graph, units: Units, node: Node) -> int:
    """The least shift at which the product of operands fits its bits, whatever fills theirs."""
    ids = units.scales.sources[node.output]
    x, y = (units.reached_of(graph, value)[: len(ids)] for value in node.inputs)
    summed = math.ceil(math.log2(_summed(graph, node)))
    return int((x + y - 1 - units.filled[ids] + np.log2(units.room[ids])).max()) + summed


def _summed(graph: Graph, node: Node) -> int:
    """Products that are summed up before the truncation."""
    return summands(graph.shapes[node.inputs[0]]) if node.op == "MeanProduct" else 1
