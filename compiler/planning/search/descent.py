"""The search itself: the cheapest state of the variables whose squared error stays within a bound.

    minimise price(x)  subject to  squared_error(x) <= target^2

is bit allocation, rate against distortion, and solved by its Lagrangian (Shoham and Gersho, IEEE
Trans. ASSP 36(9), 1988): for a multiplier m, coordinate descent on `price + m * squared_error` over
all values of a variable at once (prices have steps, at every digit of a comparison for one), with
joint moves for tensors that share a ring; a bisection for m; and, into what is left of the bound,
the best moves one by one. A test holds the outcome against exhaustive search.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from moiety.compiler.planning.search.objective import Objective
from moiety.compiler.planning.search.terms import NARROWEST, WIDEST
from moiety.compiler.planning.search.variables import State
from moiety.compiler.planning.unit_choice import Widths
from moiety.protocols.errors import BadPlan

Move = Mapping[int, int]
"""New widths of some variables."""

SWEEPS = 30
BISECTIONS = 14


class Unreachable(BadPlan):
    """No state has so small an error as `target`; the least is `least`, that of `closest`."""

    def __init__(self, target: float, closest: _Walk) -> None:
        self.least, self.closest = math.sqrt(closest.squared_error), closest.state
        super().__init__(f"an error of {target:g} cannot be met: the least is {self.least:.3g}")


class Search:
    """Finds states of one objective, of widths from `narrowest` to `widest`. free: the variables
    that it moves; together: those that it also moves at once, of one ring or of one kind.
    """

    def __init__(
        self, objective: Objective, narrowest: int = NARROWEST, widest: int = WIDEST
    ) -> None:
        self.narrowest, self.widest = narrowest, widest
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

    @property
    def tried(self) -> range:
        """The widths that a variable can have."""
        return range(self.narrowest, self.widest + 1)

    def widths(self, state: State) -> Widths:
        """For `make_plan`."""
        found: dict[str, dict[str, int]] = {"activation": {}, "weight": {}}
        for number in self.free:
            variable = self.objective.variables.all[number]
            found[variable.kind] |= dict.fromkeys(variable.values, state[number])
        return Widths(**found, knots=self.objective.formats.widths.knots)

    def cheapest(self, target: float) -> State:
        """The cheapest state found with a predicted error of at most `target`. Unreachable if
        there is none.
        """
        bound = max(target**2, 1e-300)
        best = self._most_precise()
        if best.squared_error > bound:
            raise Unreachable(target, best)
        start = best.state
        guess = math.log10(best.price / bound)
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

    def _most_precise(self) -> _Walk:
        """Of the states of one width everywhere, that of the least error; the widest as a rule, but
        a layer whose ring is full has the less left for its weights, the wider its operand is.
        """
        state = self.objective.variables.state
        walks = [_Walk(self.objective, state(width, width)) for width in self.tried]
        return min(walks, key=lambda walk: walk.squared_error)

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
        for number in self.free:
            yield [{number: width} for width in self.tried if width != walk.state[number]]
        for members in self.together:
            yield list(self._joint(walk.state, members))

    def _joint(self, state: State, members: Sequence[int]) -> Iterator[Move]:
        for width in self.tried:
            for limit in (min, max):
                if move := {n: width for n in members if limit(state[n], width) != state[n]}:
                    yield move
        for step in (-1, 1):
            moved = {n: min(max(state[n] + step, self.narrowest), self.widest) for n in members}
            if move := {n: width for n, width in moved.items() if width != state[n]}:
                yield move


class _Walk:
    """A state with the values of all terms at it, so that a move costs only the terms
    that it touches.
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
