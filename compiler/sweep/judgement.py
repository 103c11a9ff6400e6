"""How well a plan does on images: errors of its results, and AUROC of each label with its change
against the float model, with intervals by bootstrap over patients: a study's own statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moiety.compiler.simulate import apart
from moiety.compiler.sweep.corpus import Corpus
from moiety.compiler.sweep.rows import LabelRow
from moiety.protocols.arrays import BOOL, F64, I64
from moiety.runtime.study.statistics.delong import Placements
from moiety.runtime.study.statistics.resampling import Bootstrap, percentile, weighted_areas


@dataclass(frozen=True, eq=False)
class Scores:
    """Of one label, the images whose truth is known, by number; which of them are `positive`; their
    scores by the plan and by the float model.
    """

    known: I64
    positive: BOOL
    fixed: F64
    floats: F64

    @property
    def one_class(self) -> bool:
        return bool(self.positive.all() or not self.positive.any())

    def areas(self) -> F64:
        """AUROC of the plan and of the float model."""
        return Placements.of(np.stack([self.fixed, self.floats]), self.positive).areas()

    def resampled(self, drawn: I64) -> F64:
        """AUROC of the plan and its change, in each resample, `(some, 2)`."""
        weights = drawn[:, self.known]
        fixed = weighted_areas(self.fixed, self.positive, weights)
        floats = weighted_areas(self.floats, self.positive, weights)
        return np.stack([fixed, fixed - floats], axis=1)


@dataclass(frozen=True, eq=False)
class Judge:
    """Every plan is judged by the same draws."""

    corpus: Corpus
    bootstrap: Bootstrap

    def judged(self, values: F64, floats: F64, columns: Sequence[int]) -> dict[str, Any]:
        """Fields of a `PlanRow`, from all results, `(images, results)`, and the float model's.
        columns: which result the labels are about.
        """
        error = apart(values, floats)
        squares = np.mean(error**2, axis=1)
        scores = [
            self._scores(number, values[:, column], floats[:, column])
            for number, column in enumerate(columns)
        ]
        judged = [number for number, each in enumerate(scores) if not each.one_class]

        def statistic(drawn: I64) -> F64:
            rms = np.sqrt(drawn @ squares / drawn.sum(axis=1))[:, None]
            return np.concatenate([rms, *(scores[i].resampled(drawn) for i in judged)], axis=1)

        resampled = self.bootstrap.of(self.corpus.groups, statistic)
        labels = {label: _plain(scores[i]) for i, label in enumerate(self.corpus.labels)}
        for place, number in enumerate(judged):
            columns_of_label = resampled[:, 1 + 2 * place : 3 + 2 * place]
            labels[self.corpus.labels[number]] = _judged(scores[number], columns_of_label)
        return {
            "error_max": finite(error.max()),
            "error_mean": finite(error.mean()),
            "error_rms": finite(np.sqrt(squares.mean())),
            **_ends("error_rms", resampled[:, 0]),
            **_largest(labels, resampled[:, 2::2]),
            "labels": labels,
        }

    def _scores(self, number: int, fixed: F64, floats: F64) -> Scores:
        truth = self.corpus.truth[:, number]
        known = np.flatnonzero(np.isfinite(truth))
        return Scores(known, truth[known] > 0.5, fixed[known], floats[known])


def _plain(scores: Scores) -> LabelRow:
    """Counts alone."""
    return LabelRow(images=scores.known.size, positives=int(scores.positive.sum()))


def _judged(scores: Scores, resampled: F64) -> LabelRow:
    value, reference = scores.areas()
    return LabelRow(
        images=scores.known.size,
        positives=int(scores.positive.sum()),
        auroc=float(value),
        auroc_float=float(reference),
        change=float(value - reference),
        **_ends("auroc", resampled[:, 0]),
        **_ends("change", resampled[:, 1]),
    )


def _largest(labels: dict[str, LabelRow], changes: F64) -> dict[str, Any]:
    """The largest change of any label, and the interval of that: each resample has its own
    largest.
    """
    sizes = {label: abs(row.change) for label, row in labels.items() if row.change is not None}
    if not sizes:
        return {}
    largest = max(sizes, key=lambda label: sizes[label])
    of_resamples = np.fmax.reduce(np.abs(changes), axis=1)
    return {
        "largest_change": sizes[largest],
        "largest_label": largest,
        **_ends("largest_change", of_resamples),
    }


def _ends(name: str, resampled: F64) -> dict[str, float | None]:
    """Of the interval, as fields."""
    found = percentile(resampled)
    ends = (None, None) if found is None else (found.low, found.high)
    return {f"{name}_{end}": value for end, value in zip(("low", "high"), ends, strict=True)}


def finite(value: float) -> float | None:
    """As it is kept: JSON has no infinity."""
    return float(value) if np.isfinite(value) else None
