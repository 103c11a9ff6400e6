"""Area under the ROC curve: DeLong's interval for one classifier, paired bootstrap over
patients for a change.

Scores are float `(n,)`, labels bool `(n,)`. Ties count half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

from moiety.protocols.arrays import BOOL, F64


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def auroc(scores: F64, labels: BOOL) -> float:
    """Probability that a positive scores above a negative; nan without one of each."""
    positives = int(labels.sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        return float("nan")
    return float(
        (rankdata(scores)[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def delong(scores: F64, labels: BOOL, confidence: float = 0.95) -> Interval:
    """AUROC with DeLong's interval (1988; by mid-ranks as in Sun, Xu 2014), cut to [0, 1]."""
    value = auroc(scores, labels)
    positives, negatives = scores[labels], scores[~labels]
    if min(positives.size, negatives.size) < 2:
        return Interval(value, float("nan"), float("nan"))
    together = rankdata(np.concatenate([positives, negatives]))
    above = (together[: positives.size] - rankdata(positives)) / negatives.size
    below = 1 - (together[positives.size :] - rankdata(negatives)) / positives.size
    spread = np.sqrt(above.var(ddof=1) / positives.size + below.var(ddof=1) / negatives.size)
    reach = float(norm.ppf(0.5 + confidence / 2) * spread)
    return Interval(value, max(0.0, value - reach), min(1.0, value + reach))


def paired_change(
    scores: F64,
    reference: F64,
    labels: BOOL,
    groups: npt.NDArray[np.str_],
    resamples: int,
    rng: np.random.Generator,
) -> Interval:
    """AUROC of `scores` minus that of `reference` on the same images; percentile interval, whole
    groups resampled.

    Images of one patient (`groups`) are not independent, so patients are drawn, with
    all their images.
    """
    value = auroc(scores, labels) - auroc(reference, labels)
    names, inverse = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(inverse == index) for index in range(names.size)]
    changes = []
    for _ in range(resamples):
        drawn = np.concatenate(
            [members[index] for index in rng.integers(0, names.size, names.size)]
        )
        changes.append(auroc(scores[drawn], labels[drawn]) - auroc(reference[drawn], labels[drawn]))
    finite = np.array([change for change in changes if np.isfinite(change)])
    if not finite.size:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, [0.025, 0.975])
    return Interval(value, float(low), float(high))
