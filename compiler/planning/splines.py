"""Splines: a smooth activation as a sum of shifted ReLUs, its knots placed by error.

    f(x)  ~  y + m * min(x - t_0, 0) + sum_k d_k * relu(x - t_k)

continuous and straight between knots t_k. Beyond the outer ones it keeps the slope that f has far
outside, so that values beyond the calibrated range go on as they should: with SiLU 0 and 1.

Knots minimise the squared error in the mean over the operand's density: the calibrated values of
each channel as a normal distribution within its range, and a part uniform over the whole range, so
that no place is left without a knot because it was rare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from moiety.compiler.ir import formulas
from moiety.compiler.ir.formulas import Formula
from moiety.protocols.arrays import F64, I64
from moiety.protocols.errors import BadModel

KNOTS: Final = (4, 6, 8, 12, 16, 24, 31, 47, 63)
"""Numbers of knots that are tried; with the one that a slope on the left takes, 32 thresholds share
one comparison.
"""

UNIFORM_PART = 0.1
"""Of the density that is uniform over the range."""

GRID = 1025
"""Points at which a function is compared with its fit."""

CANDIDATES = 161
"""Points among which knots are chosen: half of them evenly spaced in the range, half of them where
straight pieces fit worst.
"""

TAIL = 5.0
"""Deviations from its channel's mean up to which a value is expected, however few were seen."""

FAR = 64.0
"""How many ranges outside the range the slopes are taken that the fit has beyond its knots."""


@dataclass(frozen=True)
class Density:
    """Where the values of an operand lie: range `low` to `high`, and by channel the mean, the
    deviation and the range of its own, `(C,)` each as a tuple.
    """

    low: float
    high: float
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    @classmethod
    def of(cls, low: F64, high: F64, mean: F64, square: F64) -> Density:
        """From the calibrated statistics of each channel."""
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        wide = np.maximum(deviation, 1e-3 * max(float((high - low).max()), 1e-6))
        return cls(float(low.min()), float(high.max()), tuple(mean), tuple(wide))

    @property
    def span(self) -> float:
        return self.high - self.low

    def with_tails(self) -> tuple[Density, Density]:
        """With a longer range below, and above: as far as the channels' deviations let values come,
        and at most by half of it, which any ring has room for.
        """
        means, deviations = np.array(self.means), np.array(self.deviations)
        low = max(float((means - TAIL * deviations).min()), self.low - self.span / 2)
        high = min(float((means + TAIL * deviations).max()), self.high + self.span / 2)
        return replace(self, low=min(low, self.low)), replace(self, high=max(high, self.high))

    def on(self, grid: F64) -> F64:
        """Weights of points of the range, which sum to 1."""
        means, deviations = np.array(self.means), np.array(self.deviations)
        scaled = (grid[:, None] - means) / deviations
        normal = (np.exp(-0.5 * np.minimum(scaled**2, 1400.0)) / deviations).sum(axis=1)
        total = max(float(normal.sum()), 1e-300)
        return np.asarray((1 - UNIFORM_PART) * normal / total + UNIFORM_PART / len(grid))


FIXED: Final = Density(-8.0, 8.0, (0.0,), (2.0,))
"""What is taken where nothing of the calibration may be told: inputs of activations behind batch
norms are about as large.
"""


@dataclass(frozen=True, eq=False)
class Spline:
    """knots: `(K,)`, ascending. slopes: `(K + 1,)`, of the pieces from left to right. start: its
    value at the first knot. rms, largest: its error over the density and over the range. spread:
    standard deviation of what it is fitted to, over the density.
    """

    knots: F64
    slopes: F64
    start: float
    rms: float = 0.0
    largest: float = 0.0
    spread: float = 0.0

    @property
    def ordinates(self) -> F64:
        """Its values at the knots."""
        rises = self.slopes[1:-1] * np.diff(self.knots)
        return np.asarray(self.start + np.concatenate([[0.0], np.cumsum(rises)]))

    @property
    def gates(self) -> int:
        """ReLUs in its sum."""
        return len(self.knots) + (self.slopes[0] != 0)

    def __call__(self, x: F64) -> F64:
        inner = np.interp(x, self.knots, self.ordinates)
        left = self.slopes[0] * np.minimum(x - self.knots[0], 0.0)
        return np.asarray(inner + left + self.slopes[-1] * np.maximum(x - self.knots[-1], 0.0))


