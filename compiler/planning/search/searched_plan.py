"""The cheapest plan whose error at the results stays within a bound.

Variables are the activation bits of every group of tied tensors (a residual sum's operands, for
one) and the weight bits of every linear layer. Rings follow from them: in how many bits something
is compared, how wide a concatenation's ring is, how much a truncation drops, how wide a layer's
ring is, what its RLWE parameters must hold. Price and squared error are sums of terms in few
variables each (`objective`), over which `descent` searches.

The error model is of first order. So what it finds is measured, where there are images, and where
the bound is missed the search aims lower, by as much as it was missed by.

The widths that are not searched for (of the image, of the results and their layers) are the
options', and everything is tried from 5 to 14 bits. Where no such widths meet the bound, all of
that goes up, by two bits at a time (EXTRA_BITS).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from moiety.compiler.ir.graph import Graph
from moiety.compiler.planning.error import predicted_error
from moiety.compiler.planning.layers import result_layers
from moiety.compiler.planning.options import MAX_ACTIVATION_BITS, MAX_OUTPUT_FRAC, PlanOptions
from moiety.compiler.planning.plan import Plan, make_plan
from moiety.compiler.planning.ranges import Progress, Ranges
from moiety.compiler.planning.report import Measured
from moiety.compiler.planning.search.descent import Search, Unreachable
from moiety.compiler.planning.search.knots import cheapest_knots
from moiety.compiler.planning.search.objective import Objective
from moiety.compiler.planning.search.terms import EXTRA_BITS, NARROWEST, WIDEST
from moiety.compiler.planning.search.variables import State
from moiety.compiler.planning.starved import relieved
from moiety.compiler.planning.unit_choice import Widths
from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.parameters import MAX_WEIGHT_BITS

Measure = Callable[[Plan], Measured]
"""Measures the error of a plan's results."""

CORRECTIONS: Final = 4
"""Rounds of making up for what the objective leaves out (coarser units, frozen gates) and for what
the error model does.
"""

AIMED: Final = 0.95
"""Of the bound, where a plan missed it."""

NEAR_BEST: Final = 1.25
"""Where the aim is out of reach: what is searched for, relative to the least error predicted. The
last quarter costs the widest widths everywhere.
"""


@dataclass(frozen=True)
class Found:
    """A plan, its predicted error, and the measured one where there are images."""

    plan: Plan
    predicted: float
    measured: Measured | None

    @property
    def error(self) -> float:
        """The larger one."""
        return max(self.predicted, self.measured.error if self.measured is not None else 0.0)

    @property
    def trust(self) -> float:
        """The part of a bound that the prediction must keep for the measured error to keep it."""
        return self.predicted / self.error if self.error > 0 else 1.0

    @property
    def overflowed(self) -> bool:
        """Did values leave their rings? Then other widths make the error no smaller."""
        return self.measured is not None and self.measured.overflows > 0


def searched_plan(
    graph: Graph,
    ranges: Ranges,
    options: PlanOptions,
    progress: Progress | None = None,
    measure: Measure | None = None,
) -> Plan:
    """The cheapest plan found whose error, root mean square, predicted and measured, stays within
    the bound of the options; of a relative bound that no widths meet, one near the least error.

    BadPlan where no widths meet an absolute bound; BadInput if the ranges hold no responses.
    """
    bound = error_bound(graph, ranges, options)
    closest: Found | None = None
    for extra in EXTRA_BITS:
        trust = 1.0 if closest is None else closest.trust
        wider = _wider(options, extra)
        level = _Level.of(graph, ranges, wider, extra, trust * bound, progress, measure)
        if level.search.least_error > trust * bound and extra != EXTRA_BITS[-1]:
            continue  # wider ones must do: none of these is worth a search
        found = level.within(bound, trust)
        if found.error <= bound:
            return found.plan
        if closest is None or found.error < closest.error:
            closest = found
        if found.overflowed:
            break
    assert closest is not None
    if options.target_error is not None:
        raise _out_of_reach(bound, closest)
    return closest.plan


