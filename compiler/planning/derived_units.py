"""Units that are no free choice: those of products and of powers follow from their operands'."""

from __future__ import annotations

import numpy as np

from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.ops import POWERS, PRODUCTS
from moiety.compiler.ir.scale_fields import ScaleMap
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.powers import with_power
from moiety.compiler.planning.products import with_product
from moiety.compiler.planning.units import Units
from moiety.protocols.arrays import BOOL
from moiety.protocols.errors import ContractViolation

DERIVED = POWERS | PRODUCTS
"""The ops whose results have such units."""


def derived_ids(graph: Graph, scales: ScaleMap) -> BOOL:
    """By class id: is its unit derived? ContractViolation where it is of something else, too."""
    found = np.zeros(len(scales.classes.roots()), bool)
    for node in graph.nodes_of(*DERIVED):
        if not scales.alone(node.output):
            raise ContractViolation(
                f"{node.op} {node.name!r}: its scale is tied to others; legalise first"
            )
        found[scales.sources[node.output]] = True
    return found


def with_derived(graph: Graph, units: Units, options: PlanOptions) -> Units:
    """The units with all derived ones made to follow from their operands', in order."""
    for node in graph.nodes_of(*DERIVED):
        units = with_derived_unit(graph, units, options, node)
    return units


def with_derived_unit(graph: Graph, units: Units, options: PlanOptions, node: Node) -> Units:
    """The units with that of one product or power made to follow from its operands'."""
    if node.op in POWERS:
        return with_power(graph, units, options, node)
    return with_product(graph, units, options, node)
