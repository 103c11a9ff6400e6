"""Operations along axes: reductions, softmax, the largest elements. Axes are counted from 0, the
batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np

from moiety.runtime.program.expression.base import (
    Array,
    Form,
    Operation,
    Shape,
    axis_of,
    is_kind,
    require,
)

__all__ = ["Arg", "Normalise", "Reduce", "Top"]

_REDUCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "max": np.max,
    "min": np.min,
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
}


def _without(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


class Reduce(Operation, frozen=True, tag="reduce", kw_only=True):
    """Over all elements along `axes`, which keep size 1 or go."""

    function: Literal["max", "min", "sum", "mean", "prod"]
    axes: tuple[int, ...]
    keepdims: bool = True

    def form(self, operands: Sequence[Form]) -> Form:
        (x,) = operands
        is_kind(x, *(("real",) if self.function == "mean" else ("real", "integer")))
        for axis in self.axes:
            axis_of(axis, x)
        require(len(set(self.axes)) == len(self.axes), f"axes {self.axes} hold one twice")
        return Form(_without(x.shape, self.axes, self.keepdims), x.kind)

    def evaluate(self, operands: Sequence[Array]) -> Array:
        function = _REDUCTIONS[self.function]
        return np.asarray(function(operands[0], axis=self.axes, keepdims=self.keepdims))

    def keeps_probabilities(self) -> bool:
        return self.function in ("max", "min")

    def word(self) -> str:
        return f"reduce_{self.function}"

    def details(self) -> str:
        return f"axes {', '.join(map(str, self.axes)) or 'none'}"


class Arg(Operation, frozen=True, tag="arg", kw_only=True):
    """The place of the largest or smallest element along an axis, of several the first or last."""

    function: Literal["max", "min"]
    axis: int
    keepdims: bool = True
    last: bool = False

    def form(self, operands: Sequence[Form]) -> Form:
        (x,) = operands
        is_kind(x, "real", "integer")
        axis_of(self.axis, x)
        return Form(_without(x.shape, (self.axis,), self.keepdims), "integer")

    def evaluate(self, operands: Sequence[Array]) -> Array:
        (x,) = operands
        function = np.argmax if self.function == "max" else np.argmin
        found = function(np.flip(x, self.axis) if self.last else x, self.axis, keepdims=True)
        if self.last:
            found = x.shape[self.axis] - 1 - found
        kept = np.asarray(found, np.int64)
        return kept if self.keepdims else kept.squeeze(self.axis)

    def places(self, operands: Sequence[Form]) -> int | None:
        return operands[0].shape[self.axis]

    def word(self) -> str:
        return f"arg{self.function}"

    def details(self) -> str:
        return f"axis {self.axis}"


class Top(Operation, frozen=True, tag="top", kw_only=True):
    """The `count` largest or smallest elements along an axis, in order; of equal ones the first. Or
    their places.
    """

    part: Literal["values", "places"]
    axis: int
    count: int
    largest: bool = True

    def form(self, operands: Sequence[Form]) -> Form:
        (x,) = operands
        is_kind(x, "real", "integer")
        axis_of(self.axis, x)
        size = x.shape[self.axis]
        require(1 <= self.count <= size, f"{self.count} elements of an axis of {size}")
        shape = (*x.shape[: self.axis], self.count, *x.shape[self.axis + 1 :])
        return Form(shape, x.kind if self.part == "values" else "integer")

    def evaluate(self, operands: Sequence[Array]) -> Array:
        (x,) = operands
        # Reversed before and after: a stable sort from the end, so that equal ones keep their order
        # where the largest come first.
        if self.largest:
            order = np.flip(np.argsort(np.flip(x, self.axis), self.axis, kind="stable"), self.axis)
            order = x.shape[self.axis] - 1 - order
        else:
            order = np.argsort(x, self.axis, kind="stable")
        places = np.take(order, np.arange(self.count), self.axis).astype(np.int64)
        return np.take_along_axis(x, places, self.axis) if self.part == "values" else places

    def places(self, operands: Sequence[Form]) -> int | None:
        return operands[0].shape[self.axis] if self.part == "places" else None

    def keeps_probabilities(self) -> bool:
        return self.part == "values"

    def word(self) -> str:
        return f"top_{self.part}"

    def details(self) -> str:
        order = "largest" if self.largest else "smallest"
        return f"{self.count} {order}, axis {self.axis}"


class Normalise(Operation, frozen=True, tag="normalise", kw_only=True):
    """`softmax`: `exp(x) / sum(exp(x))` along the axis; `log_softmax`: its logarithm."""

    function: Literal["softmax", "log_softmax"]
    axis: int

    def form(self, operands: Sequence[Form]) -> Form:
        (x,) = operands
        is_kind(x, "real")
        axis_of(self.axis, x)
        return x

    def evaluate(self, operands: Sequence[Array]) -> Array:
        (x,) = operands
        below = x - x.max(axis=self.axis, keepdims=True)
        total = np.exp(below).sum(axis=self.axis, keepdims=True)
        return np.exp(below) / total if self.function == "softmax" else below - np.log(total)

    def makes_probabilities(self) -> bool:
        return self.function == "softmax"

    def keeps_order(self) -> bool:
        return self.axis == 1

    def word(self) -> str:
        return self.function

    def details(self) -> str:
        return f"axis {self.axis}"
