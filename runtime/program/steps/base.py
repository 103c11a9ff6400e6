"""What every kind of step is: the common fields, and the facets that a kind gives as methods.

A value is named by the index of the step that makes it. All values are shared, shape without batch
dimension, `(C, H, W)` or `(C,)`, elements of the ring `Z_{2^bits}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import I64, U64
from moiety.protocols.errors import BadArtifact
from moiety.runtime.program.steps.evaluation import Evaluation

Rounding = Literal["exact", "stochastic"]
Shape = tuple[int, ...]

MAX_STEPS = 100_000
MAX_BITS = 64
GATE_BITS = 1
"""The ring width that stands for XOR-shared bits (see Gates)."""


class Step(msgspec.Struct, frozen=True, tag_field="kind", forbid_unknown_fields=True, kw_only=True):
    """Common fields: operand step indices, shape and ring width (bits) of the result, the layer's
    name for people.

    A kind says here all that it is: `check` (does the declared shape and ring follow from the
    operands'), `secrets` (the tensors that the vendor holds for it), `meaning` (on plain
    integers), `details` (for people), and where it is local `on_shares` (see LocalStep). Where
    else a kind is known: its declared cost (runtime/cost/traffic) and, where the parties talk, its
    handler (runtime/party/handlers).
    """

    inputs: tuple[int, ...]
    shape: Shape
    bits: int
    name: str = ""

    ARITY: ClassVar[tuple[int, int]] = (1, 1)
    """Fewest and most operands."""
    TAKES_GATE_BITS: ClassVar[bool] = False
    """It only reindexes, so that it may be applied to gate bits as well as to ring elements."""
    SUMS_ONLY: ClassVar[bool] = False
    """Its value is a sum of its operands' elements: it may leave the ring unharmed where a step of
    FORGIVES_OVERFLOW reads it in the end, for sums modulo 2^bits forgive it.
    """
    FORGIVES_OVERFLOW: ClassVar[bool] = False

    @property
    def drops(self) -> int:
        """How many low bits of its operand have no part in its result: it depends on the floor of
        the operand by 2^drops alone.
        """
        return 0

    @property
    def kind(self) -> str:
        """The name of this step's kind, as in the Program file."""
        return str(self.__struct_config__.tag)

    def check(self, claim: Claim) -> None:
        """Refuse, by `claim.require`, whatever does not follow from the operands. Believes nothing:
        shapes and widths are recomputed, independently of the planner.
        """
        if any(x.bits == GATE_BITS for x in claim.operands):
            self._check_gate_bits(claim)
            return
        claim.require(
            2 <= self.bits <= MAX_BITS, f"ring width {self.bits} is not within 2..{MAX_BITS}"
        )
        if claim.operands:
            bits, shape = self.result_bits(claim), self.result_shape(claim)
            claim.require(
                self.bits == bits, f"ring width {self.bits} where its operands give {bits}"
            )
            claim.require_shape(shape)
        self.check_fields(claim)

    def result_bits(self, claim: Claim) -> int:
        """Ring width that follows from the operands (of a conversion: its own, if it goes the
        right way).
        """
        return claim.operand_bits()

    def result_shape(self, claim: Claim) -> Shape:
        """Shape that follows from the operands and the fields."""
        return claim.operands[0].shape

    def check_fields(self, claim: Claim) -> None:
        """What neither shape nor ring says."""

    def check_reader(self, claim: Claim) -> None:
        """Refuse a step, the claim's, that reads this one and must not."""

    def _check_gate_bits(self, claim: Claim) -> None:
        """XOR-shared bits: made by Gates from ring elements, reindexed, and read by Relu
        and Count."""
        claim.require(self.bits == GATE_BITS, "gate bits have ring width 1")
        claim.require(self.TAKES_GATE_BITS, "gate bits can only be reindexed")
        claim.require(
            all(x.bits == GATE_BITS for x in claim.operands), "gate bits and ring elements mixed"
        )
        claim.require_shape(self.result_shape(claim))

    def secrets(self, index: int, operands: Sequence[Step]) -> tuple[SecretTensor, ...]:
        """The vendor's tensors for this step, at `index` of its Program."""
        return ()

    def meaning(self, operands: Sequence[I64], at: Evaluation) -> I64:
        """The result's true integers, or through `at.fit` those in the ring, for true integers
        int64 of the operands' shapes.
        """
        raise NotImplementedError(f"no meaning for step kind {self.kind}")

    def details(self) -> str:
        """What distinguishes this step from others of its kind, in a few words."""
        return ""


class LocalStep(Step, frozen=True, kw_only=True):
    """A linear map without secrets: it needs no message, for each party applies it to its own
    share. The cleartext meaning does not use `on_shares`: it is the independent oracle.
    """

    def on_shares(self, operands: Sequence[U64]) -> U64:
        """The step on one party's shares of its operands, uint64 and reduced,
        `(images, *operand.shape)`: uint64 `(images, *shape)`, modulo 2^bits.
        """
        raise NotImplementedError(f"no action on shares for step kind {self.kind}")


@dataclass(frozen=True)
class Claim:
    """A step of a Program that is not believed yet: where it stands, and what it is said to be
    made of.
    """

    index: int
    step: Step
    operands: tuple[Step, ...]
    rounding: Rounding

    def fail(self, reason: str) -> NoReturn:
        name = f" {self.step.name!r}" if self.step.name else ""
        raise BadArtifact(f"step {self.index} ({self.step.kind}{name}): {reason}")

    def require(self, holds: bool, reason: str) -> None:
        """BadArtifact, naming the step, unless it holds."""
        if not holds:
            self.fail(reason)

    def require_shape(self, shape: Shape) -> None:
        declared = self.step.shape
        self.require(declared == shape, f"shape {declared} where its operands give {shape}")

    def operand_bits(self) -> int:
        """The one ring in which all operands live."""
        widths = {x.bits for x in self.operands}
        self.require(len(widths) == 1, f"operands live in different rings, {sorted(widths)} bits")
        return widths.pop()


@dataclass(frozen=True)
class SecretTensor:
    """One tensor of the Weights, as its step demands it.

    role: what the step calls it. shapes: those permitted; with `broadcast` also any that broadcasts
    to the first. values: all elements lie in it; `outside` says what is wrong if not.
    """

    name: str
    role: str
    dtype: type[np.generic]
    shapes: tuple[Shape, ...]
    broadcast: bool = False
    values: range | None = None
    outside: str = ""

    def check(self, array: npt.NDArray[Any]) -> None:
        """BadArtifact unless the array is such a tensor."""
        if array.dtype != self.dtype:
            raise BadArtifact(f"{self.name} holds {array.dtype}, not {np.dtype(self.dtype)}")
        if self.broadcast:
            if not _broadcasts(array.shape, self.shapes[0]):
                raise BadArtifact(
                    f"{self.name} has shape {array.shape}, "
                    f"which does not broadcast to {self.shapes[0]}"
                )
        elif array.shape not in self.shapes:
            raise BadArtifact(
                f"{self.name} has shape {array.shape}, not {' or '.join(map(str, self.shapes))}"
            )
        if self.values is not None and not _within(array, self.values):
            raise BadArtifact(f"{self.name} {self.outside}")


def _within(array: npt.NDArray[Any], values: range) -> bool:
    return not array.size or (int(array.min()) >= values.start and int(array.max()) < values.stop)


def _broadcasts(shape: Shape, target: Shape) -> bool:
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False
