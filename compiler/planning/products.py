"""The unit of a product of two values.

The integers of x and y count steps of u_x and u_y, those of `x*y` steps of `u_x*u_y`, in each
channel its own. The truncation after it, by one public shift for all channels, makes that
`u_x * u_y * 2^shift`. A layer's weights absorb what is left of such a ratio; here are none, so the
unit of a product is no free choice. The shift is the least at which the calibrated range of every
channel fits the bits that it is to fill. Minimal disclosure takes the one at which it does for any
ranges: that of operands which fill their bits.

Margins that follow from images are the product's own, like any tensor's (`margins`). Where they are
given, its ring has those of both operands: if they grow to twice their ranges, it grows to four
times its own.

The mean of products (a variance) is their sum, and its unit that much smaller, before it is
truncated.
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
    dropped = max(_shift(graph, units, options, node, steps), 0)
    held = units.held_bits(options.margin_bits)[ids]
    if _given_margins(options):
        both = units.margin_of(graph, x) + units.margin_of(graph, y)
        held = units.filled[ids] + both[: len(ids)]
    unit, bits = units.unit.copy(), units.bits.copy()
    unit[ids] = steps * 2.0**dropped
    bits[ids] = held + finer_bits(units.room[ids])
    return replace(units, unit=unit, bits=bits, shifts={**units.shifts, node.output: dropped})


def _given_margins(options: PlanOptions) -> bool:
    return options.overflow_probability is None


def _shift(graph: Graph, units: Units, options: PlanOptions, node: Node, steps: F64) -> int:
    """Of given margins never more than that of operands which fill their bits, though quiet
    channels are taken to reach farther than theirs multiply to.
    """
    full = _shift_of_full_operands(graph, units, node)
    if options.disclose == "minimal":
        return full
    shift = _shift_of_range(units, node, steps, options.margin_bits)
    if _given_margins(options) or math.isinf(shift):
        shift = min(shift, full)
    return int(shift)


def _shift_of_range(units: Units, node: Node, steps: F64, margin_bits: int) -> float:
    """The least shift at which what there must be room for in every channel fits its bits; infinite
    where the product was 0 on all images, which says nothing of others.
    """
    ids = units.scales.sources[node.output]
    held = units.held_bits(margin_bits)[ids]
    wanted = units.reach[ids] * units.room[ids] / 2.0 ** (held - 1)
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
