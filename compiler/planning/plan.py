"""The plan: the format of every value, and the integers of every layer, gate and constant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moiety.compiler.ir.graph import Graph
from moiety.compiler.planning.activations import SplineIntegers, quantise_splines
from moiety.compiler.planning.formats import Formats, choose_formats
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.products import SQUARE_ROOM, ProductWidths, product_widths
from moiety.compiler.planning.quantise import (
    GateIntegers,
    LayerIntegers,
    quantise_constants,
    quantise_gates,
    quantise_layers,
)
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.rings import widening
from moiety.compiler.planning.unit_choice import Widths
from moiety.protocols.arrays import I64


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that lowering needs. layers, products, gates, splines, constants: by result, in
    the Graph's order. demands: the rings in which layers and products want each value.
    """

    formats: Formats
    layers: Mapping[str, LayerIntegers]
    products: Mapping[str, ProductWidths]
    gates: Mapping[str, GateIntegers]
    splines: Mapping[str, SplineIntegers]
    constants: Mapping[str, I64]
    demands: Mapping[str, frozenset[int]]

    @property
    def graph(self) -> Graph:
        """The Graph that was planned, its constant gates frozen."""
        return self.formats.graph

    @property
    def options(self) -> PlanOptions:
        return self.formats.options


def make_plan(
    graph: Graph, ranges: Ranges, options: PlanOptions, widths: Widths | None = None
) -> Plan:
    """Plan a legalised Graph, with `widths` instead of those of the options where given. BadPlan
    where there is no room; BadInput if the ranges are another Graph's.
    """
    formats = choose_formats(graph, ranges, options, widths)
    layers = quantise_layers(formats)
    demands, products = _demands_and_products(formats, layers)
    return Plan(
        formats=formats,
        layers=layers,
        products=products,
        gates=quantise_gates(formats),
        splines=quantise_splines(formats),
        constants=quantise_constants(formats),
        demands=demands,
    )


def _demands_and_products(
    formats: Formats, layers: Mapping[str, LayerIntegers]
) -> tuple[dict[str, frozenset[int]], dict[str, ProductWidths]]:
    """The rings in which each value is wanted, from the results on, for what a product wants of its
    operand depends on what is wanted of it.
    """
    graph, found = formats.graph, widening(formats.graph)
    demands: dict[str, frozenset[int]] = {}
    products: dict[str, ProductWidths] = {}
    for value in reversed([*graph.inputs, *(node.output for node in graph.nodes)]):
        readers = found.readers[value]
        demands[value] = frozenset(
            layers[reader].bits if reader in layers else products[reader].bits for reader in readers
        )
        if value in found.factors:
            asked = demands[value] if value in found.free else frozenset[int]()
            products[value] = _product_widths(formats, found.factors[value], value, asked)
    return demands, dict(reversed(products.items()))


def _product_widths(
    formats: Formats, operands: tuple[str, str], value: str, asked: frozenset[int]
) -> ProductWidths:
    x, y = (formats.bits(operand) for operand in operands)
    room = SQUARE_ROOM if len(set(operands)) == 1 else 0
    shift = formats.shift(value)
    return product_widths(formats.bits(value), max(asked, default=0), shift, max(x, y) + room)
