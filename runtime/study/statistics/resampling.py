"""The bootstrap: patients drawn with replacement, each with all their images, since images of one
patient are not independent. Percentile intervals; the same seed gives the same resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import BOOL, F64, I64
from moiety.runtime.study.statistics.analysis import Interval
from moiety.runtime.study.table import Names

AT_ONCE = 1 << 21
"""Numbers held at a time."""
LEAST_UNITS = 10
"""Patients or images below which no interval is given: of one patient all resamples are the same,
and an interval of them would be a point.
"""
LEAST_USABLE = 0.9
"""Share of resamples with images of both classes below which no interval is given."""


@dataclass(frozen=True)
class Bootstrap:
    """`resamples` of the units named in an array, drawn from `seed`."""

    resamples: int
    seed: int

    def of(self, units: Names, statistic: Callable[[I64], F64]) -> F64:
        """The statistic of all resamples. It is given how often each image was drawn,
        `(some, images)`, and returns `(some, ...)`.
        """
        return np.concatenate([statistic(drawn) for drawn in self._draws(units)])

    def _draws(self, units: Names) -> Iterator[I64]:
        rng = np.random.default_rng(self.seed)
        names, unit_of = np.unique(units, return_inverse=True)
        some = max(1, AT_ONCE // units.size)
        for start in range(0, max(1, self.resamples), some):
            count = min(some, self.resamples - start)
            drawn = rng.multinomial(names.size, np.full(names.size, 1 / names.size), count)
            yield drawn[:, unit_of]


def interval(units: Names, values: F64) -> Interval | None:
    """`percentile` of what resamples of `units` gave; None where there are too few of these."""
    return percentile(values) if len(np.unique(units)) >= LEAST_UNITS else None


def percentile(values: F64) -> Interval | None:
    """The middle 95 %; of NaN, that resample had none. None where too few have one, or there are
    no resamples.
    """
    known = values[np.isfinite(values)]
    if not known.size or known.size < LEAST_USABLE * values.size:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(low=float(low), high=float(high))


def weighted_areas(scores: F64, positive: BOOL, drawn: I64) -> F64:
    """AUROC of `scores`, `(images,)`, in each resample, `(some,)`; NaN where it has one class."""
    order = np.argsort(scores, kind="stable")
    ordered, positive, drawn = scores[order], positive[order], drawn[:, order]
    positives, negatives = drawn * positive, drawn * ~positive
    first = np.searchsorted(ordered, ordered, side="left")
    after = np.searchsorted(ordered, ordered, side="right")
    until: npt.NDArray[np.int64] = np.zeros((len(drawn), scores.size + 1), np.int64)
    np.cumsum(negatives, axis=1, out=until[:, 1:])
    twice = (positives * (until[:, first] + until[:, after])).sum(axis=1)
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return np.divide(twice / 2, pairs, out=np.full(len(drawn), np.nan), where=pairs > 0)
