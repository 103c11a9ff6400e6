"""The search for widths: the cheapest plan whose predicted error at the results stays within a
bound.

Variables are the activation bits of every group of tied tensors (a residual sum's operands, for
one) and the weight bits of every linear layer. Rings follow from them: in how many bits something
is compared, how wide a concatenation's ring is, how much a truncation drops, how wide a layer's
ring is, what its RLWE parameters must hold. Price and squared error are sums of terms in few
variables each (see `objective`), so

    minimise price(x)  subject to  squared_error(x) <= target^2

is bit allocation, rate against distortion, and solved by its Lagrangian (Shoham and Gersho, IEEE
Trans. ASSP 36(9), 1988): for a multiplier m, coordinate descent on `price + m * squared_error` over
all values of a variable at once (prices have steps, at every digit of a comparison for one), with
joint moves for tensors that share a ring; a bisection for m; and, into what is left of the bound,
the best moves one by one. A test holds the outcome against exhaustive search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import numpy as np

from moiety.compiler.ir.graph import Graph
from moiety.compiler.planning.error import predicted_error
from moiety.compiler.planning.linear_ops import result_layers
from moiety.compiler.planning.objective import Objective
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import Plan, make_plan
from moiety.compiler.planning.ranges import Progress, Ranges
from moiety.compiler.planning.terms import NARROWEST, WIDEST
from moiety.compiler.planning.unit_choice import Widths
from moiety.compiler.planning.variables import State
from moiety.protocols.errors import BadPlan

Move = Mapping[int, int]
"""New widths of some variables."""

SWEEPS = 30
BISECTIONS = 14
CORRECTIONS = 4
"""Rounds of making up for what the objective leaves out (coarser units, frozen gates)."""


def searched_plan(
    graph: Graph, ranges: Ranges, options: PlanOptions, progress: Progress | None = None
) -> Plan:
    """The cheapest plan found whose predicted error, root mean square, stays within the bound of
    the options.

    BadPlan if even the widest widths miss it; BadInput if the ranges hold no responses.
    """
    uniform = make_plan(graph, ranges, options)
    search = Search(Objective(uniform.formats))
    planned = partial(make_plan, graph, ranges, options)
    try:
        return _meeting(error_bound(graph, ranges, options), search, planned, progress)
    except BadPlan:
        if options.target_error is not None:
            raise
    return _meeting(predicted_error(uniform), search, planned, progress)


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
            progress("searching widths", attempt, CORRECTIONS)
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


class Search:
    """Finds states of one objective. free: the variables that it moves; together: those that it
    also moves at once, of one ring or of one kind.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective, variables = objective, objective.variables
        self.free = [number for number, v in enumerate(variables.all) if not v.fixed]
        activations = {n for n in self.free if variables.all[n].kind == "activation"}
        rings = (
            frozenset().union(*map(variables.inside, tied)) & activations
            for tied in set(objective.rings.values())
        )
        kinds = (activations, set(self.free) - activations, self.free)
        together = {ring for ring in rings if len(ring) > 1} | {frozenset(kind) for kind in kinds}
        self.together = sorted(sorted(members) for members in together if members)

    def widths(self, state: State) -> Widths:
        """For `make_plan`."""
        found: dict[str, dict[str, int]] = {"activation": {}, "weight": {}}
        for number in self.free:
            variable = self.objective.variables.all[number]
            found[variable.kind] |= dict.fromkeys(variable.values, state[number])
        return Widths(**found)

    def cheapest(self, target: float) -> State:
        """The cheapest state found with a predicted error of at most `target`. BadPlan if there is
        none.
        """
        bound = max(target**2, 1e-300)
        widest = _Walk(self.objective, self.objective.variables.state(WIDEST, WIDEST))
        if widest.squared_error > bound:
            raise BadPlan(
                f"an error of {target:g} cannot be met: with the widest activations and weights "
                f"({WIDEST} bits) it is {math.sqrt(widest.squared_error):.3g}"
            )
        best, start = widest, widest.state
        guess = math.log10(widest.price / bound)
        low, high = guess - 4, guess + 4
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            walk = _Walk(self.objective, start)
            self.descend(walk, 10.0**middle)
            if walk.squared_error <= bound:
                best, high = (walk if walk.price < best.price else best), middle
            else:
                low = middle
            start = walk.state
        self.spend(best, bound)
        return best.state

    def descend(self, walk: _Walk, multiplier: float) -> None:
        """To a state that no move makes better, or near it after many sweeps."""
        for _ in range(SWEEPS):
            if not self._sweep(walk, multiplier):
                return

    def _sweep(self, walk: _Walk, multiplier: float) -> bool:
        """The best move of every neighbourhood; was there any?"""
        improved = False
        for moves in self.neighbourhoods(walk):
            best, gain = None, -1e-9 * walk.price
            for move in moves:
                price, error = walk.change(move)
                if (change := price + multiplier * error) < gain:
                    best, gain = move, change
            if best is not None:
                walk.make(best)
                improved = True
        return improved

    def spend(self, walk: _Walk, bound: float) -> None:
        """The move that saves most, as long as there is one within the bound."""
        while (best := self._saving(walk, bound)) is not None:
            walk.make(best)

    def _saving(self, walk: _Walk, bound: float) -> Move | None:
        best, gain = None, -1e-9 * walk.price
        for moves in self.neighbourhoods(walk):
            for move in moves:
                price, error = walk.change(move)
                if price < gain and walk.squared_error + error <= bound:
                    best, gain = move, price
        return best

    def neighbourhoods(self, walk: _Walk) -> Iterator[list[Move]]:
        """Moves by what they move: a variable to any width; a ring's tensors, all that are wider or
        narrower than a width to that; everything by a bit.
        """
        widths = range(NARROWEST, WIDEST + 1)
        for number in self.free:
            yield [{number: width} for width in widths if width != walk.state[number]]
        for members in self.together:
            yield list(_joint(walk.state, members))


