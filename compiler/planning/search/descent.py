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
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial

import numpy as np

from moiety.compiler.planning.search.objective import Objective
from moiety.compiler.planning.search.terms import NARROWEST, WIDEST
from moiety.compiler.planning.search.variables import State
from moiety.compiler.planning.unit_choice import Widths
from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadPlan

Move = Mapping[int, int]
"""New widths of some variables."""

Rule = Callable[[int], int]
"""The new width of a variable, by its old one."""

SWEEPS = 30
BISECTIONS, DECADES = 14, 4.0
"""Of the multiplier, and how far from its first guess it is looked for."""

BISECTIONS_AGAIN, DECADES_AGAIN = 9, 0.25
NEARBY = 2.0
"""The same where the multiplier of a bound is known from which it differs by this factor at most.
"""


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
        self._known: tuple[float, float] | None = None  # a bound and its multiplier
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
        walk = _Walk(self.objective, self._most_precise)
        if walk.squared_error > bound:
            raise Unreachable(target, walk)
        best, price = tuple(walk.state), walk.price
        around = self.neighbourhoods()
        low, high, bisections = self._bracket(bound, price / bound)
        for _ in range(bisections):
            middle = (low + high) / 2
            self.descend(walk, around, 10.0**middle)
            if walk.squared_error > bound:
                low = middle
                continue
            high = middle
            if walk.price < price:
                best, price = tuple(walk.state), walk.price
        self._known = bound, high
        walk.make({n: width for n, width in enumerate(best) if width != walk.state[n]})
        self.spend(walk, around, bound)
        return walk.state

    @property
    def least_error(self) -> float:
        """The least that is predicted of any state tried."""
        return math.sqrt(_Walk(self.objective, self._most_precise).squared_error)

    @cached_property
    def _most_precise(self) -> State:
        """Of the states of one width everywhere, that of the least error; the widest as a rule, but
        a layer whose ring is full has the less left for its weights, the wider its operand is.
        """
        state = self.objective.variables.state
        walks = [_Walk(self.objective, state(width, width)) for width in self.tried]
        return min(walks, key=lambda walk: walk.squared_error).state

    def _bracket(self, bound: float, guess: float) -> tuple[float, float, int]:
        """Least and largest log10 of the multiplier, and how often to halve what lies between. It
        is the slope of the price, which is about linear in bits, so about inverse to the bound.
        """
        if self._known is not None and 1 / NEARBY < bound / self._known[0] < NEARBY:
            known, multiplier = self._known
            near = multiplier + math.log10(known / bound)
            return near - DECADES_AGAIN, near + DECADES_AGAIN, BISECTIONS_AGAIN
        near = math.log10(guess)
        return near - DECADES, near + DECADES, BISECTIONS

    def descend(self, walk: _Walk, around: Sequence[_Neighbourhood], multiplier: float) -> None:
        """To a state that no move makes better, or near it after many sweeps."""
        for _ in range(SWEEPS):
            if not _sweep(walk, around, multiplier):
                return

    def spend(self, walk: _Walk, around: Sequence[_Neighbourhood], bound: float) -> None:
        """The move that saves most, as long as there is one within the bound."""
        while (best := _saving(walk, around, bound)) is not None:
            walk.make(best)

    def neighbourhoods(self) -> list[_Neighbourhood]:
        """Moves by what they move: a variable to any width; a ring's tensors, all that are wider or
        narrower than a width to that; everything by a bit.
        """
        to_widths: list[Rule] = [partial(_constant, width) for width in self.tried]
        jointly: list[Rule] = [
            partial(limit, width) for width in self.tried for limit in (min, max)
        ]
        jointly += [partial(self._stepped, step) for step in (-1, 1)]
        single = [_Neighbourhood(self.objective, [number], to_widths) for number in self.free]
        return single + [_Neighbourhood(self.objective, tied, jointly) for tied in self.together]

    def _stepped(self, step: int, width: int) -> int:
        return min(max(width + step, self.narrowest), self.widest)


def _constant(width: int, _: int) -> int:
    return width


def _sweep(walk: _Walk, around: Sequence[_Neighbourhood], multiplier: float) -> bool:
    """The best move of every neighbourhood; was there any?"""
    improved = False
    for neighbourhood in around:
        price, error = neighbourhood.changes(walk)
        gain = price + multiplier * error
        best = int(gain.argmin())
        if gain[best] < -1e-9 * walk.price:
            walk.make(neighbourhood.move(walk.state, best))
            improved = True
    return improved


def _saving(walk: _Walk, around: Sequence[_Neighbourhood], bound: float) -> Move | None:
    best, least = None, -1e-9 * walk.price
    for neighbourhood in around:
        price, error = neighbourhood.changes(walk)
        saved = np.where(walk.squared_error + error <= bound, price, math.inf)
        chosen = int(saved.argmin())
        if saved[chosen] < least:
            best, least = neighbourhood.move(walk.state, chosen), float(saved[chosen])
    return best


class _Walk:
    """A state with the values of all terms at it. version: by term, how many moves changed a
    width that it depends on.
    """

    def __init__(self, objective: Objective, state: State) -> None:
        self.objective, self.state = objective, list(state)
        self.values = [term.evaluate(self.state) for term in objective.terms]
        self.version = np.zeros(len(self.values), np.int64)
        self._add_up()

    def change(self, move: Move, terms: Sequence[int]) -> F64:
        """By how much price and squared error of these terms would change, `(2, terms)`."""
        if not move:
            return np.zeros((2, len(terms)))
        state, known = list(self.state), self.objective.terms
        for number, width in move.items():
            state[number] = width
        after = [known[term].evaluate(state) for term in terms]
        return np.array(after).T - np.array([self.values[term] for term in terms]).T

    def make(self, move: Move) -> None:
        for number, width in move.items():
            self.state[number] = width
        for term in self.objective.touched_by(move):
            self.values[term] = self.objective.terms[term].evaluate(self.state)
            self.version[term] += 1
        self._add_up()

    def _add_up(self) -> None:
        self.price = sum(price for price, _ in self.values)
        self.squared_error = sum(error for _, error in self.values)


class _Neighbourhood:
    """The moves of some variables by each of some rules, and what each would change. Kept by rule
    and term, and found again only for terms whose widths have moved since: a sweep near the end
    touches few.
    """

    def __init__(self, objective: Objective, members: Sequence[int], rules: Sequence[Rule]) -> None:
        self.members, self.rules = members, rules
        self.terms = np.array(objective.touched_by(members), np.int64)
        self._seen = np.full(len(self.terms), -1)
        self._changes = np.zeros((2, len(rules), len(self.terms)))

    def move(self, state: State, rule: int) -> Move:
        change = self.rules[rule]
        return {n: width for n in self.members if (width := change(state[n])) != state[n]}

    def changes(self, walk: _Walk) -> tuple[F64, F64]:
        """By how much each rule would change price and squared error."""
        stale = np.flatnonzero(self._seen != walk.version[self.terms])
        if len(stale):
            terms = self.terms[stale]
            self._seen[stale] = walk.version[terms]
            for rule in range(len(self.rules)):
                self._changes[:, rule, stale] = walk.change(
                    self.move(walk.state, rule), terms.tolist()
                )
        price, error = self._changes.sum(axis=2)
        return price, error
