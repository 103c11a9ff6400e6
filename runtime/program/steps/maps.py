"""Linear maps along an axis, with public integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import I64, U64
from moiety.runtime.program.steps.base import Claim, LocalStep, Shape
from moiety.runtime.program.steps.evaluation import Evaluation

__all__ = ["LinearMap"]

MAX_ROW = 1 << 16
"""Largest sum of a row's magnitudes: what the map may enlarge a value by."""


class LinearMap(LocalStep, frozen=True, tag="linearmap", kw_only=True):
    """`y[o] = sum_k taps[o][k] * x[starts[o] + k]` along `axis`, modulo 2^bits; what divides the
    integers is in the next layer's weights.
    """

    axis: int
    starts: tuple[int, ...]
    taps: tuple[tuple[int, ...], ...]

    SUMS_ONLY: ClassVar[bool] = True

    def result_shape(self, claim: Claim) -> Shape:
        x, axis = claim.operands[0].shape, self.axis
        claim.require(0 <= axis < len(x), f"axis {axis} is not one of {len(x)}")
        rows = len(self.starts)
        claim.require(
            0 < rows == len(self.taps) and len({len(row) for row in self.taps}) == 1,
            "there is not one row of taps, all of one length, for each start",
        )
        width = len(self.taps[0])
        claim.require(
            width >= 1 and min(self.starts) >= 0 and max(self.starts) + width <= x[axis],
            f"rows reach beyond the {x[axis]} elements of axis {axis}",
        )
        claim.require(
            all(sum(map(abs, row)) <= MAX_ROW for row in self.taps),
            f"a row's weights sum up to more than {MAX_ROW}",
        )
        return (*x[:axis], rows, *x[axis + 1 :])

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        x, width = np.moveaxis(operands[0], self.axis, -1), len(self.taps[0])
        rows = [
            x[..., start : start + width] @ np.array(row, np.int64)
            for start, row in zip(self.starts, self.taps, strict=True)
        ]
        return at.fit(np.stack(rows, axis=self.axis), self.bits)

    def on_shares(self, operands: Sequence[U64]) -> U64:
        """Slice after slice along the axis, each with the few that it is made of."""
        axis = 1 + self.axis
        slices = np.ascontiguousarray(np.moveaxis(operands[0], axis, 0))
        total = np.zeros((len(self.starts), *slices.shape[1:]), np.uint64)
        for result, start, row in zip(total, self.starts, self.taps, strict=True):
            for place, tap in enumerate(row, start):
                if tap:
                    result += slices[place] * np.int64(tap).view(np.uint64)
        return ring.reduce(np.ascontiguousarray(np.moveaxis(total, 0, axis)), self.bits)

    def details(self) -> str:
        return f"axis {self.axis}, {len(self.taps[0])} taps"