@dataclass(frozen=True, eq=False)
class _Problem:
    """A function on a grid of its range. outer: the slopes beyond the knots. places: indices of the
    grid among which knots are chosen. pieces: squared error of the best line between any two of
    them. left, right: of the rays of the outer slopes that end there.
    All of them for values of a size of about 1.
    """

    grid: F64
    values: F64
    weights: F64
    outer: tuple[float, float]
    places: I64
    pieces: F64
    left: F64
    right: F64


EXACT: Final = 1e-6
"""The error, as a part of the spread of its values, that a fit is taken to have at least: fits are
compared by their ratio, and of one that meets its function at all points of the grid (ELU, of
values that are seldom negative) that would say what no value between them does.
"""

ROUNDING: Final = 1e-12
"""The same, as a part of the values themselves: what float64 leaves."""


@lru_cache(maxsize=1 << 12)
def fitted(formula: Formula, density: Density, count: int, cell: float = 0.0) -> Spline:
    """The best spline found of `count` knots, all of them multiples of `cell` where one is given;
    of fewer knots where there are no more multiples. BadModel where the function is not finite
    somewhere in the range.
    """
    on = _problem(formula, density, cell)
    knots = on.grid[_best_knots(on, count)]
    ordinates = _least_squares(on, knots)
    inner = np.diff(ordinates) / np.diff(knots)
    made = Spline(knots, np.array([on.outer[0], *inner, on.outer[1]]), float(ordinates[0]))
    error = made(on.grid) - on.values
    rms, largest = float(np.sqrt(on.weights @ error**2)), float(np.abs(error).max())
    spread = float(np.sqrt(on.weights @ (on.values - on.weights @ on.values) ** 2))
    rms += EXACT * spread + ROUNDING * float(np.abs(on.values).max())
    return replace(made, rms=rms, largest=largest, spread=spread)


@lru_cache(maxsize=1 << 10)
def _problem(formula: Formula, density: Density, cell: float) -> _Problem:
    grid, places = _points(density, cell)
    low, high = float(grid[0]), float(grid[-1])
    values = formulas.evaluate(formula, grid)
    if not formulas.is_defined(formula, grid):
        raise BadModel(
            f"{formulas.describe(formula)} has no finite value somewhere between {low:.4g} and "
            f"{high:.4g}, where its operand lies"
        )
    weights, outer = density.on(grid), _outer_slopes(formula, grid)
    if places is None:
        places = _candidates(values, weights)
    size = max(float(np.abs(values).max()), (high - low) * max(map(abs, outer)), 1e-9)
    pieces = _piece_errors(grid, values / size, weights, places)
    rays = (_spreads((values - slope * (grid - low)) / size, weights, places) for slope in outer)
    (left, _), (_, right) = rays
    return _Problem(grid, values, weights, outer, places, pieces, left, right)


def is_defined_on(formula: Formula, density: Density) -> bool:
    """Is the function finite all over the density's range?"""
    grid, _ = _points(density, 0.0)
    return formulas.is_defined(formula, grid)


def _points(density: Density, cell: float) -> tuple[F64, I64 | None]:
    """Points of the range, and which of them are multiples of `cell`, if there is one."""
    low, high = density.low, density.low + max(density.span, 1e-6)
    if not cell:
        return np.linspace(low, high, GRID), None
    first, last = math.floor(low / cell), math.ceil(high / cell)
    finer = max(1, math.ceil((GRID - 1) / (last - first)))
    steps: I64 = np.arange(first * finer, last * finer + 1)
    return np.asarray(steps * (cell / finer)), np.flatnonzero(steps % finer == 0).astype(np.int64)


