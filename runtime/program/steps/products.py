"""Products of secret values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from moiety.protocols.arrays import I64
from moiety.runtime.program.steps.base import GATE_BITS, Claim, Step
from moiety.runtime.program.steps.evaluation import Evaluation

__all__ = ["Product", "Square"]


class Product(Step, frozen=True, tag="product", kw_only=True):
    """`x * y`, element by element. y has x's rank, and on each axis as many elements or one, which
    then serves all of x's (a gate per channel: `(C, 1, 1)` for `(C, H, W)`). The result lives in
    x's ring, which must hold it; y's may be narrower, and is what the product costs by. Every y
    must lie in `[-2^(b-2), 2^(b-2))` for its own b bits (one headroom bit).
    """

    ARITY: ClassVar[tuple[int, int]] = (2, 2)

    def check(self, claim: Claim) -> None:
        x, y = claim.operands
        claim.require(GATE_BITS not in (x.bits, y.bits), "a product of gate bits")
        claim.require(
            y.bits <= x.bits,
            f"its second operand has {y.bits} bits, more than the first ({x.bits})",
        )
        claim.require(
            len(x.shape) == len(y.shape)
            and all(b in (1, a) for a, b in zip(x.shape, y.shape, strict=True)),
            f"a second operand of shape {y.shape} does not spread over {x.shape}",
        )
        super().check(replace(claim, operands=(x,)))

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        x, y = operands
        at.count_headroom(y, at.rings[1])
        return at.multiply(x, y, self.bits)


class Square(Step, frozen=True, tag="square", kw_only=True):
    """`x * x`, in a ring of at least two bits more than the operand's b; every x must lie in
    `[-2^(b-2), 2^(b-2))` (one headroom bit).
    """

    def result_bits(self, claim: Claim) -> int:
        bits = claim.operand_bits()
        claim.require(
            self.bits >= bits + 2,
            f"a square in a ring of {self.bits} bits of a value of {bits}: two more are needed",
        )
        return self.bits

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        (x,) = operands
        at.count_headroom(x, at.operand_bits)
        return at.multiply(x, x, self.bits)
