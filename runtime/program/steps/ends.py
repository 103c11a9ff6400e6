"""Where the client's tensors enter, and where it reads results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import BOOL, F64, I64
from moiety.protocols.errors import BadInput
from moiety.runtime.program.steps.base import Claim, Step
from moiety.runtime.program.steps.evaluation import Evaluation

__all__ = ["Input", "Output"]


class Input(Step, frozen=True, tag="input", kw_only=True):
    """A tensor of the client's, quantised to integers `round(x / scale)`; the client's share is the
    value, the server's is 0.

    The client clips to `[-2^(value_bits-1), 2^(value_bits-1))`, which is what the planner's
    headroom was computed for (None: the whole ring).
    """

    scale: float
    value_bits: int | None = None

    ARITY: ClassVar[tuple[int, int]] = (0, 0)

    def check_fields(self, claim: Claim) -> None:
        _check_scale(self.scale, claim)
        if self.value_bits is not None:
            claim.require(
                2 <= self.value_bits <= self.bits, f"value_bits {self.value_bits} exceed the ring"
            )

    def quantise(self, x: npt.ArrayLike) -> I64:
        """The client's integers for a float tensor `x`, such as an image `(C,H,W)`:
        `clip(round(x / scale))`, int64 of the same shape. BadInput on a wrong shape or on NaN and
        infinity.
        """
        tensor, what = np.asarray(x, np.float64), f"the tensor for the input {self.name!r}"
        if tensor.shape != self.shape:
            raise BadInput(f"{what} has shape {tensor.shape}, the Program takes {self.shape}")
        if not np.isfinite(tensor).all():
            raise BadInput(f"{what} holds NaN or infinite values")
        return np.clip(np.rint(tensor / self.scale), *self._integers()).astype(np.int64)

    def clipped(self, x: npt.ArrayLike) -> BOOL:
        """Which values of a finite `x` `quantise` clips."""
        low, high = self._integers()
        integers = np.rint(np.asarray(x, np.float64) / self.scale)
        return (integers < low) | (integers > high)

    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value that is not clipped."""
        low, high = self._integers()
        return low * self.scale, high * self.scale

    def _integers(self) -> tuple[int, int]:
        half = 1 << (min(self.value_bits or self.bits, self.bits) - 1)
        return -half, half - 1

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        """The quantised tensor itself, its one operand here."""
        return operands[0]


class Output(Step, frozen=True, tag="output", kw_only=True):
    """Reveal to the client: signed integers times `scale`. Shape and ring of the operand. What the
    client computes from it is the Program's expression.

    `expected`: the smallest and the largest integer that is no reason to doubt an image: the
    calibrated range and its margin (None: all of the ring).
    """

    scale: float
    expected: tuple[int, int] | None = None

    def check_fields(self, claim: Claim) -> None:
        _check_scale(self.scale, claim)
        if self.expected is not None:
            (low, high), half = self.expected, 1 << (self.bits - 1)
            claim.require(
                -half <= low <= high < half, f"the range {low} to {high} is none of its ring"
            )

    def check_reader(self, claim: Claim) -> None:
        claim.fail("an output is not an operand")

    def dequantise(self, values: I64) -> F64:
        """What the client reads from the revealed signed integers."""
        return values.astype(np.float64) * self.scale

    def unexpected(self, values: I64) -> BOOL:
        """Which revealed signed integers are a reason to doubt their image."""
        if self.expected is None:
            return np.zeros(values.shape, np.bool_)
        low, high = self.expected
        return (values < low) | (values > high)

    def expected_range(self) -> tuple[float, float] | None:
        """What `expected` stands for."""
        if self.expected is None:
            return None
        low, high = self.expected
        return low * self.scale, high * self.scale

    def details(self) -> str:
        expected = self.expected_range()
        return "" if expected is None else f"expected within {expected[0]:g} to {expected[1]:g}"

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        return operands[0]


def _check_scale(scale: float, claim: Claim) -> None:
    claim.require(math.isfinite(scale) and scale > 0, f"scale {scale} is not positive")
