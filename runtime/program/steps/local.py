"""Sums and rearrangements: what each party does to its own share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import I64, U64
from moiety.runtime.program.steps.base import (
    MAX_STEPS,
    Claim,
    LocalStep,
    SecretTensor,
    Shape,
    Step,
)
from moiety.runtime.program.steps.evaluation import Evaluation

__all__ = ["Add", "AddConst", "Combine", "Concat", "Pad", "Reshape", "Slice", "Transpose"]


MAX_SUM_BITS = 63
"""Of true integers in sums: they are int64."""


class Add(LocalStep, frozen=True, tag="add", kw_only=True):
    """Sum of the operands with public signs (+1 or -1), in one ring. All have the first one's rank,
    and on each axis as many elements or one, which then serves all of the first one's.
    """

    signs: tuple[int, ...]

    ARITY: ClassVar[tuple[int, int]] = (2, 64)
    SUMS_ONLY: ClassVar[bool] = True

    def result_shape(self, claim: Claim) -> Shape:
        x = claim.operands[0].shape
        for y in claim.operands:
            claim.require(
                len(y.shape) == len(x)
                and all(b in (1, a) for a, b in zip(x, y.shape, strict=True)),
                f"an operand of shape {y.shape} does not spread over {x}",
            )
        claim.require(
            len(self.signs) == len(claim.operands), "there are not as many signs as operands"
        )
        claim.require(set(self.signs) <= {1, -1}, f"signs {self.signs} are not all +1 or -1")
        return x

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        total = sum(
            (y if sign > 0 else -y for sign, y in zip(self.signs, operands, strict=True)),
            np.zeros_like(operands[0]),
        )
        return at.fit(total, self.bits)

    def on_shares(self, operands: Sequence[U64]) -> U64:
        total = np.zeros_like(operands[0])
        for sign, x in zip(self.signs, operands, strict=True):
            total = total + x if sign > 0 else total - x
        return ring.reduce(total, self.bits)

    def details(self) -> str:
        return " ".join("+" if sign > 0 else "-" for sign in self.signs)


class AddConst(Step, frozen=True, tag="addconst", kw_only=True):
    """Adds the server's secret constant `const.{step}` int64, broadcastable to the shape; local,
    but only the server's share takes part.
    """

    SUMS_ONLY: ClassVar[bool] = True

    def secrets(self, index: int, operands: Sequence[Step]) -> tuple[SecretTensor, ...]:
        return (
            SecretTensor(f"const.{index}", "constant", np.int64, (self.shape,), broadcast=True),
        )

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        return at.fit(operands[0] + at.secrets["constant"], self.bits)


class Combine(LocalStep, frozen=True, tag="combine", kw_only=True):
    """`sum_k factors[k] * x[k]` along the first axis, the factors public integers:
    `(K, ...) -> (...)`.
    """

    factors: tuple[int, ...]

    SUMS_ONLY: ClassVar[bool] = True

    def result_shape(self, claim: Claim) -> Shape:
        x = claim.operands[0].shape
        claim.require(len(x) > 1, f"an operand of shape {x} has no axis to sum over")
        claim.require(
            len(self.factors) == x[0], f"{len(self.factors)} factors for an axis of {x[0]}"
        )
        return x[1:]

    def check_fields(self, claim: Claim) -> None:
        total = sum(map(abs, self.factors))
        claim.require(
            self.bits + total.bit_length() <= MAX_SUM_BITS,
            f"factors that sum up to {total} do not fit a ring of {self.bits} bits",
        )

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        factors = np.array(self.factors, np.int64)
        return at.fit(np.tensordot(factors, operands[0], axes=1), self.bits)

    def on_shares(self, operands: Sequence[U64]) -> U64:
        (x,) = operands
        total = np.zeros_like(x[:, 0])
        for k, factor in enumerate(self.factors):
            total += x[:, k] * ring.from_signed(np.array(factor), self.bits)
        return ring.reduce(total, self.bits)

    def details(self) -> str:
        return f"{len(self.factors)} public factors"


class Concat(LocalStep, frozen=True, tag="concat", kw_only=True):
    """The operands one after the other along `axis`."""

    axis: int

    ARITY: ClassVar[tuple[int, int]] = (1, MAX_STEPS)
    TAKES_GATE_BITS: ClassVar[bool] = True
    SUMS_ONLY: ClassVar[bool] = True

    def result_shape(self, claim: Claim) -> Shape:
        x, axis = claim.operands[0].shape, self.axis
        claim.require(0 <= axis < len(x), f"axis {axis} is not one of {len(x)}")
        rests = {y.shape[:axis] + y.shape[axis + 1 :] for y in claim.operands}
        claim.require(rests == {x[:axis] + x[axis + 1 :]}, "operands differ beyond the axis")
        return (*x[:axis], sum(y.shape[axis] for y in claim.operands), *x[axis + 1 :])

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        return np.concatenate(operands, axis=self.axis)

    def on_shares(self, operands: Sequence[U64]) -> U64:
        return np.concatenate(operands, axis=1 + self.axis)


class Slice(LocalStep, frozen=True, tag="slice", kw_only=True):
    """From `starts` to before `stops`, every `strides`-th, one of each per axis."""

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    strides: tuple[int, ...]

    TAKES_GATE_BITS: ClassVar[bool] = True
    SUMS_ONLY: ClassVar[bool] = True

    def result_shape(self, claim: Claim) -> Shape:
        x = claim.operands[0].shape
        limits = tuple(zip(self.starts, self.stops, self.strides, strict=False))
        claim.require(
            len(self.starts) == len(self.stops) == len(self.strides) == len(x)
            and all(0 <= a < b <= n and s >= 1 for (a, b, s), n in zip(limits, x, strict=True)),
            f"limits do not fit an operand of shape {x}",
        )
        return tuple(-(-(b - a) // s) for a, b, s in limits)

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        return operands[0][tuple(map(slice, self.starts, self.stops, self.strides))]

    def on_shares(self, operands: Sequence[U64]) -> U64:
        window = map(slice, self.starts, self.stops, self.strides)
        return np.ascontiguousarray(operands[0][:, *window])


class Reshape(LocalStep, frozen=True, tag="reshape", kw_only=True):
    """Row-major reshape to `shape`."""

    TAKES_GATE_BITS: ClassVar[bool] = True
    SUMS_ONLY: ClassVar[bool] = True

    def result_shape(self, claim: Claim) -> Shape:
        x = claim.operands[0].shape
        claim.require(
            math.prod(self.shape) == math.prod(x),
            f"shape {self.shape} from an operand of shape {x}",
        )
        return self.shape

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        return operands[0].reshape(self.shape)

    def on_shares(self, operands: Sequence[U64]) -> U64:
        return operands[0].reshape(len(operands[0]), *self.shape)


class Transpose(LocalStep, frozen=True, tag="transpose", kw_only=True):
    """Axis `perm[i]` of the operand becomes axis i."""

    perm: tuple[int, ...]

    SUMS_ONLY: ClassVar[bool] = True

    def result_shape(self, claim: Claim) -> Shape:
        x = claim.operands[0].shape
        claim.require(
            sorted(self.perm) == list(range(len(x))),
            f"{self.perm} is not a permutation of {len(x)} axes",
        )
        return tuple(x[axis] for axis in self.perm)

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        return operands[0].transpose(self.perm)

    def on_shares(self, operands: Sequence[U64]) -> U64:
        return np.ascontiguousarray(operands[0].transpose(0, *(1 + axis for axis in self.perm)))


class Pad(LocalStep, frozen=True, tag="pad", kw_only=True):
    """Zero padding: `(before, after)` per axis."""

    pads: tuple[tuple[int, int], ...]

    SUMS_ONLY: ClassVar[bool] = True

    def result_shape(self, claim: Claim) -> Shape:
        x = claim.operands[0].shape
        claim.require(
            len(self.pads) == len(x) and all(n >= 0 for pair in self.pads for n in pair),
            f"pads {self.pads} do not fit",
        )
        return tuple(before + n + after for n, (before, after) in zip(x, self.pads, strict=True))

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        return np.pad(operands[0], self.pads)

    def on_shares(self, operands: Sequence[U64]) -> U64:
        return np.pad(operands[0], ((0, 0), *self.pads))
