"""Operations that move and choose elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from moiety.runtime.program.expression.base import (
    Array,
    Form,
    Operation,
    Shape,
    axis_of,
    broadcast,
    is_kind,
    is_shape,
    require,
    same_kind,
)

__all__ = ["Concat", "Expand", "Reshape", "Slice", "Take", "TakeAlong", "Transpose"]


class _Layout(Operation, frozen=True, kw_only=True):
    """What they share."""

    def keeps_probabilities(self) -> bool:
        return True


class Reshape(_Layout, frozen=True, tag="reshape", kw_only=True):
    """The elements in their order, row-major, in another shape."""

    shape: Shape

    def form(self, operands: Sequence[Form]) -> Form:
        (x,) = operands
        is_shape(self.shape)
        require(math.prod(self.shape) == x.size, f"{x.shape} cannot become {self.shape}")
        return Form(self.shape, x.kind)

    def evaluate(self, operands: Sequence[Array]) -> Array:
        return operands[0].reshape(self.shape)

    def keeps_all(self, constants: Sequence[Array]) -> bool:
        return True

    def rises(self) -> bool:
        return True

    def details(self) -> str:
        return str(self.shape)


class Transpose(_Layout, frozen=True, tag="transpose", kw_only=True):
    """Axis i of the result is axis `perm[i]` of the operand."""

    perm: tuple[int, ...]

    def form(self, operands: Sequence[Form]) -> Form:
        (x,) = operands
        require(
            sorted(self.perm) == list(range(len(x.shape))),
            f"perm {self.perm} is no order of the axes of {x.shape}",
        )
        return Form(tuple(x.shape[axis] for axis in self.perm), x.kind)

    def evaluate(self, operands: Sequence[Array]) -> Array:
        return operands[0].transpose(self.perm)

    def keeps_all(self, constants: Sequence[Array]) -> bool:
        return True

    def details(self) -> str:
        return str(self.perm)


class Concat(_Layout, frozen=True, tag="concat", kw_only=True):
    """The operands one after another along an axis."""

    axis: int

    ARITY: ClassVar[tuple[int, int]] = (1, 4096)

    def form(self, operands: Sequence[Form]) -> Form:
        first, *others = operands
        axis_of(self.axis, first)
        around = _dropped(first.shape, self.axis)
        require(
            all(
                len(x.shape) == len(first.shape) and _dropped(x.shape, self.axis) == around
                for x in others
            ),
            f"shapes {', '.join(str(x.shape) for x in operands)} differ beside axis {self.axis}",
        )
        total = sum(x.shape[self.axis] for x in operands)
        shape = (*first.shape[: self.axis], total, *first.shape[self.axis + 1 :])
        return Form(shape, same_kind(operands))

    def evaluate(self, operands: Sequence[Array]) -> Array:
        return np.concatenate(operands, self.axis)

    def keeps_all(self, constants: Sequence[Array]) -> bool:
        return True

    def details(self) -> str:
        return f"axis {self.axis}"


class Slice(_Layout, frozen=True, tag="slice", kw_only=True):
    """Elements `start, start + step, ...` along an axis, `count` of them."""

    axis: int
    start: int
    count: int
    step: int = 1

    def form(self, operands: Sequence[Form]) -> Form:
        (x,) = operands
        axis_of(self.axis, x)
        size, last = x.shape[self.axis], self.start + (self.count - 1) * self.step
        require(
            1 <= self.count <= size
            and abs(self.step) <= size
            and 0 <= self.start < size
            and 0 <= last < size,
            f"{self.count} elements from {self.start} on by {self.step} of an axis of {size}",
        )
        return Form((*x.shape[: self.axis], self.count, *x.shape[self.axis + 1 :]), x.kind)

    def evaluate(self, operands: Sequence[Array]) -> Array:
        places = self.start + self.step * np.arange(self.count)
        return np.take(operands[0], places, self.axis)

    def details(self) -> str:
        last = self.start + (self.count - 1) * self.step
        by = f" by {self.step}" if self.step != 1 else ""
        return f"{self.start} to {last}{by}, axis {self.axis}"


class Expand(_Layout, frozen=True, tag="expand", kw_only=True):
    """Copies, by NumPy's broadcasting."""

    shape: Shape

    def form(self, operands: Sequence[Form]) -> Form:
        (x,) = operands
        is_shape(self.shape)
        return Form(broadcast([x, Form(self.shape)]), x.kind)

    def evaluate(self, operands: Sequence[Array]) -> Array:
        (x,) = operands
        return np.broadcast_to(x, np.broadcast_shapes(x.shape, self.shape))

    def keeps_all(self, constants: Sequence[Array]) -> bool:
        return True

    def details(self) -> str:
        return str(self.shape)


class Take(_Layout, frozen=True, tag="take", kw_only=True):
    """The slices along an axis whose places are the second operand, integers (ONNX's Gather).
    Negative ones count from the end.
    """

    axis: int

    ARITY: ClassVar[tuple[int, int]] = (2, 2)

    def form(self, operands: Sequence[Form]) -> Form:
        x, places = operands
        axis_of(self.axis, x)
        is_kind(places, "integer")
        return Form((*x.shape[: self.axis], *places.shape, *x.shape[self.axis + 1 :]), x.kind)

    def evaluate(self, operands: Sequence[Array]) -> Array:
        x, places = operands
        return np.take(x, _within(places, x.shape[self.axis]), self.axis)

    def details(self) -> str:
        return f"axis {self.axis}"


class TakeAlong(_Layout, frozen=True, tag="take_along", kw_only=True):
    """The element along an axis whose place is the second operand's there (ONNX's GatherElements).
    Negative ones count from the end.
    """

    axis: int

    ARITY: ClassVar[tuple[int, int]] = (2, 2)

    def form(self, operands: Sequence[Form]) -> Form:
        x, places = operands
        axis_of(self.axis, x)
        is_kind(places, "integer")
        require(
            len(x.shape) == len(places.shape)
            and _dropped(x.shape, self.axis) == _dropped(places.shape, self.axis),
            f"shapes {x.shape} and {places.shape} differ beside axis {self.axis}",
        )
        return Form(places.shape, x.kind)

    def evaluate(self, operands: Sequence[Array]) -> Array:
        x, places = operands
        return np.take_along_axis(x, _within(places, x.shape[self.axis]), self.axis)

    def details(self) -> str:
        return f"axis {self.axis}"


def _dropped(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def _within(places: Array, size: int) -> Array:
    """Counted from the front, and none beyond the ends."""
    return np.clip(np.where(places < 0, places + size, places), 0, size - 1)