def _outer_slopes(formula: Formula, grid: F64) -> tuple[float, float]:
    """Far outside the range, if the function has a slope there that is not larger than any inside;
    else at the end of the range.
    """
    span, ends = grid[-1] - grid[0], grid[[0, -1]]
    there = ends + np.array([-FAR, FAR]) * max(span, 1.0)
    far = formulas.derivative(formula, there)
    near = formulas.derivative(formula, ends)
    steepest = np.abs(np.diff(formulas.evaluate(formula, grid)) / np.diff(grid)).max()
    defined = np.isfinite(formulas.evaluate(formula, there)) & np.isfinite(far)
    usable = defined & (np.abs(far) <= 1.01 * steepest + 1e-9)
    left, right = np.where(usable, far, near).tolist()
    return left, right


def _candidates(values: F64, weights: F64) -> I64:
    """Indices of the grid, ascending: half evenly, half by the density of knots that is best in
    the limit of many, the fifth root of weight times squared curvature.
    """
    curvature = np.abs(np.diff(values, 2, prepend=values[0], append=values[-1]))
    curvature[[0, -1]] = 0.0
    wanted = np.cumsum((weights * curvature**2) ** 0.2 + 1e-12)
    levels = np.linspace(0, wanted[-1], CANDIDATES // 2)
    dense = np.minimum(np.searchsorted(wanted, levels), GRID - 1)
    even = np.rint(np.linspace(0, GRID - 1, CANDIDATES // 2))
    return np.unique(np.concatenate([dense, even])).astype(np.int64)


def _best_knots(on: _Problem, count: int) -> I64:
    """The `count` candidates between which straight pieces, each fitted by itself, have the least
    squared error: by dynamic programming over the last knot.
    """
    best, steps = on.left, []
    for _ in range(min(count, len(on.places)) - 1):
        through = best[:, None] + on.pieces
        steps.append(np.argmin(through, axis=0))
        best = np.min(through, axis=0)
    chosen = [int(np.argmin(best + on.right))]
    for step in reversed(steps):
        chosen.append(int(step[chosen[-1]]))
    return on.places[chosen[::-1]]


def _piece_errors(grid: F64, values: F64, weights: F64, places: I64) -> F64:
    """Squared error of the best line between any two candidates; infinite where the second is not
    after the first.
    """
    x = (grid - grid[0]) / (grid[-1] - grid[0])
    y = values - values.mean()
    n, sx, sy, sxx, sxy, syy = (
        _between(moment * weights, places) for moment in (x * 0 + 1, x, y, x * x, x * y, y * y)
    )
    n = np.where(n > 0, n, 1.0)
    sxx, sxy, syy = sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n
    steep = sxx > 1e-14 * n
    explained = np.where(steep, sxy**2 / np.where(steep, sxx, 1.0), 0.0)
    ascending = places[None, :] > places[:, None]
    return np.where(ascending, np.maximum(syy - explained, 0.0), np.inf)


def _between(moments: F64, places: I64) -> F64:
    """Sums from each place, it included, to each other one."""
    running = np.concatenate([[0.0], np.cumsum(moments)])
    return np.asarray(running[places + 1][None, :] - running[places][:, None])


def _spreads(rest: F64, weights: F64, places: I64) -> tuple[F64, F64]:
    """Weighted squared deviations of `rest` from its mean: up to each place, and from there on."""
    centred = rest - rest.mean()
    sums = [
        np.concatenate([[0.0], np.cumsum(moment * weights)])
        for moment in (np.ones_like(rest), centred, centred**2)
    ]
    below, above = [s[places + 1] for s in sums], [s[-1] - s[places] for s in sums]
    left, right = (
        np.maximum(yy - y**2 / np.where(n > 0, n, 1.0), 0.0) for n, y, yy in (below, above)
    )
    return left, right


def _least_squares(on: _Problem, knots: F64) -> F64:
    """The values at the knots of the continuous function with the least squared error."""
    known = on.outer[0] * np.minimum(on.grid - knots[0], 0.0)
    known += on.outer[1] * np.maximum(on.grid - knots[-1], 0.0)
    hats = np.stack([np.interp(on.grid, knots, unit) for unit in np.eye(len(knots))], axis=1)
    root = np.sqrt(on.weights)
    found, *_ = np.linalg.lstsq(hats * root[:, None], (on.values - known) * root, rcond=None)
    return np.asarray(found)
