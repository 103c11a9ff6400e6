"""The product of two values, both of which are secret."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.protocols.arrays import I64
from moiety.runtime.program.steps.base import Claim, Shape, Step, _broadcasts
from moiety.runtime.program.steps.evaluation import Evaluation, wrap

__all__ = ["Product", "Square"]


class Product(Step, frozen=True, tag="product", kw_only=True):
    """`x * y`, element by element, in the ring of x. y has x's rank, each of its axes x's size or
    1, and is in a ring of its own that is no wider.
    """

    ARITY = (2, 2)

    def result_bits(self, claim: Claim) -> int:
        x, y = claim.operands
        claim.require(
            y.bits <= x.bits, f"the second operand's ring ({y.bits} bits) is wider than {x.bits}"
        )
        return x.bits

    def result_shape(self, claim: Claim) -> Shape:
        x, y = (operand.shape for operand in claim.operands)
        claim.require(
            len(x) == len(y) and _broadcasts(y, x), f"shape {y} does not broadcast to {x}"
        )
        return x

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        """Products leave the ring where they do not fit it."""
        return _multiplied(operands[0], operands[1], self.bits, at)


class Square(Step, frozen=True, tag="square", kw_only=True):
    """`x * x`, extended from the operand's ring to `bits`, which are two more at least."""

    def result_bits(self, claim: Claim) -> int:
        bits = claim.operand_bits()
        claim.require(
            self.bits >= bits + 2,
            f"a square in a ring of {self.bits} bits of a value of {bits}: two more are needed",
        )
        return self.bits

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        return _multiplied(operands[0], operands[0], self.bits, at)


def _multiplied(x: I64, y: I64, bits: int, at: Evaluation) -> I64:
    with np.errstate(over="ignore"):
        product = x * y
    outside = np.abs(x.astype(np.float64) * y) >= 2.0 ** (bits - 1)
    at.overflows += int(np.count_nonzero(outside))
    return wrap(product, bits)