def _joint(state: State, members: Iterable[int]) -> Iterator[Move]:
    members = list(members)
    for width in range(NARROWEST, WIDEST + 1):
        for limit in (min, max):
            if move := {n: width for n in members if limit(state[n], width) != state[n]}:
                yield move
    for step in (-1, 1):
        moved = {n: min(max(state[n] + step, NARROWEST), WIDEST) for n in members}
        if move := {n: width for n, width in moved.items() if width != state[n]}:
            yield move


class _Walk:
    """A state with the values of all terms at it, so that a move costs only the terms that it
    touches.
    """

    def __init__(self, objective: Objective, state: State) -> None:
        self.objective, self.state = objective, list(state)
        self.values = [term.evaluate(self.state) for term in objective.terms]
        self.price = sum(price for price, _ in self.values)
        self.squared_error = sum(error for _, error in self.values)

    def change(self, move: Move) -> tuple[float, float]:
        """By how much price and squared error would change."""
        old = {number: self.state[number] for number in move}
        for number, width in move.items():
            self.state[number] = width
        price = error = 0.0
        for term in self._touched(move):
            new, before = self.objective.terms[term].evaluate(self.state), self.values[term]
            price, error = price + new[0] - before[0], error + new[1] - before[1]
        for number, width in old.items():
            self.state[number] = width
        return price, error

    def make(self, move: Move) -> None:
        for number, width in move.items():
            self.state[number] = width
        for term in self._touched(move):
            self.values[term] = self.objective.terms[term].evaluate(self.state)
        self.price = sum(price for price, _ in self.values)
        self.squared_error = sum(error for _, error in self.values)

    def _touched(self, move: Move) -> Iterable[int]:
        if len(move) == 1:
            return self.objective.touched[next(iter(move))]
        return dict.fromkeys(term for number in move for term in self.objective.touched[number])
