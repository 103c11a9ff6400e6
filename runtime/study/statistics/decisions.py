"""What decisions are worth, where the policy reveals decisions or the largest score alone."""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import BOOL, F64
from moiety.runtime.study.statistics.analysis import Decided, Decision, TopOne
from moiety.runtime.study.statistics.discrimination import TOO_FEW, counts_of
from moiety.runtime.study.statistics.places import Column, one_class
from moiety.runtime.study.statistics.proportions import proportion
from moiety.runtime.study.table import AggregateResult, StudyTable


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
    return rated(
        int((said & positive).sum()),
        int((said & ~positive).sum()),
        int(positive.sum()),
        int((~positive).sum()),
    )


def rated(true_for: int, false_for: int, positives: int, negatives: int) -> Decided:
    """Of so many images with and without the label, of which so many were decided to have it."""
    true_against, false_against = negatives - false_for, positives - true_for
    return Decided(
        sensitivity=proportion(true_for, positives),
        specificity=proportion(true_against, negatives),
        positive_predictive_value=proportion(true_for, true_for + false_for),
        negative_predictive_value=proportion(true_against, true_against + false_against),
    )


def of_counts(result: AggregateResult, images: int) -> Decision:
    """What an aggregate policy of counts lets be known of a label: over all `images` alone."""
    counts, true, false = counts_of(result, images), result.true_positives, result.false_positives
    if true is None or false is None:
        return Decision(counts=counts, secure=None, reason=TOO_FEW)
    return Decision(counts=counts, secure=rated(true, false, counts.positives, counts.negatives))


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
