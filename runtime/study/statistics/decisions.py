"""What decisions are worth, where the policy reveals decisions or the largest score alone."""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import BOOL, F64
from moiety.runtime.study.statistics.analysis import Decided, Decision, TopOne
from moiety.runtime.study.statistics.places import Column, one_class
from moiety.runtime.study.statistics.proportions import proportion
from moiety.runtime.study.table import StudyTable


def decisions(columns: tuple[Column, ...]) -> tuple[Decision, ...]:
    """Every label over all images and at each site, on its own images alone."""
    return tuple(
        Decision(
            counts=counts,
            secure=decided(judged.secure == 1, judged.positive),
            cleartext=None
            if judged.cleartext is None
            else decided(judged.cleartext == 1, judged.positive),
            agreeing=None
            if judged.cleartext is None
            else proportion(int((judged.secure == judged.cleartext).sum()), judged.truth.size),
            reason=one_class(counts),
        )
        for column in columns
        for counts, judged in column.places()
    )


def decided(said: BOOL, positive: BOOL) -> Decided:
    """Of the images with and without the label, and of the decisions for and against it."""
    right_for, right_against = (said & positive).sum(), (~said & ~positive).sum()
    return Decided(
        sensitivity=proportion(right_for, positive.sum()),
        specificity=proportion(right_against, (~positive).sum()),
        positive_predictive_value=proportion(right_for, said.sum()),
        negative_predictive_value=proportion(right_against, (~said).sum()),
    )


def top_one(table: StudyTable) -> TopOne:
    """Over images with exactly one true label; others have no right answer."""
    suitable = np.isfinite(table.truth).all(axis=1) & (table.truth.sum(axis=1) == 1)
    truth = table.truth[suitable].argmax(axis=1)
    secure = table.scores[suitable].argmax(axis=1)
    cleartext = None if table.reference is None else table.reference[suitable].argmax(axis=1)
    count = truth.size
    confusion = np.zeros((len(table.labels),) * 2, np.int64)
    np.add.at(confusion, (truth, secure), 1)
    return TopOne(
        images=count,
        unsuitable=table.images - count,
        accuracy=proportion(int((truth == secure).sum()), count),
        recall={
            label: proportion(int(confusion[row, row]), int(confusion[row].sum()))
            for row, label in enumerate(table.labels)
        },
        confusion=tuple(tuple(int(each) for each in row) for row in confusion),
        cleartext_accuracy=None
        if cleartext is None
        else proportion(int((truth == cleartext).sum()), count),
        agreeing=None if cleartext is None else proportion(int((secure == cleartext).sum()), count),
    )


def largest(scores: F64) -> F64:
    """1 in the column that is largest, the first of equal ones; 0 elsewhere."""
    return np.eye(scores.shape[1])[scores.argmax(axis=1)]
