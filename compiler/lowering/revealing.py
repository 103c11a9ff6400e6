"""What an output policy leaves of a model's results: the choices of the vendor, and whether the
model can carry them.

The results are rising functions of the scores, or keep their order, or are a sigmoid of them: then
the scores need not be revealed for the client to know which are above thresholds, which is the
largest, or how probable each is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import msgspec
import numpy as np

from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadArtifact, BadInput, BadModel
from moiety.runtime.program import Expression, Result
from moiety.runtime.program.expression.axes import Arg, Normalise
from moiety.runtime.program.expression.base import Operation, Shape
from moiety.runtime.program.expression.elementwise import OperatingPoints, Unary
from moiety.runtime.program.expression.expression import ResultForm
from moiety.runtime.program.expression.layout import Reshape
from moiety.runtime.program.policy import ALL_SCORES, Figures, Policy, Reveal

PROBABILITY_BITS: Final = (2, 10)
"""Least and most."""


@dataclass(frozen=True)
class Revealing:
    """What the client may learn of the results. policy: see there. thresholds: of a decision, in
    units of the model's result (logits, or probabilities where it ends in a Sigmoid): one for all
    its values, one for each, or by label. probability_bits: probabilities are told in `2^bits - 1`
    equal steps.
    """

    policy: Policy = ALL_SCORES
    thresholds: Mapping[str, float] | Sequence[float] = field(default=(), hash=False)
    probability_bits: int = 8

    def __post_init__(self) -> None:
        """BadInput unless the choices go together."""
        reveal = self.policy.reveal
        try:
            self.policy.check()
        except BadArtifact as error:
            raise BadInput(f"--reveal {reveal}: {error}") from None
        told = f"{reveal} --figures {self.policy.figures}" if reveal == "aggregate" else str(reveal)
        if self.policy.decides and not self.thresholds:
            raise BadInput(
                f"--reveal {told} takes --thresholds: a number for all values, or LABEL=NUMBER,..."
                ", in units of the model's result (a probability where it ends in a Sigmoid, a "
                "logit where it does not)"
            )
        if not self.policy.decides and self.thresholds:
            raise BadInput(
                "--thresholds are for --reveal decision and for --reveal aggregate --figures "
                f"counts, and it is {told}"
            )
        least, most = PROBABILITY_BITS
        if not least <= self.probability_bits <= most:
            raise BadInput(
                f"--probability-bits {self.probability_bits}: {least} to {most} are possible"
            )

    def threshold_of_each(self, labels: Sequence[str], size: int) -> F64:
        """Of `size` values with these labels, if they have any: float64 `(size,)`. Raises
        BadInput.
        """
        given = self.thresholds
        numbers = list(_by_label(given, labels) if isinstance(given, Mapping) else given)
        if len(numbers) not in (1, size):
            raise BadInput(f"--thresholds: {len(numbers)} of them, for {size} values")
        found = np.array(numbers, np.float64)
        if not np.isfinite(found).all():
            raise BadInput("--thresholds: one is not a finite number")
        return np.broadcast_to(found, (size,))


AS_SCORES: Final = Revealing()

_OPTIONS: Final = {
    "figures": "--figures",
    "positives": "--least-positives",
    "negatives": "--least-negatives",
    "images": "--cohort-images",
    "cohorts": "--cohorts",
}


def revealing_of(
    reveal: Reveal,
    thresholds: Mapping[str, float] | Sequence[float] = (),
    probability_bits: int | None = None,
    figures: Figures | None = None,
    **numbers: int | None,
) -> Revealing:
    """From options, where None leaves one to its default. figures, numbers: a Policy's. Raises
    BadInput.
    """
    choices = {"figures": figures, **numbers}
    given: dict[str, Any] = {name: choice for name, choice in choices.items() if choice is not None}
    if given and reveal != "aggregate":
        options = ", ".join(_OPTIONS[name] for name in given)
        raise BadInput(f"{options}: for --reveal aggregate, and it is {reveal}")
    if probability_bits is not None and reveal != "probabilities":
        raise BadInput(f"--probability-bits: for --reveal probabilities, and it is {reveal}")
    made = Policy(reveal=reveal, **given)
    return Revealing(made, thresholds, 8 if probability_bits is None else probability_bits)


def _by_label(given: Mapping[str, float], labels: Sequence[str]) -> list[float]:
    if not labels:
        raise BadInput(
            "--thresholds by label, and the model has no labels: give --labels, or numbers alone"
        )
    missing = [label for label in labels if label not in given]
    unknown = [label for label in given if label not in labels]
    for what, found in (("none for", missing), ("there is no label", unknown)):
        if found:
            raise BadInput(f"--thresholds: {what} {', '.join(map(repr, found))}")
    return [given[label] for label in labels]


# --- what a model can carry -----------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """The one result of a model, as the client would compute it from the scores by `operations`,
    one after the other. expression: the whole of it.
    """

    form: ResultForm
    operations: tuple[Operation, ...]
    expression: Expression

    @classmethod
    def of(
        cls, expression: Expression, names: Sequence[str], shapes: Sequence[Shape], reveal: str
    ) -> Shown:
        """Of a model that would reveal values of these names and shapes. BadModel where there is
        not one result, of one of them.
        """
        forms = expression.described(names, shapes)
        if len(forms) != 1 or len(names) != 1:
            told = ", ".join(form.name for form in forms)
            raise BadModel(
                f"--reveal {reveal} is for a model of one output, made of one value; this one has "
                f"{told}, made of {', '.join(names)}: export it with one, or reveal scores"
            )
        operations: list[Operation] = []
        (value,) = expression.result_values(1)
        while (operation := expression.operation(value, 1)) is not None:
            if len(operation.inputs) != 1:
                _unfit(reveal, operation, "is made of more than the scores")
            operations.insert(0, operation)
            (value,) = operation.inputs
        return cls(forms[0], tuple(operations), expression)


def left_to_client(shown: Shown, revealing: Revealing) -> Expression:
    """What the client computes from what the policy reveals. BadModel where the policy is none for
    this result, BadInput where thresholds do not fit it.
    """
    policy = revealing.policy
    left = _of_decision(shown, policy.reveal) if policy.decides else _LEFT[policy.reveal](shown)
    if policy.decides:
        revealing.threshold_of_each(shown.form.labels, shown.form.size)
    operations = [_reading(operation, value) for value, operation in enumerate(left)]
    result = Result(name=shown.form.name, value=len(operations), labels=shown.form.labels)
    return Expression(operations=tuple(operations), results=(result,))


def _reading(operation: Operation, value: int) -> Operation:
    return msgspec.structs.replace(operation, inputs=(value,))


def _of_decision(shown: Shown, reveal: Reveal) -> Sequence[Operation]:
    for operation in shown.operations:
        if not operation.rises():
            _unfit(reveal, operation, "does not rise with each score by itself")
    return ()


def _of_aggregate(shown: Shown) -> Sequence[Operation]:
    """An area under the curve is the same of what keeps the order of images."""
    for operation in shown.operations:
        if not (operation.rises() and operation.keeps_all(())):
            _unfit("aggregate", operation, "does not keep the order of each score by itself")
    return ()


def _of_top(shown: Shown) -> Sequence[Operation]:
    """The largest is the same of what keeps the order of the values of an image."""
    *before, last = shown.operations or (None,)
    chosen = isinstance(last, Arg) and (last.function, last.axis, last.last) == ("max", 1, False)
    for operation in before if chosen else shown.operations:
        if not operation.keeps_order():
            _unfit("top-1", operation, "does not keep the order of the scores of an image")
    return ()


def _of_probabilities(shown: Shown) -> Sequence[Operation]:
    """A sigmoid that the model ends in, or would; operating points come after."""
    for operation in shown.operations:
        if isinstance(operation, Normalise):
            _unfit(
                "probabilities",
                operation,
                "takes exponentials and a quotient of shares, which no protocol here computes",
            )
    moves = (Reshape, OperatingPoints)
    functions = [each for each in shown.operations if not isinstance(each, moves)]
    at = next((i for i, each in enumerate(shown.operations) if _is_sigmoid(each)), -1)
    for operation in functions:
        if not _is_sigmoid(operation) or len(functions) > 1:
            _unfit("probabilities", operation, "is no sigmoid of the scores")
    return shown.operations[at + 1 :]


def _is_sigmoid(operation: Operation) -> bool:
    return isinstance(operation, Unary) and operation.function == "sigmoid"


_LEFT: Final = {
    "probabilities": _of_probabilities,
    "top-1": _of_top,
    "aggregate": _of_aggregate,
}
"""Policy -> what is left of the client's operations; where nothing is decided."""


def _unfit(reveal: str, operation: Operation, why: str) -> NoReturn:
    raise BadModel(
        f"--reveal {reveal}: the model's result is made by {operation.word()}, which {why}. Export "
        "the model without it, or reveal something else (docs/policies.md)"
    )
