"""The linear layer: the only step that runs under homomorphic encryption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, cast

import numpy as np

from moiety.protocols.arrays import I64
from moiety.protocols.errors import BadPlan
from moiety.protocols.linear.convolution import convolve
from moiety.protocols.linear.layout import Geometry
from moiety.protocols.linear.parameters import (
    MAX_GUARD,
    MAX_WEIGHT_BITS,
    RlwePlan,
    check_parameters,
)
from moiety.protocols.linear.spec import LinearSpec
from moiety.runtime.program.steps.base import Claim, SecretTensor, Shape, Step
from moiety.runtime.program.steps.evaluation import Evaluation, wrap

__all__ = ["Linear"]

Shape3 = tuple[int, int, int]


class Linear(Step, frozen=True, tag="linear", kw_only=True):
    """Stride-1 convolution with secret integer weights and bias: `(C,H,W) -> (M,H',W')`, from the
    operand's ring into one that is `guard` bits wider; fully connected is H=W=1.

    The guard bits lie below the integer and hold the noise of the encryption, which the exact
    truncation that must follow drops. Where truncation is stochastic there are none: the noise is
    at most 1 in the last place, or, where a negative guard leaves low bits of the result behind, of
    a standard deviation of at most 1.

    Weights file: `linear.{step}.weight` int32 `(M, C/groups, kh, kw)`, `linear.{step}.bias` int64
    `(M,1,1)` or `(M,H',W')` (added above the guard bits; holds the rounding half of the truncation
    that follows where the planner wants one). weight_bits bounds `|w| < 2^(weight_bits-1)` and is
    what the noise budget is computed from.
    """

    kernel: tuple[int, int]
    pads: tuple[int, int, int, int]  # top, left, bottom, right
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    weight_bits: int
    guard: int
    rlwe: RlwePlan

    FORGIVES_OVERFLOW: ClassVar[bool] = True

    @property
    def operand_bits(self) -> int:
        """Ring width of its operand, and of its sums."""
        return self.bits - self.guard

    def spec(self, in_shape: Shape) -> LinearSpec:
        """What the homomorphic protocol must know of this layer, for one image of `in_shape`."""
        geometry = Geometry(
            cast(Shape3, in_shape),
            cast(Shape3, self.shape),
            self.kernel,
            self.pads,
            self.dilations,
            self.groups,
        )
        return LinearSpec(geometry, self.rlwe, self.operand_bits, self.weight_bits, self.guard)

    def result_bits(self, claim: Claim) -> int:
        return claim.operand_bits() + self.guard

    def check_reader(self, claim: Claim) -> None:
        claim.require(
            claim.step.drops >= self.guard,
            f"it reads a linear layer, and does not truncate its {self.guard} guard bits exactly",
        )

    def result_shape(self, claim: Claim) -> Shape:
        x = claim.operands[0].shape
        claim.require(
            len(x) == 3 and len(self.shape) == 3,
            "a linear layer takes and makes three axes (C, H, W)",
        )
        claim.require(
            min(self.kernel) >= 1 and min(self.dilations) >= 1,
            "kernel and dilations must be positive",
        )
        claim.require(min(self.pads) >= 0, "pads must not be negative")
        filters = self.shape[0]
        claim.require(
            self.groups >= 1 and x[0] % self.groups == 0 and filters % self.groups == 0,
            f"{self.groups} groups do not divide {x[0]} channels and {filters} filters",
        )
        top, left, bottom, right = self.pads
        height = x[1] + top + bottom - self.dilations[0] * (self.kernel[0] - 1)
        width = x[2] + left + right - self.dilations[1] * (self.kernel[1] - 1)
        return (filters, height, width)

    def check_fields(self, claim: Claim) -> None:
        claim.require(
            2 <= self.weight_bits <= MAX_WEIGHT_BITS,
            f"weight_bits {self.weight_bits} exceed {MAX_WEIGHT_BITS}",
        )
        if claim.rounding == "exact":
            claim.require(
                1 <= self.guard <= MAX_GUARD,
                f"{self.guard} guard bits; exact rounding takes 1 to {MAX_GUARD}",
            )
        else:
            claim.require(self.guard <= 0, "guard bits without exact rounding")
        plan = self.rlwe
        try:
            check_parameters(plan.degree, plan.primes)
        except BadPlan as error:
            claim.fail(str(error))
        modulus_bits = math.log2(math.prod(plan.primes))
        claim.require(
            self.bits <= plan.answer_bits < modulus_bits + 1,
            f"answer_bits {plan.answer_bits} do not fit",
        )
        claim.require(
            min(plan.channels_per_ciphertext, plan.filters_per_answer, *plan.tile) >= 1,
            "an empty packing",
        )

    def secrets(self, index: int, operands: Sequence[Step]) -> tuple[SecretTensor, ...]:
        filters, bound = self.shape[0], 1 << (self.weight_bits - 1)
        weight = (filters, operands[0].shape[0] // self.groups, *self.kernel)
        return (
            SecretTensor(
                f"linear.{index}.weight",
                "weight",
                np.int32,
                (weight,),
                values=range(1 - bound, bound),
                outside=f"has a weight beyond its {self.weight_bits} bits",
            ),
            SecretTensor(f"linear.{index}.bias", "bias", np.int64, ((filters, 1, 1), self.shape)),
        )

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        """The sums above empty guard bits: what is there in a run, the truncation that follows
        drops. Sums leave their ring where they do not fit the operand's.
        """
        weight, bias, bits = at.secrets["weight"], at.secrets["bias"], at.operand_bits
        total, approximate = convolve(operands[0], weight, self.pads, self.dilations, self.groups)
        if approximate is None:
            total = at.fit(total + bias, bits)
        else:
            outside = np.abs(approximate + bias) >= 2.0 ** (bits - 1)
            at.overflows += int(np.count_nonzero(outside))
            total = wrap(total + bias, bits)
        if self.guard > 0:
            return total << np.int64(self.guard)
        return wrap(_with_noise(total, -self.guard, at.generator), self.bits)

    def details(self) -> str:
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        bits = "bit" if self.guard == 1 else "bits"
        guard = f", {self.guard} guard {bits}" if self.guard > 0 else ""
        return f"{self.kernel[0]}x{self.kernel[1]}, {self.weight_bits}-bit weights{groups}{guard}"


def _with_noise(total: I64, left: int, rng: np.random.Generator) -> I64:
    """A result without guard bits, `left` low bits of which are left behind, as two parties get it.

    Server and client each round their half of the masked answer; with all bits kept they together
    miss by -1, 0 or 1. How often depends on the noise: this is the worst case, as is a standard
    deviation of one step on top of both roundings otherwise. It is below the truncation that
    follows.
    """
    if not left:
        return total + rng.integers(-1, 2, total.shape, np.int8)
    noise = rng.normal(0.0, math.sqrt(1 + 2 / 12), total.shape)
    return np.rint(total * 2.0**-left + noise).astype(np.int64)
