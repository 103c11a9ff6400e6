"""What is told in place of values: how many thresholds they reach, which of them is the largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from moiety.protocols.arrays import I64
from moiety.protocols.compare.argmax import place_bits
from moiety.runtime.program.steps.base import GATE_BITS, MAX_BITS, Claim, Shape, Step
from moiety.runtime.program.steps.evaluation import Evaluation

__all__ = ["Argmax", "Count"]


class Count(Step, frozen=True, tag="count", kw_only=True):
    """How many of the bits along the first axis, as Gates make them, are set:
    `(K, ...) -> (...)`, ring elements.
    """

    def check(self, claim: Claim) -> None:
        (x,) = claim.operands
        claim.require(x.bits == GATE_BITS, "it counts something else than gate bits")
        claim.require(len(x.shape) > 1, f"an operand of shape {x.shape} has no axis to count along")
        claim.require_shape(x.shape[1:])
        claim.require(
            2 <= self.bits <= MAX_BITS and x.shape[0] < 1 << (self.bits - 1),
            f"a ring of {self.bits} bits does not hold a count of {x.shape[0]}",
        )

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        return operands[0].sum(axis=0)


class Argmax(Step, frozen=True, tag="argmax", kw_only=True):
    """The place of the largest along the first axis, of equal ones the first:
    `(count, ...) -> (1, ...)`. Every operand must lie in `[-2^(bits-2), 2^(bits-2))` for its own
    bits (one headroom bit).
    """

    FEWEST: ClassVar[int] = 2

    @staticmethod
    def ring(count: int) -> int:
        """Bits of the result's ring, for places among so many."""
        return place_bits(count)

    def result_bits(self, claim: Claim) -> int:
        count, bits = claim.operands[0].shape[0], claim.operand_bits()
        claim.require(count >= self.FEWEST, "the largest of a single value")
        low = self.ring(count)
        claim.require(
            bits + low <= MAX_BITS,
            f"{count} values of {bits} bits and their places take a ring of {bits + low}; "
            f"{MAX_BITS} are possible",
        )
        return low

    def result_shape(self, claim: Claim) -> Shape:
        return (1, *claim.operands[0].shape[1:])

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        (x,) = operands
        at.count_headroom(x, at.operand_bits)
        return np.argmax(x, axis=0, keepdims=True)
