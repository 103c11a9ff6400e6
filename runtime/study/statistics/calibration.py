"""Whether a probability of 0.3 means three of ten: calibration curve and Brier score."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import expit
from sklearn.metrics import brier_score_loss

from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadInput
from moiety.runtime.study.statistics.analysis import Calibration, CalibrationBin, Interval
from moiety.runtime.study.statistics.disclosure import FEWEST
from moiety.runtime.study.statistics.places import Column
from moiety.runtime.study.statistics.proportions import proportion
from moiety.runtime.study.statistics.resampling import Bootstrap, interval

BINS = np.arange(11) / 10
Scale = Literal["sigmoid", "identity"]


def calibration(column: Column, scale: Scale, bootstrap: Bootstrap) -> Calibration:
    """Over all images of known truth, whatever the classes: Brier's score needs not both. Of few
    images none: of one it is its probability.
    """
    judged = column.at(column.known)
    if not judged.truth.size:
        return Calibration(
            label=column.label, images=0, reason="the label is unknown for every image"
        )
    secure = probabilities(judged.secure, scale, column.label)
    if judged.truth.size < FEWEST:
        return Calibration(
            label=column.label,
            images=judged.truth.size,
            reason=f"{judged.truth.size} images of known truth: fewer than {FEWEST}",
        )
    brier, within = _brier(judged, secure, bootstrap)
    cleartext, cleartext_within = None, None
    if judged.cleartext is not None:
        other = probabilities(judged.cleartext, scale, column.label)
        cleartext, cleartext_within = _brier(judged, other, bootstrap)
    return Calibration(
        label=column.label,
        images=judged.truth.size,
        brier=brier,
        brier_interval=within,
        cleartext_brier=cleartext,
        cleartext_brier_interval=cleartext_within,
        bins=_bins(judged.truth, secure),
    )


def probabilities(scores: F64, scale: Scale, label: str) -> F64:
    """BadInput for probabilities beyond 0 and 1."""
    if scale == "sigmoid":
        return expit(scores)
    beyond = int(((scores < 0) | (scores > 1)).sum())
    if beyond:
        raise BadInput(
            f"the scores of {label!r} are said to be probabilities, and {beyond} of {scores.size} "
            "are not between 0 and 1"
        )
    return scores


def _brier(column: Column, given: F64, bootstrap: Bootstrap) -> tuple[float, Interval | None]:
    squares = (given - column.truth) ** 2
    resampled = bootstrap.of(
        column.units, lambda drawn: (drawn * squares).sum(axis=1) / drawn.sum(axis=1)
    )
    return float(brier_score_loss(column.truth, given, pos_label=1)), interval(
        column.units, resampled
    )


def _bins(truth: F64, given: F64) -> tuple[CalibrationBin, ...]:
    number = np.clip(np.digitize(given, BINS) - 1, 0, len(BINS) - 2)
    return tuple(
        CalibrationBin(
            low=float(BINS[each]),
            high=float(BINS[each + 1]),
            predicted=float(given[inside].mean()) if inside.sum() >= FEWEST else None,
            observed=proportion(int(truth[inside].sum()), int(inside.sum())),
        )
        for each in np.unique(number)
        for inside in [number == each]
    )
