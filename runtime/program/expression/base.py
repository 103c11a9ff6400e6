"""What an operation of the client's expression is.

Values are NumPy arrays with the batch, one image, as first axis, as the model's own were: real
numbers (float64), integers (int64) or truth values (bool). An operation is total: real arithmetic
is IEEE's (`1/0` is infinite, `log(-1)` is NaN), integers are modulo 2^64, and an index beyond the
end is the last one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Kind = Literal["real", "integer", "boolean"]

DTYPES: Final[dict[Kind, type[np.generic]]] = {
    "real": np.float64,
    "integer": np.int64,
    "boolean": np.bool_,
}
MAX_RANK = 8
MAX_ELEMENTS = 1 << 25
"""Of one computed value; 256 MiB of real numbers."""


class Misfit(ValueError):
    """An operation does not fit its operands."""


def require(holds: bool, reason: str) -> None:
    """Misfit unless it holds."""
    if not holds:
        raise Misfit(reason)


@dataclass(frozen=True)
class Form:
    """Of a value: what is known before it is computed."""

    shape: Shape
    kind: Kind = "real"

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Reading:
    """What the revealed numbers stand for. probabilities: they are some. places: how many they are
    chosen among, where they are places along an axis.
    """

    kind: Kind = "real"
    probabilities: bool = False
    places: int | None = None


SCORES: Final = Reading()


class Operation(
    msgspec.Struct, frozen=True, tag_field="op", forbid_unknown_fields=True, kw_only=True
):
    """`inputs`: its operands, numbers of earlier values (the revealed ones come first)."""

    inputs: tuple[int, ...]

    ARITY: ClassVar[tuple[int, int]] = (1, 1)
    """Fewest and most operands."""

    def form(self, operands: Sequence[Form]) -> Form:
        """Of the result. Misfit where the operands or the fields make no sense. Believes nothing,
        and takes no time and memory to speak of.
        """
        raise NotImplementedError(f"operation {self.word()} has no form")

    def evaluate(self, operands: Sequence[Array]) -> Array:
        """The result, of the form that `form` gives. May warn of IEEE's special values."""
        raise NotImplementedError(f"operation {self.word()} has no meaning")

    def keeps_all(self, constants: Sequence[Array]) -> bool:
        """Whether the operands can be computed from the result and `constants`, those of them that
        are constant.
        """
        return False

    def keeps_probabilities(self) -> bool:
        """Whether every element of the result is one of the operands' elements."""
        return False

    def makes_probabilities(self) -> bool:
        """Whether the result is probabilities."""
        return False

    def rises(self) -> bool:
        """Whether every element of the result is a function of the operand's element at its place,
        row-major, that never falls, and of nothing else.
        """
        return False

    def keeps_order(self) -> bool:
        """Whether the elements along axis 1 are in the operand's order."""
        return False

    def places(self, operands: Sequence[Form]) -> int | None:
        """How many places of an axis the result's integers are chosen among; None where they are
        no places.
        """
        return None

    def word(self) -> str:
        """The operation's name, for people."""
        return str(self.__struct_config__.tag)

    def details(self) -> str:
        """What distinguishes it from others of its kind, in a few words."""
        return ""


def is_shape(shape: Shape) -> None:
    """Misfit unless a value could have it, before anything is computed of it."""
    require(len(shape) <= MAX_RANK, f"a shape of {len(shape)} axes")
    require(
        all(1 <= size <= MAX_ELEMENTS for size in shape),
        f"shape {shape} has an empty axis, or a very long one",
    )


def axis_of(axis: int, form: Form) -> None:
    """Misfit unless `form` has this axis; they are counted from 0."""
    require(0 <= axis < len(form.shape), f"there is no axis {axis} in {form.shape}")


def same_kind(operands: Sequence[Form]) -> Kind:
    """The one kind of all operands."""
    kinds = {each.kind for each in operands}
    require(len(kinds) == 1, f"operands of different kinds, {', '.join(sorted(kinds))}")
    return operands[0].kind


def is_kind(found: Form, *wanted: Kind) -> None:
    """Misfit unless it is one of those."""
    require(found.kind in wanted, f"an operand is {found.kind}, not {' or '.join(wanted)}")


def broadcast(operands: Sequence[Form]) -> Shape:
    """By NumPy's rule, which is ONNX's."""
    try:
        return np.broadcast_shapes(*(each.shape for each in operands))
    except ValueError:
        shapes = " and ".join(str(each.shape) for each in operands)
        raise Misfit(f"shapes {shapes} cannot be broadcast") from None
