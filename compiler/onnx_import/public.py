"""The client's expression while it is being made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from moiety.compiler.ir.graph import Array, Shape
from moiety.runtime.program import Expression, Result
from moiety.runtime.program.expression.base import Form, Kind, Operation
from moiety.runtime.program.expression.elementwise import Constant, Number


@dataclass(frozen=True)
class Public:
    """A value that the client has in the clear. `number`: in the order in which they came up."""

    number: int
    form: Form

    @property
    def shape(self) -> Shape:
        return self.form.shape


@dataclass(frozen=True)
class Unsized:
    """What depends on how many elements of a mask are true, which each image has its own number of:
    it has a name while a model is imported, and no place in an expression.
    """

    mask: Public


@dataclass(frozen=True)
class Places(Unsized):
    """Where the mask is true: a row of numbers for each axis, or (`by_place`) for each place."""

    by_place: bool


@dataclass(frozen=True)
class Chosen(Unsized):
    """The elements of `value`, of the mask's shape, where the mask is true; one axis."""

    value: Public


@dataclass(frozen=True)
class Sizes(Unsized):
    """Sizes of axes; None stands for the number of places."""

    sizes: tuple[int | None, ...]


def in_json(value: float) -> Number:
    """A number as a Program file can hold it."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


@dataclass
class ExpressionBuilder:
    """Graph values to be revealed and operations on them, in the order in which they came up."""

    values: list[str | Operation] = field(default_factory=list)
    forms: list[Form] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)
    """Numbers of the values that are the same for every image."""
    _known: dict[object, Public] = field(default_factory=dict)

    def reveal(self, value: str, shape: Shape) -> Public:
        """A Graph value, which is revealed once."""
        return self._once(value, value, Form(tuple(shape)))

    def constant(self, array: Array, kind: Kind) -> Public:
        """Public numbers; the same ones once."""
        values = tuple(map(in_json, np.asarray(array, np.float64).ravel().tolist()))
        made = Constant(shape=array.shape, kind=kind, values=values)
        return self._once(made, made, made.form(()))

    def emit(self, operation: Operation) -> Public:
        """Appends it. Misfit where its operands do not fit."""
        return self._new(operation, operation.form([self.forms[v] for v in operation.inputs]))

    def finish(
        self, outputs: Sequence[tuple[str, Public]]
    ) -> tuple[tuple[str, ...], Expression, dict[int, int]]:
        """The values to reveal, and the expression with the outputs, (name, value) each, as its
        results: only what these are made of is left. The new numbers by the old ones.
        """
        needed = self._needed([value.number for _, value in outputs])
        revealed = [n for n in needed if isinstance(self.values[n], str)]
        operations = [n for n in needed if not isinstance(self.values[n], str)]
        numbers = {old: new for new, old in enumerate((*revealed, *operations))}
        expression = Expression(
            operations=tuple(self._renumbered(n, numbers) for n in operations),
            results=tuple(Result(name=name, value=numbers[v.number]) for name, v in outputs),
        )
        return tuple(str(self.values[n]) for n in revealed), expression, numbers

    def _once(self, key: object, value: str | Operation, form: Form) -> Public:
        if key not in self._known:
            self._known[key] = self._new(value, form)
        return self._known[key]

    def _new(self, value: str | Operation, form: Form) -> Public:
        if not isinstance(value, str) and self.fixed.issuperset(value.inputs):
            self.fixed.add(len(self.values))
        self.values.append(value)
        self.forms.append(form)
        return Public(len(self.values) - 1, form)

    def _needed(self, numbers: Sequence[int]) -> list[int]:
        needed, pending = set(numbers), list(numbers)
        while pending:
            value = self.values[pending.pop()]
            new = set() if isinstance(value, str) else set(value.inputs) - needed
            needed |= new
            pending.extend(new)
        return sorted(needed)

    def _renumbered(self, number: int, numbers: Mapping[int, int]) -> Operation:
        operation = self.values[number]
        assert not isinstance(operation, str)
        inputs = tuple(numbers[value] for value in operation.inputs)
        return msgspec.structs.replace(operation, inputs=inputs)
