"""Maxima and sums over windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import I64, U64
from moiety.runtime.program.steps.base import Claim, LocalStep, Shape, Step
from moiety.runtime.program.steps.evaluation import Evaluation

__all__ = ["MaxPool", "SumPool"]


class MaxPool(Step, frozen=True, tag="maxpool", kw_only=True):
    """Maximum over windows; every operand must lie in `[-2^(bits-2), 2^(bits-2))` (one headroom
    bit); padding counts as -2^(bits-2).
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]

    def result_shape(self, claim: Claim) -> Shape:
        return _pooled_shape(self, claim)

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        x, limit = operands[0], 1 << (self.bits - 2)
        at.count_headroom(x, self.bits)
        top, left, bottom, right = self.pads
        padded = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=-limit)
        for axis in (2, 1):
            padded = np.maximum.reduce(_taps(self, padded, axis))
        return padded

    def details(self) -> str:
        return _windows(self)


class SumPool(LocalStep, frozen=True, tag="sumpool", kw_only=True):
    """Sum over windows modulo 2^bits (the division is in the next layer's weights); padding
    counts as 0.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]

    SUMS_ONLY: ClassVar[bool] = True

    def result_shape(self, claim: Claim) -> Shape:
        return _pooled_shape(self, claim)

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        top, left, bottom, right = self.pads
        total = np.pad(operands[0], ((0, 0), (top, bottom), (left, right)))
        for axis in (1, 2):
            total = np.add.reduce(_taps(self, total, axis))
        return at.fit(total, self.bits)

    def on_shares(self, operands: Sequence[U64]) -> U64:
        """Rows, then columns: kh + kw additions per element rather than kh * kw."""
        x = operands[0]
        top, left, bottom, right = self.pads
        planes = x.reshape(-1, *x.shape[2:])
        padded = np.pad(planes, ((0, 0), (top, bottom), (left, right)))
        _, height, width = self.shape
        (kh, kw), (sy, sx) = self.kernel, self.strides
        rows = np.zeros((len(planes), height, padded.shape[2]), np.uint64)
        for i in range(kh):
            rows += padded[:, i : i + sy * (height - 1) + 1 : sy]
        total = np.zeros((len(planes), height, width), np.uint64)
        for j in range(kw):
            total += rows[:, :, j : j + sx * (width - 1) + 1 : sx]
        return ring.reduce(total, self.bits).reshape(len(x), *self.shape)

    def details(self) -> str:
        return _windows(self)


Pool = MaxPool | SumPool


def _pooled_shape(step: Pool, claim: Claim) -> Shape:
    x = claim.operands[0].shape
    claim.require(len(x) == 3, "a pool takes three axes (C, H, W)")
    claim.require(
        min(step.kernel) >= 1 and min(step.strides) >= 1, "kernel and strides must be positive"
    )
    top, left, bottom, right = step.pads
    (kh, kw), (sy, sx) = step.kernel, step.strides
    claim.require(
        min(step.pads) >= 0 and max(top, bottom) < kh and max(left, right) < kw,
        "pads reach the kernel",
    )
    padded = x[1] + top + bottom - kh, x[2] + left + right - kw
    claim.require(min(padded) >= 0, f"a kernel of {step.kernel} is larger than its operand {x}")
    return (x[0], padded[0] // sy + 1, padded[1] // sx + 1)


def _taps(step: Pool, x: I64, axis: int) -> list[I64]:
    """For each offset within a window along an axis (1 or 2), that element of all windows."""
    kernel, stride, count = step.kernel[axis - 1], step.strides[axis - 1], step.shape[axis]
    before = (slice(None),) * axis
    return [
        x[(*before, slice(offset, offset + stride * (count - 1) + 1, stride))]
        for offset in range(kernel)
    ]


def _windows(step: Pool) -> str:
    return f"{step.kernel[0]}x{step.kernel[1]} / {step.strides[0]}x{step.strides[1]}"
