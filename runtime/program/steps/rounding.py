"""Steps that change the ring a value lives in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import I64, U64
from moiety.runtime.program.steps.base import Claim, LocalStep, Rounding, Step
from moiety.runtime.program.steps.evaluation import Evaluation

__all__ = ["Extend", "Reduce", "Truncate"]


class Truncate(Step, frozen=True, tag="truncate", kw_only=True):
    """Truncate-and-reduce by `shift` bits: `Z_{2^(bits+shift)} -> Z_{2^bits}`; exact is floor,
    stochastic is the local one.
    """

    shift: int
    rounding: Rounding

    @property
    def drops(self) -> int:
        return self.shift if self.rounding == "exact" else 0

    def result_bits(self, claim: Claim) -> int:
        bits = claim.operand_bits()
        claim.require(
            1 <= self.shift < bits - 1, f"shift {self.shift} does not fit a ring of {bits} bits"
        )
        return bits - self.shift

    def check_fields(self, claim: Claim) -> None:
        if claim.rounding == "exact":
            claim.require(
                self.rounding == "exact",
                "a stochastic truncation in a Program that promises exact rounding",
            )

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        """Exact: floor. Stochastic: of y = x - 1, `floor(y0/2^s) + floor(y1/2^s) + 1` for y0
        uniform is `floor(y/2^s) + [low(y0) <= low(y)]`.
        """
        x = operands[0]
        if self.rounding == "exact":
            high = x >> np.int64(self.shift)
        else:
            y = x - np.int64(1)
            low = (y & np.int64((1 << self.shift) - 1)).astype(np.uint64)
            up = at.generator.integers(0, 1 << self.shift, x.shape, np.uint64) <= low
            high = (y >> np.int64(self.shift)) + up
        return at.fit(high, self.bits)

    def details(self) -> str:
        return f"by {self.shift}, {self.rounding}"


class Extend(Step, frozen=True, tag="extend", kw_only=True):
    """Signed extension to a wider ring.

    headroom: every value lies in `[-2^(b-2), 2^(b-2))` for the operand's b bits (one headroom bit),
    so that one transfer does where another value takes a comparison.
    """

    headroom: bool = False

    def result_bits(self, claim: Claim) -> int:
        return wider(self, claim)

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        (x,) = operands
        if self.headroom:
            at.count_headroom(x, at.operand_bits)
        return x

    def details(self) -> str:
        return "with a headroom bit" if self.headroom else ""


class Reduce(LocalStep, frozen=True, tag="reduce", kw_only=True):
    """Reduction modulo a smaller `2^bits`; local."""

    def result_bits(self, claim: Claim) -> int:
        bits = claim.operand_bits()
        claim.require(
            self.bits <= bits,
            f"the result's ring ({self.bits} bits) is wider than the operand's ({bits})",
        )
        return self.bits

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        return at.fit(operands[0], self.bits)

    def on_shares(self, operands: Sequence[U64]) -> U64:
        return ring.reduce(operands[0], self.bits)


def wider(step: Step, claim: Claim) -> int:
    """The step's own ring, which must not be narrower than its operand's."""
    bits = claim.operand_bits()
    claim.require(
        step.bits >= bits,
        f"the result's ring ({step.bits} bits) is narrower than the operand's ({bits})",
    )
    return step.bits
