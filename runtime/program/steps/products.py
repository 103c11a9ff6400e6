"""The product of two values, both of which are secret."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.protocols.arrays import I64
from moiety.runtime.program.steps.base import Claim, Shape, Step, _broadcasts
from moiety.runtime.program.steps.evaluation import Evaluation, wrap

__all__ = ["Product"]


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
        x, y = operands
        with np.errstate(over="ignore"):
            product = x * y
        outside = np.abs(x.astype(np.float64) * y) >= 2.0 ** (self.bits - 1)
        at.overflows += int(np.count_nonzero(outside))
        return wrap(product, self.bits)

    def details(self) -> str:
        return ""
