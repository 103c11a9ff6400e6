"""How well a plan does on images: errors of its results, and AUROC of each label with its change
against the float model, with intervals by bootstrap.

Images of one patient are not independent, so patients are drawn, with all their images. Every plan
is judged by the same draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from moiety.compiler.simulate import apart
from moiety.compiler.sweep.corpus import Corpus
from moiety.compiler.sweep.rows import LabelRow
from moiety.protocols.arrays import BOOL, F64

INTERVAL = (0.025, 0.975)


class Judge:
    """Judges scores of the images of a corpus, `(images, labels)` by label and `(images, results)`
    by result, against the float model's.
    """

    def __init__(self, corpus: Corpus, resamples: int, seed: int) -> None:
        self.corpus = corpus
        names, inverse = np.unique(corpus.groups, return_inverse=True)
        rng = np.random.default_rng(seed)
        even = np.full(names.size, 1 / names.size)
        drawn = rng.multinomial(names.size, even, resamples)
        self.weights = drawn[:, inverse].astype(np.float64)
        """How often each resample, `(resamples, images)`, has an image."""

    def judged(self, values: F64, floats: F64, columns: list[int]) -> dict[str, Any]:
        """Fields of a `PlanRow`. columns: which result the labels are about."""
        labels, changes = {}, {}
        for number, (label, column) in enumerate(zip(self.corpus.labels, columns, strict=True)):
            labels[label], resampled = self._label(number, values[:, column], floats[:, column])
            if resampled is not None:
                changes[label] = resampled
        return {**self._errors(values, floats), **_largest(labels, changes), "labels": labels}

    def _errors(self, values: F64, floats: F64) -> dict[str, float | None]:
        error = apart(values, floats)
        squares = np.mean(error**2, axis=1)
        low, high = ends(np.sqrt(self.weights @ squares / self.weights.sum(axis=1)))
        return {
            "error_max": finite(error.max()),
            "error_mean": finite(error.mean()),
            "error_rms": finite(np.sqrt(squares.mean())),
            "error_rms_low": low,
            "error_rms_high": high,
        }

    def _label(self, number: int, scores: F64, floats: F64) -> tuple[LabelRow, F64 | None]:
        """The row of a label, and its change in every resample."""
        truth = self.corpus.truth[:, number]
        known = np.isfinite(truth)
        positive, weights = truth[known] > 0.5, self.weights[:, known]
        counts = {"images": int(known.sum()), "positives": int(positive.sum())}
        if not 0 < counts["positives"] < counts["images"]:
            return LabelRow(**counts), None
        value, reference = auroc(scores[known], positive), auroc(floats[known], positive)
        resampled = weighted_aurocs(scores[known], positive, weights)
        changes = resampled - weighted_aurocs(floats[known], positive, weights)
        (low, high), (change_low, change_high) = ends(resampled), ends(changes)
        row = LabelRow(
            **counts,
            auroc=value,
            auroc_low=low,
            auroc_high=high,
            auroc_float=reference,
            change=value - reference,
            change_low=change_low,
            change_high=change_high,
        )
        return row, changes


def _largest(labels: dict[str, LabelRow], changes: dict[str, F64]) -> dict[str, Any]:
    """The largest change of any label, and the interval of that: each resample has its own
    largest.
    """
    if not changes:
        return {}
    sizes = {label: abs(labels[label].change or 0.0) for label in changes}
    largest = max(sizes, key=lambda label: sizes[label])
    low, high = ends(np.fmax.reduce(np.abs(np.stack(list(changes.values()))), axis=0))
    return {
        "largest_change": sizes[largest],
        "largest_change_low": low,
        "largest_change_high": high,
        "largest_label": largest,
    }


def ends(resampled: F64) -> tuple[float | None, float | None]:
    """Of the 95 % percentile interval; resamples without one class say nothing."""
    known = resampled[~np.isnan(resampled)]
    if not known.size:
        return None, None
    low, high = np.quantile(known, INTERVAL)
    return finite(low), finite(high)


def finite(value: float) -> float | None:
    """As it is kept: JSON has no infinity."""
    return float(value) if np.isfinite(value) else None


def auroc(scores: F64, positive: BOOL) -> float:
    """Probability that a positive scores above a negative; ties count half. NaN without one of
    each.
    """
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - m * (m + 1) / 2) / (m * n))


def weighted_aurocs(scores: F64, positive: BOOL, weights: F64) -> F64:
    """The same where images count several times or not at all: `weights` `(resamples, images)`, one
    AUROC for each resample.
    """
    _, place = np.unique(scores, return_inverse=True)
    above, below = np.zeros((2, len(weights), place.max() + 1))
    np.add.at(above.T, place[positive], weights[:, positive].T)
    np.add.at(below.T, place[~positive], weights[:, ~positive].T)
    beaten = np.cumsum(below, axis=1) - below / 2
    pairs = above.sum(axis=1) * below.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, (above * beaten).sum(axis=1) / pairs, np.nan)
