"""The client's expression: operations on the revealed values, and which values are the results.

It comes with the Program, from the other side: it is checked before anything is run, by its own
numbers alone, and what it may take of the client's time and memory is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from moiety.protocols.errors import BadArtifact, ContractViolation
from moiety.runtime.program.expression.base import (
    MAX_ELEMENTS,
    MAX_RANK,
    SCORES,
    Array,
    Form,
    Kind,
    Misfit,
    Operation,
    Reading,
    Shape,
    require,
)
from moiety.runtime.program.expression.elementwise import Constant
from moiety.runtime.program.expression.operations import AnyOperation

MAX_OPERATIONS = 4096
MAX_CONSTANTS = 1 << 16
"""Numbers in all constants together."""
MAX_WORK = 1 << 28
"""Elements that all operations read and make."""
MAX_OPERANDS = 1 << 16
"""Of all operations together."""
MAX_RESULTS = 256
MAX_NAME = 200


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of the model's outputs: the value numbered `value`. `labels`: names of its elements; of
    places along an axis, as an argmax gives them, names of these.
    """

    name: str
    value: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResultForm:
    """What is known of a result before it is computed. value: its number. shape: without the batch,
    as `without_batch`. places: how many its integers are chosen among, where they are places along
    an axis. reads: the revealed values that it is computed from, by number. revealed: its
    elements are revealed ones, moved or chosen at most.
    """

    name: str
    value: int
    shape: Shape
    kind: Kind
    labels: tuple[str, ...]
    probabilities: bool
    places: int | None
    reads: tuple[int, ...]
    revealed: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def named(self) -> int:
        """How many things its labels name: its elements or places."""
        return self.size if self.places is None else self.places


