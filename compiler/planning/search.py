"""The search for widths: the cheapest plan whose predicted error at
the results stays within a bound.

Variables are the activation bits of every group of tied tensors (a residual sum's operands, for
one) and the weight bits of every linear layer. Rings follow from them: in how many bits something
is compared, how wide a concatenation's ring is, how much a truncation drops, how wide a layer's
ring is, what its RLWE parameters must hold. Price and squared error are sums of terms in few
variables each (landscape), so

    minimise price(x)  subject to  squared_error(x) <= target^2

is solved by its Lagrangian: for a multiplier m, coordinate descent on `price + m * squared_error`
over all values of a variable at once (prices have steps, at every digit of a comparison for one),
with joint moves for tensors that share a ring; a bisection for m; and, into what is left of the
bound, the best moves one by one. A test holds the outcome against exhaustive search.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from moiety.compiler.ir.graph import Graph
from moiety.compiler.planning.error import predicted_error
from moiety.compiler.planning.landscape import NARROWEST, WIDEST, Landscape, State
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import Plan, make_plan
from moiety.compiler.planning.ranges import Progress, Ranges
from moiety.compiler.planning.units import Widths, all_output_layers
from moiety.protocols.errors import BadPlan

USUAL_ERROR = 1.25e-3
"""Relative error of `moiety compile` without any option: docs/decisions/0003-default-plan.md."""

Move = Mapping[int, int]
"""New widths of some variables."""

SWEEPS = 30
BISECTIONS = 14
CORRECTIONS = 4
"""Rounds of making up for what the landscape leaves out (coarser units, frozen gates)."""


def searched_plan(
    graph: Graph, ranges: Ranges, options: PlanOptions, progress: Progress | None = None
) -> Plan:
    """The cheapest plan found whose predicted error, root mean square, stays
    within the bound of the options.

    BadPlan if even the widest widths miss it; BadInput if the ranges hold no responses.
    """
    uniform = make_plan(graph, ranges, options)
    search = Search(Landscape(uniform))
    wanted = error_bound(graph, ranges, options)
    try:
        return _meeting(search, wanted, options, ranges, graph, progress)
    except BadPlan:
        if options.target_error is not None:
            raise
    return _meeting(search, predicted_error(uniform), options, ranges, graph, progress)


def _meeting(
    search: Search,
    target: float,
    options: PlanOptions,
    ranges: Ranges,
    graph: Graph,
    progress: Progress | None,
) -> Plan:
    aim = error = target
    for attempt in range(CORRECTIONS):
        if progress is not None:
            progress("searching widths", attempt, CORRECTIONS)
        plan = make_plan(graph, ranges, options, search.widths(search.cheapest(aim)))
        error = predicted_error(plan)
        if error <= target:
            return plan
        aim *= 0.99 * target / error
    raise BadPlan(
        f"no plan with an error of {target:g} was found; the last tried has {error:.3g}. Allow more (--max-error), or "
        "give the widths"
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
    spans = [ranges.high[layer] - ranges.low[layer] for layer in all_output_layers(graph)]
    return options.relative_error * float(np.sqrt(np.mean(np.concatenate(spans) ** 2)))


class Search:
    """Finds states of one landscape."""

    def __init__(self, landscape: Landscape) -> None:
        self.landscape = landscape
        self.free = [
            number for number, variable in enumerate(landscape.variables) if not variable.fixed
        ]
        activations = [n for n in self.free if landscape.variables[n].kind == "activation"]
        weights = [n for n in self.free if landscape.variables[n].kind == "weight"]
        rings = {
            members
            for tied in set(landscape.rings.values())
            if len(members := frozenset().union(*map(landscape.inside, tied)) & set(activations))
            > 1
        }
        everything = {frozenset(activations), frozenset(weights), frozenset(self.free)} - {
            frozenset()
        }
        self.together = sorted(map(sorted, rings | everything))

    def widths(self, state: State) -> Widths:
        """For `make_plan`."""
        found: dict[str, dict[str, int]] = {"activation": {}, "weight": {}}
        for number in self.free:
            variable = self.landscape.variables[number]
            found[variable.kind] |= dict.fromkeys(variable.values, state[number])
        return Widths(**found)

    def cheapest(self, target: float) -> State:
        """The cheapest state found with a predicted error of at most
        `target`. BadPlan if there is none.
        """
        bound = max(target**2, 1e-300)
        widest = _Walk(self.landscape, self.landscape.state(WIDEST, WIDEST))
        if widest.squared_error > bound:
            raise BadPlan(
                f"an error of {target:g} cannot be met: with the widest activations and weights ({WIDEST} bits) it is "
                f"{math.sqrt(widest.squared_error):.3g}"
            )
        best, low, high = (
            widest,
            math.log10(widest.price / bound) - 4,
            math.log10(widest.price / bound) + 4,
        )
        start = widest.state
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            walk = _Walk(self.landscape, start)
            self.descend(walk, 10.0**middle)
            if walk.squared_error <= bound:
                best, high = (walk if walk.price < best.price else best), middle
            else:
                low = middle
            start = walk.state
        self.spend(best, bound)
        return best.state

    def front(self, count: int) -> list[State]:
        """States along the whole front of price against error, cheap to accurate."""
        walk = _Walk(self.landscape, self.landscape.state(WIDEST, WIDEST))
        middle = math.log10(walk.price) + 3
        found = []
        for number in range(count):
            self.descend(walk, 10.0 ** (middle + 3.0 * (number / max(count - 1, 1) - 0.5)))
            found.append(list(walk.state))
        return found

    def descend(self, walk: _Walk, multiplier: float) -> None:
        """To a state that no move makes better."""
        for _ in range(SWEEPS):
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
            if not improved:
                return

    def spend(self, walk: _Walk, bound: float) -> None:
        """The move that saves most, as long as there is one within the bound."""
        while True:
            best, gain = None, -1e-9 * walk.price
            for moves in self.neighbourhoods(walk):
                for move in moves:
                    price, error = walk.change(move)
                    if price < gain and walk.squared_error + error <= bound:
                        best, gain = move, price
            if best is None:
                return
            walk.make(best)

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
    """A state with the values of all terms at it, so that a move costs
    only the terms that it touches.
    """

    def __init__(self, landscape: Landscape, state: State) -> None:
        self.landscape, self.state = landscape, list(state)
        self.values = [term.evaluate(self.state) for term in landscape.terms]
        self.price = sum(price for price, _ in self.values)
        self.squared_error = sum(error for _, error in self.values)

    def change(self, move: Move) -> tuple[float, float]:
        """By how much price and squared error would change."""
        old = {number: self.state[number] for number in move}
        for number, width in move.items():
            self.state[number] = width
        price = error = 0.0
        for term in self._touched(move):
            new, before = self.landscape.terms[term].evaluate(self.state), self.values[term]
            price, error = price + new[0] - before[0], error + new[1] - before[1]
        for number, width in old.items():
            self.state[number] = width
        return price, error

    def make(self, move: Move) -> None:
        for number, width in move.items():
            self.state[number] = width
        for term in self._touched(move):
            self.values[term] = self.landscape.terms[term].evaluate(self.state)
        self.price = sum(price for price, _ in self.values)
        self.squared_error = sum(error for _, error in self.values)

    def _touched(self, move: Move) -> Iterable[int]:
        if len(move) == 1:
            return self.landscape.touched[next(iter(move))]
        return dict.fromkeys(term for number in move for term in self.landscape.touched[number])
