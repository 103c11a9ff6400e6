"""Which of a Program's results a study is about, and what of an image's result are its scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.text import legible, printable
from moiety.runtime.program import Program
from moiety.runtime.program.expression.expression import ResultForm
from moiety.runtime.results.record import ImageResult
from moiety.runtime.study.table import Kind

MOST_LABELS = 1000


@dataclass(frozen=True)
class Scored:
    """One result, and the labels of its values, or of the places that it chooses among. kind: what
    a study's table takes its values for.
    """

    name: str
    labels: tuple[str, ...]
    kind: Kind

    @classmethod
    def of(cls, program: Program, name: str | None = None) -> Scored:
        """The result of this name, else the first that has labels, else the first. Raises
        `BadInput` for a name that no result has, and for results that are no scores of labels.
        """
        forms = program.results()
        form = _named(forms, name) if name else next((f for f in forms if f.labels), forms[0])
        if reason := _unfit(form):
            others = [printable(each.name) for each in forms if _unfit(each) is None]
            advice = f"; give another with --result: {', '.join(others)}" if others else ""
            raise BadInput(f"the result {printable(form.name)} {reason}{advice}")
        labels = tuple(map(legible, form.labels)) or tuple(
            f"output {index}" for index in range(form.named)
        )
        return cls(legible(form.name), labels, _kind(form))

    def of_image(self, result: ImageResult, wanted: Sequence[str]) -> list[float]:
        """The scores of the `wanted` labels; NaN for what is no number. Where the result is a
        place, 1 for the label that it chose and 0 for the others.
        """
        output = next(each for each in result.outputs if each.name == self.name)
        if self.kind == "choices":
            chosen = {int(value) for value in output.values if value is not None}
            found = [1.0 if place in chosen else 0.0 for place in range(len(self.labels))]
        else:
            found = [math.nan if value is None else float(value) for value in output.values]
        return [found[self.labels.index(label)] for label in wanted]


def _kind(form: ResultForm) -> Kind:
    """What the network reveals is logits; of what the client computes of them something else."""
    if form.places is not None:
        return "choices"
    if form.kind == "boolean":
        return "decisions"
    if form.probabilities:
        return "probabilities"
    return "logits" if form.revealed else "scores"


def _unfit(form: ResultForm) -> str | None:
    """Why a result is no score of each label; None where it is one."""
    if form.places is not None and form.size > 1:
        return (
            f"has the shape {form.shape}: it chooses at {form.size} places, and a study takes one "
            "choice an image"
        )
    if not form.labels and sum(size > 1 for size in form.shape) > 1:
        return f"has the shape {form.shape}: a map, and a study takes a score for each label"
    if form.named > MOST_LABELS:
        return f"has {form.named} values: a study takes at most {MOST_LABELS} labels"
    return None


def _named(forms: Sequence[ResultForm], name: str) -> ResultForm:
    for form in forms:
        if form.name == name:
            return form
    raise BadInput(
        f"the Program has no result '{name}'; it has "
        f"{', '.join(printable(form.name) for form in forms)}"
    )
