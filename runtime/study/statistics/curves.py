"""What plots are drawn from: ROC curves on a grid, histograms of scores and of differences. No
point of theirs is an image.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_curve

from moiety.protocols.arrays import BOOL, F64
from moiety.runtime.study.statistics.analysis import Curve, Differences, Histogram
from moiety.runtime.study.statistics.bins import counted, round_edges
from moiety.runtime.study.statistics.disclosure import FEWEST, GROUP, few
from moiety.runtime.study.statistics.places import Column

GRID = np.linspace(0, 1, 101)
NO_RATE = 1e-9
"""Less than the share of one image: rates that differ by it are the same."""
MOST_GROUPS = 20


def curve(column: Column) -> Curve:
    """Over all images of known truth."""
    judged = column.at(column.known)
    positives, negatives = int(judged.positive.sum()), int(judged.negative.sum())
    if min(positives, negatives) < FEWEST:
        return Curve(
            label=column.label,
            reason=f"{positives} positives and {negatives} negatives: fewer than {FEWEST} of a "
            "class, so that a step of the curve would be one image",
        )
    secure, *cleartext = (on_grid(scores, judged.positive) for scores in judged.scores())
    return Curve(
        label=column.label,
        false_positive_rate=numbers(GRID),
        secure=secure,
        cleartext=cleartext[0] if cleartext else None,
    )


def on_grid(scores: F64, positive: BOOL) -> tuple[float, ...]:
    """True positive rate at each false positive rate of the grid: on the curve itself, at its top
    where it rises straight up. Between two of its points it is the line, which slopes only where
    positives and negatives tie.
    """
    false, true, _ = roc_curve(positive, scores)
    before = np.searchsorted(false, GRID + NO_RATE, side="right") - 1
    after = np.minimum(before + 1, false.size - 1)
    run = false[after] - false[before]
    part = np.divide(GRID - false[before], run, out=np.zeros_like(GRID), where=run > 0)
    return numbers(true[before] + np.maximum(part, 0) * (true[after] - true[before]))


def histogram(column: Column) -> Histogram:
    """Scores of all images, by truth; of few images none."""
    if column.truth.size < FEWEST:
        return Histogram(
            label=column.label, reason=f"{column.truth.size} images: fewer than {FEWEST}"
        )
    edges = round_edges(column.scores().ravel())
    reason = few(int(column.positive.sum()), int(column.negative.sum()))
    apart = np.full(column.truth.size, reason is None)
    return Histogram(
        label=column.label,
        edges=numbers(edges),
        secure_positives=counted(column.secure[column.positive & apart], edges),
        secure_negatives=counted(column.secure[column.negative & apart], edges),
        secure_unknown=counted(column.secure[~(column.known & apart)], edges),
        cleartext=None if column.cleartext is None else counted(column.cleartext, edges),
        reason=reason,
    )


def differences(label: str, secure: F64, cleartext: F64) -> Differences:
    """Secure minus cleartext, by size, and along the mean of the two."""
    change = secure - cleartext
    edges = round_edges(change)
    order = np.argsort((secure + cleartext) / 2, kind="stable")
    groups = np.array_split(order, min(MOST_GROUPS, change.size // GROUP) or 1)
    groups = groups if change.size >= GROUP else []
    low, median, high = (
        tuple(float(np.quantile(change[group], at)) for group in groups) for at in (0.05, 0.5, 0.95)
    )
    return Differences(
        label=label,
        edges=numbers(edges),
        counts=counted(change, edges),
        means=tuple(float(((secure + cleartext) / 2)[group].mean()) for group in groups),
        low=low,
        median=median,
        high=high,
    )


def numbers(values: F64) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
