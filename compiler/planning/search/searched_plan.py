"""The cheapest plan whose predicted error at the results stays within a bound.

Variables are the activation bits of every group of tied tensors (a residual sum's operands, for
one) and the weight bits of every linear layer. Rings follow from them: in how many bits something
is compared, how wide a concatenation's ring is, how much a truncation drops, how wide a layer's
ring is, what its RLWE parameters must hold. Price and squared error are sums of terms in few
variables each (`objective`), over which `descent` searches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from moiety.compiler.ir.graph import Graph
from moiety.compiler.planning.error import predicted_error
from moiety.compiler.planning.layers import result_layers
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import Plan, make_plan
from moiety.compiler.planning.ranges import Progress, Ranges
from moiety.compiler.planning.search.descent import Search
from moiety.compiler.planning.search.knots import cheapest_knots
from moiety.compiler.planning.search.objective import Objective
from moiety.compiler.planning.unit_choice import Widths
from moiety.protocols.errors import BadPlan

CORRECTIONS = 4
"""Rounds of making up for what the objective leaves out (coarser units, frozen gates)."""


def searched_plan(
    graph: Graph, ranges: Ranges, options: PlanOptions, progress: Progress | None = None
) -> Plan:
    """The cheapest plan found whose predicted error, root mean square, stays within the bound
    of the options.

    BadPlan if even the widest widths miss it; BadInput if the ranges hold no responses.
    """
    try:
        return _within(error_bound(graph, ranges, options), graph, ranges, options, progress)
    except BadPlan:
        if options.target_error is not None:
            raise
    usual = predicted_error(make_plan(graph, ranges, options))
    return _within(usual, graph, ranges, options, progress)


def _within(
    bound: float, graph: Graph, ranges: Ranges, options: PlanOptions, progress: Progress | None
) -> Plan:
    """The cheapest plan found with an error of at most `bound`: knots of activations first, then
    widths.
    """
    knots = cheapest_knots(graph, ranges, options, bound)
    reference = make_plan(graph, ranges, options, Widths(knots=knots))
    search = Search(Objective(reference.formats))
    return _meeting(bound, search, partial(make_plan, graph, ranges, options), progress)


def _meeting(
    target: float,
    search: Search,
    planned: Callable[[Widths], Plan],
    progress: Progress | None,
) -> Plan:
    """The cheapest plan with an error of at most `target`, after a few corrections of the aim."""
    aim = error = target
    for attempt in range(CORRECTIONS):
        if progress is not None:
            progress("searching widths, attempt", attempt, CORRECTIONS)
        plan = planned(search.widths(search.cheapest(aim)))
        error = predicted_error(plan)
        if error <= target:
            return plan
        aim *= 0.99 * target / error
    raise BadPlan(
        f"no plan with an error of {target:g} was found; the last tried has {error:.3g}. Allow "
        "more (--max-error), or give the widths"
    )


def error_bound(graph: Graph, ranges: Ranges, options: PlanOptions) -> float:
    """The root mean square error of the results that the options ask for.

    A relative one is a wish rather than a condition: where no widths meet it, the search is for
    what is as good as the options' own widths everywhere.
    """
    if options.target_error is not None:
        return options.target_error
    if options.relative_error is None:
        raise BadPlan("a search for widths needs a bound on the error")
    spans = [ranges.high[layer] - ranges.low[layer] for layer in result_layers(graph)]
    return options.relative_error * float(np.sqrt(np.mean(np.concatenate(spans) ** 2)))
