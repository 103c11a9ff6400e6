"""One ONNX node that the client computes, as its translator sees it; the registry of translators.

Real numbers are float64 there, whatever ONNX's type says; integers are int64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moiety.compiler.ir.graph import Array, Shape
from moiety.compiler.onnx_import.call import Call
from moiety.compiler.onnx_import.public import ExpressionBuilder, Public, Unsized
from moiety.runtime.program.expression.axes import Reduce
from moiety.runtime.program.expression.base import Kind, Misfit, Operation
from moiety.runtime.program.expression.elementwise import (
    EXACT_INTEGER,
    Binary,
    BinaryName,
    Unary,
    UnaryName,
)
from moiety.runtime.program.expression.expression import MAX_CONSTANTS
from moiety.runtime.program.expression.layout import Expand, Reshape


@dataclass
class ClientCall(Call):
    """A node whose operands are public values, ones without a size, constants, or absent."""

    expression: ExpressionBuilder

    # --- operands ------------------------------------------------------------------------------

    def has(self, index: int) -> bool:
        """Is operand `index` there?"""
        return self._operand(index) is not None

    def public(self, index: int = 0) -> Public:
        """Operand `index`; constants become public ones of the expression."""
        found = self._operand(index)
        if found is None:
            self.fail(f"operand {index} is absent")
        if isinstance(found, Unsized):
            self.fail(
                f"operand {index} has as many elements as a mask is true at, which is not known",
                "such elements can be computed with one by one, and put back under the same mask",
            )
        return found if isinstance(found, Public) else self.number(found, self.proto.input[index])

    def publics(self) -> list[Public]:
        """All operands."""
        return [self.public(index) for index in range(len(self.operands))]

    def shape(self, index: int = 0) -> Shape:
        return self.public(index).shape

    def axis(self, default: int, index: int = 0) -> int:
        """Attribute `axis`, counted from the front of operand `index`."""
        return self.from_front(int(self.attrs.get("axis", default)), len(self.shape(index)))

    def from_front(self, axis: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= axis < rank:
            self.fail(f"there is no axis {axis} among {rank}")
        return axis % rank

    def number(self, given: Any, tensor: str = "") -> Public:
        """A constant of the expression, which is public. One number many times is stored once."""
        array = np.asarray(given)
        kind = self._kind(array, tensor)
        if array.size > 1 and (array == array.flat[0]).all():
            one = self.expression.constant(array.reshape(-1)[:1].reshape((1,) * array.ndim), kind)
            return self.emit_operation(Expand(inputs=(one.number,), shape=array.shape))
        if array.size > MAX_CONSTANTS:
            self.fail(
                f"constant {tensor!r} of {array.size} numbers stands behind the revealed values, "
                f"where it becomes public; at most {MAX_CONSTANTS} numbers can",
                "cut it off the model and apply it to the results",
            )
        return self.expression.constant(array, kind)

    def _kind(self, array: Array, tensor: str) -> Kind:
        if array.size == 0:
            self.fail(f"constant {tensor!r} is empty")
        if array.dtype == np.bool_:
            return "boolean"
        if np.issubdtype(array.dtype, np.integer):
            if max(abs(int(array.min())), abs(int(array.max()))) > EXACT_INTEGER:
                self.fail(f"constant {tensor!r} holds integers beyond 2^53")
            return "integer"
        if not np.can_cast(array.dtype, np.float64) and array.dtype.name != "bfloat16":
            self.fail(f"constant {tensor!r} must hold real numbers, it holds {array.dtype}")
        return "real"

    # --- results -------------------------------------------------------------------------------

    def emit_operation(self, operation: Operation) -> Public:
        """Appends an operation. Fails where it does not fit, or mixes images of the batch."""
        try:
            made = self.expression.emit(operation)
        except Misfit as error:
            self.fail(str(error), f"operand shapes {self.shapes()}")
        if self.builder.batch > 1 and self._mixes(operation, made):
            self.fail(
                f"joins or moves the {self.builder.batch} images of the batch",
                "export the model with a batch of one image",
            )
        return made

    def _mixes(self, operation: Operation, made: Public) -> bool:
        """Does it touch the batch axis?"""
        if made.number in self.expression.fixed:
            return False
        axes = (*getattr(operation, "axes", ()), getattr(operation, "axis", 1))
        return made.shape[:1] != (1,) or 0 in axes or getattr(operation, "perm", (0,))[0] != 0

    def unary(self, function: UnaryName, x: Public) -> Public:
        return self.emit_operation(Unary(inputs=(x.number,), function=function))

    def binary(self, function: BinaryName, x: Public, y: Public | float) -> Public:
        """A plain number is of x's kind."""
        if not isinstance(y, Public):
            y = self.number(int(y) if x.form.kind == "integer" else float(y))
        return self.emit_operation(Binary(inputs=(x.number, y.number), function=function))

    def reduced(self, function: Any, x: Public, axes: Sequence[int], keepdims: bool) -> Public:
        return self.emit_operation(
            Reduce(inputs=(x.number,), function=function, axes=tuple(axes), keepdims=keepdims)
        )

    def reshaped(self, x: Public, shape: Sequence[int]) -> Public:
        """x with another shape; itself where that is its own."""
        if tuple(shape) == x.shape:
            return x
        return self.emit_operation(Reshape(inputs=(x.number,), shape=tuple(shape)))


Made = Public | Unsized | Array
"""What a translator makes of an output."""

Translator = Callable[[ClientCall], Sequence[Made]]


@dataclass(frozen=True)
class Entry:
    """begins: the client's part of a model may begin with it (of some operands at least), for no
    protocol computes it exactly; else it is the client's only behind one that is.
    """

    translate: Translator
    begins: bool | Callable[[Call], bool]


TRANSLATORS: dict[str, Entry] = {}
"""By ONNX op type, once `moiety.compiler.onnx_import.client` has imported its files."""


def translator(
    *op_types: str, begins: bool | Callable[[Call], bool] = False
) -> Callable[[Translator], Translator]:
    """Register a function as the translator of ONNX op types; it returns the public value of each
    ONNX output. Its docstring says what is supported, in one sentence of docs/onnx-support.md.
    """

    def register(function: Translator) -> Translator:
        TRANSLATORS.update(dict.fromkeys(op_types, Entry(function, begins)))
        return function

    return register
