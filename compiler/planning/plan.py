"""The plan: the format of every value, and the integers of every layer, gate and constant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moiety.compiler.ir.graph import Graph
from moiety.compiler.planning.activations import SplineIntegers, quantise_splines
from moiety.compiler.planning.formats import Formats, choose_formats
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.quantise import (
    GateIntegers,
    LayerIntegers,
    quantise_constants,
    quantise_gates,
    quantise_layers,
)
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.unit_choice import Widths
from moiety.protocols.arrays import I64


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that lowering needs. layers, gates, splines, constants: by result, in the Graph's
    order.
    """

    formats: Formats
    layers: Mapping[str, LayerIntegers]
    gates: Mapping[str, GateIntegers]
    splines: Mapping[str, SplineIntegers]
    constants: Mapping[str, I64]

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
    return Plan(
        formats=formats,
        layers=quantise_layers(formats),
        gates=quantise_gates(formats),
        splines=quantise_splines(formats),
        constants=quantise_constants(formats),
    )