def _wider(options: PlanOptions, extra: int) -> PlanOptions:
    """With so many bits more for what is not searched for."""
    return replace(
        options,
        activation_bits=min(options.activation_bits + extra, MAX_ACTIVATION_BITS),
        weight_bits=min(options.weight_bits + extra, MAX_WEIGHT_BITS),
        output_frac=min(options.output_frac + extra, MAX_OUTPUT_FRAC),
    )


def _out_of_reach(bound: float, closest: Found) -> BadPlan:
    measured = closest.measured
    reached = f"predicted {closest.predicted:.3g}"
    reached += "" if measured is None else f", measured {measured.error:.3g}"
    if measured is not None and closest.overflowed:
        return BadPlan(
            f"an error of {bound:g} cannot be met: {measured.overflows} values of the images that "
            f"it is measured on leave their rings ({reached}). Give more --margin-bits, or "
            "calibrate on more images"
        )
    return BadPlan(
        f"an error of {bound:g} cannot be met: the least found with widths of up to "
        f"{WIDEST + EXTRA_BITS[-1]} bits is {reached}. Allow more (--max-error)"
    )


@dataclass(frozen=True)
class _Level:
    """A search with the widths of `options` for what it does not move."""

    graph: Graph
    ranges: Ranges
    options: PlanOptions
    search: Search
    progress: Progress | None
    measure: Measure | None

    @classmethod
    def of(
        cls,
        graph: Graph,
        ranges: Ranges,
        options: PlanOptions,
        extra: int,
        aim: float,
        progress: Progress | None,
        measure: Measure | None,
    ) -> _Level:
        """Knots of activations are chosen before the widths, for the error that is aimed at."""
        graph = relieved(graph, ranges, options)
        knots = cheapest_knots(graph, ranges, options, aim)
        reference = make_plan(graph, ranges, options, Widths(knots=knots))
        search = Search(Objective(reference.formats), NARROWEST, WIDEST + extra)
        return cls(graph, ranges, options, search, progress, measure)

    def within(self, bound: float, trust: float) -> Found:
        """The first plan tried that is within the bound, or else the one that comes closest. trust:
        the part of the bound to aim at first.
        """
        closest: Found | None = None
        for found in self.tried(bound, trust * bound):
            if closest is None or found.error < closest.error:
                closest = found
            if closest.error <= bound or found.overflowed:
                break
        assert closest is not None
        return closest

    def tried(self, bound: float, aim: float) -> Iterator[Found]:
        """The cheapest plans for an aim that is lowered each time, by the factor by which the bound
        was missed. Below the least error predicted, one near it and the most precise one.
        """
        for attempt in range(CORRECTIONS):
            if self.progress is not None:
                self.progress("searching widths, attempt", attempt, CORRECTIONS)
            try:
                found = self.found(self.search.cheapest(aim))
            except Unreachable as error:
                yield self.found(self.search.cheapest(NEAR_BEST * error.least))
                yield self.found(error.closest)
                return
            yield found
            aim *= AIMED * bound / found.error

    def found(self, state: State) -> Found:
        widths = self.search.widths(state)
        plan = make_plan(self.graph, self.ranges, self.options, widths)
        measured = None if self.measure is None else self.measure(plan)
        return Found(plan, predicted_error(plan), measured)


def error_bound(graph: Graph, ranges: Ranges, options: PlanOptions) -> float:
    """The root mean square error of the results that the options ask for; a relative one is a wish
    rather than a condition.
    """
    if options.target_error is not None:
        return options.target_error
    if options.relative_error is None:
        raise BadPlan("a search for widths needs a bound on the error")
    spans = [ranges.high[layer] - ranges.low[layer] for layer in result_layers(graph)]
    return options.relative_error * float(np.sqrt(np.mean(np.concatenate(spans) ** 2)))
