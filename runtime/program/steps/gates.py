"""Comparisons with secret thresholds, and the ReLU that opens by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from moiety.protocols.arrays import I64
from moiety.protocols.compare.digits import MAX_THRESHOLDS
from moiety.runtime.program.steps.base import GATE_BITS, Claim, SecretTensor, Step
from moiety.runtime.program.steps.evaluation import Evaluation, wrap
from moiety.runtime.program.steps.rounding import Truncate, wider

__all__ = ["Gates", "Relu"]


class Relu(Step, frozen=True, tag="relu", kw_only=True):
    """`z = [±(x+c) > 0] * (x+c)` extended from the operand's ring to `bits`.

    With `affine`, the server's per-channel secrets are `relu.{step}.threshold` int64 `(C,)` (the c)
    and `relu.{step}.flip` uint8 `(C,)` (1 where the gate opens for `x+c < 0`). Without, c = 0 and
    no flip. Flip 0: `z = x+c if x+c >= 0 else 0`; flip 1: `z = x+c if x+c < 0 else 0`.

    A second operand, if there is one, holds the bits `[x+c >= 0]` that Gates steps have made
    already; the Relu then only multiplexes. They must be those of the same c.
    """

    affine: bool

    ARITY: ClassVar[tuple[int, int]] = (1, 2)

    @property
    def multiplexes(self) -> bool:
        """Gates have made the comparisons already."""
        return len(self.inputs) == 2

    def check(self, claim: Claim) -> None:
        if self.multiplexes:
            x, gate = claim.operands
            claim.require(gate.bits == GATE_BITS, "its second operand is not a tensor of gate bits")
            claim.require(gate.shape == x.shape, f"gates of shape {gate.shape} for {x.shape}")
            claim = replace(claim, operands=(x,))
        super().check(claim)

    def result_bits(self, claim: Claim) -> int:
        return wider(self, claim)

    def secrets(self, index: int, operands: Sequence[Step]) -> tuple[SecretTensor, ...]:
        if not self.affine:
            return ()
        channels = (self.shape[:1],)
        return (
            SecretTensor(f"relu.{index}.threshold", "threshold", np.int64, channels),
            SecretTensor(
                f"relu.{index}.flip",
                "flip",
                np.uint8,
                channels,
                values=range(2),
                outside="holds something else than 0 and 1",
            ),
        )

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        x = operands[0]
        if not self.affine:
            return x * operands[1] if self.multiplexes else np.maximum(x, 0)
        per_channel = (-1,) + (1,) * (x.ndim - 1)
        threshold = at.secrets["threshold"].reshape(per_channel)
        flip = at.secrets["flip"].reshape(per_channel)
        shifted = at.fit(x + threshold, at.operand_bits)
        if self.multiplexes:
            return np.asarray(shifted * (operands[1] ^ flip))
        if flip.any():
            return np.where(flip == 1, np.minimum(shifted, 0), np.maximum(shifted, 0))
        return np.maximum(shifted, 0, out=shifted)

    def details(self) -> str:
        if self.multiplexes:
            return "multiplexer alone"
        return "secret thresholds" if self.affine else ""


class Gates(Step, frozen=True, tag="gates", kw_only=True):
    """Comparisons of one tensor with several secret thresholds: `[x + c_k >= 0]`,
    k < K, `(C, ...) -> (K, C, ...)`.

    The result is XOR-shared bits, not ring elements: `bits` is 1, and only Slice, Reshape and
    Concat may follow, up to the Relu that takes it as its second operand, or the Count. Weights
    file: `gates.{step}.threshold` int64 `(K, C)`.

    compared: the ring that x and x + c_k are known to fit, no wider than x's; both parties drop
    the bits above. joint: x is the result of the exact Truncate right before, and both are made
    from one comparison (protocols/compare/joint): its low digits give the carry, the rest the
    signs.
    """

    compared: int
    joint: bool = False

    def check(self, claim: Claim) -> None:
        x, count = claim.operands[0], self.shape[0]
        claim.require(self.bits == GATE_BITS, "gate bits have ring width 1")
        claim.require(x.bits >= 2, "gates of gates")
        claim.require(
            2 <= self.compared <= x.bits,
            f"compared in a ring of {self.compared} bits, its operand has {x.bits}",
        )
        claim.require(
            1 <= count <= MAX_THRESHOLDS,
            f"{count} thresholds; 1 to {MAX_THRESHOLDS} are possible",
        )
        claim.require(
            self.shape[1:] == x.shape, f"shape {self.shape} where its operand has {x.shape}"
        )
        if self.joint:
            claim.require(
                isinstance(x, Truncate)
                and x.rounding == "exact"
                and self.inputs == (claim.index - 1,),
                "joint with something else than the exact truncation right before it",
            )

    def secrets(self, index: int, operands: Sequence[Step]) -> tuple[SecretTensor, ...]:
        return (SecretTensor(f"gates.{index}.threshold", "threshold", np.int64, (self.shape[:2],)),)

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        x = operands[0]
        thresholds = at.secrets["threshold"].reshape(*self.shape[:2], *(1,) * (x.ndim - 1))
        return (wrap(at.fit(x, self.compared) + thresholds, self.compared) >= 0).astype(np.int64)

    def details(self) -> str:
        joint = ", with the truncation" if self.joint else ""
        return f"{self.shape[0]} secret thresholds{joint}"