class Expression(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Values are numbered: first the revealed ones in the order of the Program's outputs, then one
    for each operation, which reads earlier ones. A revealed value has the batch, one image, as its
    first axis here. Without `results` the revealed values are the results.
    """

    operations: tuple[AnyOperation, ...] = ()
    results: tuple[Result, ...] = ()

    def forms(self, revealed: Sequence[Shape], read_as: Reading = SCORES) -> list[Form]:
        """Of all values, for revealed ones of these shapes, without batch. BadArtifact, naming the
        operation, unless the expression is sound.
        """
        if len(self.operations) > MAX_OPERATIONS:
            raise BadArtifact(
                f"the client's expression has {len(self.operations)} operations; at most "
                f"{MAX_OPERATIONS} are possible"
            )
        if sum(len(operation.inputs) for operation in self.operations) > MAX_OPERANDS:
            raise BadArtifact(
                f"the operations of the client's expression have more than {MAX_OPERANDS} operands"
            )
        forms = [Form((1, *shape), read_as.kind) for shape in revealed]
        work = constants = 0
        for number, operation in enumerate(self.operations):
            try:
                made = _form(operation, forms)
                work += made.size + sum(forms[value].size for value in operation.inputs)
                constants += made.size if isinstance(operation, Constant) else 0
                require(work <= MAX_WORK, f"all to here take more than {MAX_WORK} elements")
                require(constants <= MAX_CONSTANTS, f"more than {MAX_CONSTANTS} constants")
            except Misfit as error:
                raise BadArtifact(
                    f"operation {number} ({operation.word()}) of the client's expression: {error}"
                ) from None
            forms.append(made)
        return forms

    def check(self, revealed: Sequence[Shape], read_as: Reading = SCORES) -> None:
        """BadArtifact unless it is sound for revealed values of these shapes."""
        forms = self.forms(revealed, read_as)
        if len(self.results) > MAX_RESULTS:
            raise BadArtifact(
                f"the client's expression has {len(self.results)} results; at most {MAX_RESULTS} "
                "are possible"
            )
        names = [result.name for result in self.results]
        if len(set(names)) != len(names) or max(map(len, names), default=0) > MAX_NAME:
            raise BadArtifact("two results have the same name, or one a very long one")
        places = self._places(forms, read_as)
        for result in self.results:
            if not 0 <= result.value < len(forms):
                raise BadArtifact(f"result {result.name!r} is value {result.value}: there is none")
            among = places[result.value]
            named = forms[result.value].size if among is None else among
            if result.labels and len(result.labels) != named:
                raise BadArtifact(
                    f"result {result.name!r} has {len(result.labels)} labels for {named} "
                    f"{'values' if among is None else 'places'}"
                )
        most = max(MAX_ELEMENTS, sum(form.size for form in forms[: len(revealed)]))
        if sum(forms[result.value].size for result in self.results) > most:
            raise BadArtifact(f"the results together have more than {most} elements")

    def described(
        self, names: Sequence[str], revealed: Sequence[Shape], read_as: Reading = SCORES
    ) -> tuple[ResultForm, ...]:
        """The results, for revealed values of these names and shapes."""
        forms = self.forms(revealed, read_as)
        probabilities = self._moved(forms, read_as.probabilities, made=True)
        scores, places = self._moved(forms, True, made=False), self._places(forms, read_as)
        results = self.results or [
            Result(name=name, value=number) for number, name in enumerate(names)
        ]
        return tuple(
            ResultForm(
                name=result.name,
                value=result.value,
                shape=shape_without_batch(forms[result.value].shape),
                kind=forms[result.value].kind,
                labels=result.labels,
                probabilities=probabilities[result.value],
                places=places[result.value],
                reads=self._read_by(result.value, len(revealed)),
                revealed=scores[result.value],
            )
            for result in results
        )

    def evaluate(self, revealed: Sequence[Array]) -> list[Array]:
        """The results, in order, from the revealed values of one image."""
        values: list[Array | None] = [value[None] for value in revealed]
        first = len(values)
        last = self._last_uses(first)
        with np.errstate(all="ignore"):
            for number, operation in enumerate(self.operations, first):
                operands = [_present(values[value]) for value in operation.inputs]
                values.append(np.asarray(operation.evaluate(operands)))
                for value in dict.fromkeys((*operation.inputs, number)):
                    if last.get(value, number) <= number:
                        values[value] = None
        return [without_batch(_present(values[each])) for each in self.result_values(first)]

    def result_values(self, revealed: int) -> Sequence[int]:
        """The results' numbers, where so many values are revealed."""
        return [result.value for result in self.results] or range(revealed)

    def _last_uses(self, first: int) -> dict[int, int]:
        """Value -> the last that reads it; results and, where there are none, the revealed ones are
        kept.
        """
        end = first + len(self.operations)
        last = {
            value: number
            for number, operation in enumerate(self.operations, first)
            for value in operation.inputs
        }
        return last | dict.fromkeys(self.result_values(first), end)

    def operation(self, value: int, revealed: int) -> Operation | None:
        """What makes a value; None for one of the `revealed` ones."""
        return self.operations[value - revealed] if value >= revealed else None

    def _read_by(self, value: int, revealed: int) -> tuple[int, ...]:
        """The revealed values that a value is computed from."""
        pending, seen = [value], {value}
        while pending:
            operation = self.operation(pending.pop(), revealed)
            new = set(operation.inputs) - seen if operation is not None else set()
            seen |= new
            pending.extend(new)
        return tuple(sorted(each for each in seen if each < revealed))

    def _moved(self, forms: Sequence[Form], of_revealed: bool, made: bool) -> dict[int, bool]:
        """By value: whether all its elements are of one sort, and moved at most. The sort is that
        of the revealed values if `of_revealed`, and what a sigmoid or a softmax makes if `made`.
        """
        revealed = len(forms) - len(self.operations)
        known: dict[int, bool] = dict.fromkeys(range(revealed), of_revealed)
        for number, operation in enumerate(self.operations, revealed):
            numbers = [each for each in operation.inputs if forms[each].kind != "integer"]
            moved = operation.keeps_probabilities() and forms[number].kind == "real"
            known[number] = (made and operation.makes_probabilities()) or (
                moved and bool(numbers) and all(known[each] for each in numbers)
            )
        return known

    def _places(self, forms: Sequence[Form], read_as: Reading) -> dict[int, int | None]:
        """By value: how many places along an axis all its elements are chosen among, and moved at
        most; None where they are no such places.
        """
        revealed = len(forms) - len(self.operations)
        known: dict[int, int | None] = dict.fromkeys(range(revealed), read_as.places)
        for number, operation in enumerate(self.operations, revealed):
            made = operation.places([forms[each] for each in operation.inputs])
            if made is None and operation.keeps_probabilities():
                moved = {known[each] for each in operation.inputs}
                made = moved.pop() if len(moved) == 1 else None
            known[number] = made
        return known


AS_REVEALED: Final = Expression()
"""The revealed values are the results."""


def without_batch(value: Array) -> Array:
    """A result without its first axis, if that may be the batch of one image."""
    return np.asarray(value[0]) if value.shape[:1] == (1,) else value


def shape_without_batch(shape: Shape) -> Shape:
    """As `without_batch`."""
    return shape[1:] if shape[:1] == (1,) else shape


def _form(operation: Operation, forms: Sequence[Form]) -> Form:
    """Of an operation's result. Misfit."""
    fewest, most = operation.ARITY
    require(fewest <= len(operation.inputs) <= most, f"it has {len(operation.inputs)} operands")
    require(
        all(0 <= value < len(forms) for value in operation.inputs),
        f"operands {operation.inputs} are not all earlier values",
    )
    made = operation.form([forms[value] for value in operation.inputs])
    require(len(made.shape) <= MAX_RANK, f"its result has {len(made.shape)} axes")
    require(made.size <= MAX_ELEMENTS, f"its result has {made.size} elements")
    return made


def _present(value: Array | None) -> Array:
    if value is None:
        raise ContractViolation("a value was forgotten before its last use")
    return value
