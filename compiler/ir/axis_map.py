"""Fixed linear maps along one axis: resizing, sums, running sums. Their weights are the
architecture's and public.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import F64, I64

MAX_DIVISOR = 1024
"""Largest common divisor of a map's weights. Weights that have a larger one, or none, are rounded
to multiples of `1 / MAX_DIVISOR`.
"""

_EXACT = 2.0**-16
"""Weights this close to fractions are those fractions: their formulas are computed in float32."""


@dataclass(frozen=True)
class AxisMap:
    """A matrix of few entries per row: `y[o] = sum_k taps[o][k] * x[starts[o] + k]`, of an axis of
    `size` elements. Every row has as many taps as the longest needs.
    """

    size: int
    starts: tuple[int, ...]
    taps: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, matrix: npt.ArrayLike) -> AxisMap:
        """The map of a matrix `(results, size)`."""
        full = np.asarray(matrix, np.float64)
        size, read = full.shape[1], full != 0
        first = np.where(read.any(axis=1), read.argmax(axis=1), 0)
        last = np.where(read.any(axis=1), size - 1 - read[:, ::-1].argmax(axis=1), 0)
        width = int((last - first).max()) + 1
        starts = np.minimum(first, size - width)
        taps = np.take_along_axis(full, starts[:, None] + np.arange(width), axis=1)
        return cls(size, tuple(starts.tolist()), tuple(map(tuple, taps.tolist())))

    @property
    def results(self) -> int:
        """Elements that the axis has afterwards."""
        return len(self.starts)

    @cached_property
    def matrix(self) -> F64:
        """`(results, size)`."""
        full = np.zeros((self.results, self.size))
        columns = np.array(self.starts)[:, None] + np.arange(len(self.taps[0]))
        np.put_along_axis(full, columns, np.array(self.taps), axis=1)
        return full

    @cached_property
    def divisor(self) -> int:
        """What the integer map is larger by: the smallest number that makes all weights integers,
        or MAX_DIVISOR.
        """
        taps = np.unique(np.array(self.taps))
        for divisor in range(1, MAX_DIVISOR):
            if np.abs(taps - np.rint(taps * divisor) / divisor).max() < _EXACT:
                return divisor
        return MAX_DIVISOR

    @cached_property
    def integers(self) -> I64:
        """The taps times `divisor`, `(results, width)`. Those of a row that are rounded have the
        sum that the row has, so that a constant image stays one: of all rounded down, the ones
        that lost most go up.
        """
        scaled = np.array(self.taps) * self.divisor
        down = np.floor(scaled + _EXACT)
        missing = np.rint(scaled.sum(axis=1)) - down.sum(axis=1)
        by_loss = np.argsort(np.argsort(down - scaled, axis=1, kind="stable"), axis=1)
        return np.asarray(down + (by_loss < missing[:, None]), np.int64)

    def __str__(self) -> str:
        return f"{self.size}->{self.results}/{self.divisor}"
