"""How well each label tells positives from negatives, secure and in the clear, and whether that
changed.
"""

from __future__ import annotations

import msgspec
import numpy as np
from statsmodels.stats.multitest import multipletests

from moiety.protocols.arrays import F64, I64
from moiety.runtime.study.statistics.analysis import Area, Counts, Discrimination, Interval
from moiety.runtime.study.statistics.delong import Placements
from moiety.runtime.study.statistics.intervals import area, compared
from moiety.runtime.study.statistics.places import Column, one_class
from moiety.runtime.study.statistics.resampling import Bootstrap, interval, weighted_areas
from moiety.runtime.study.table import AggregateResult

TOO_FEW = "fewer positives or negatives than the policy asks for"


def discriminated(
    columns: tuple[Column, ...], bootstrap: Bootstrap, margin: float
) -> tuple[Discrimination, ...]:
    """Every label over all images and at each site."""
    found = [
        _judged(counts, judged, bootstrap, margin)
        for column in columns
        for counts, judged in column.places(lend=True)
    ]
    return _adjusted(tuple(found))


def _judged(counts: Counts, column: Column, bootstrap: Bootstrap, margin: float) -> Discrimination:
    if reason := one_class(counts):
        return Discrimination(counts=counts, reason=reason)
    placements = Placements.of(column.scores(), column.positive)
    resampled = bootstrap.of(column.units, lambda drawn: _areas(column, drawn))
    secure = _area(placements, interval(column.units, resampled[:, 0]), 0)
    if column.cleartext is None:
        return Discrimination(counts=counts, secure=secure)
    change = interval(column.units, resampled[:, 0] - resampled[:, 1])
    comparison, reason = compared(placements, margin, change)
    return Discrimination(
        counts=counts,
        secure=secure,
        cleartext=_area(placements, interval(column.units, resampled[:, 1]), 1),
        comparison=comparison,
        reason=reason,
    )


def _areas(column: Column, drawn: I64) -> F64:
    return np.stack(
        [weighted_areas(scores, column.positive, drawn) for scores in column.scores()], axis=1
    )


def _area(placements: Placements, resampled: Interval | None, number: int) -> Area:
    positives, negatives = placements.positives, placements.negatives
    error = None
    if min(positives, negatives) > 1:
        error = float(np.sqrt(placements.covariance()[number, number]))
    return area(
        float(placements.areas()[number]),
        error,
        positives,
        negatives,
        resampled,
    )


def _adjusted(found: tuple[Discrimination, ...]) -> tuple[Discrimination, ...]:
    """With Holm's p for all labels over all images: one family, one question of each label."""
    family = {
        each.counts.label: each.comparison.p
        for each in found
        if each.comparison is not None and each.counts.site is None
    }
    if not family:
        return found
    adjusted = dict(zip(family, multipletests([*family.values()], method="holm")[1], strict=True))
    return tuple(
        msgspec.structs.replace(
            each,
            comparison=msgspec.structs.replace(
                each.comparison, p_holm=float(adjusted[each.counts.label])
            ),
        )
        if each.comparison is not None and each.counts.site is None
        else each
        for each in found
    )


def counts_of(result: AggregateResult, images: int) -> Counts:
    """How many of `images` are known to have the label, and not to have it."""
    return Counts(
        label=result.label,
        site=None,
        images=images,
        positives=result.positives,
        negatives=result.negatives,
        unknown=images - result.positives - result.negatives,
    )


def of_aggregate(result: AggregateResult, images: int) -> Discrimination:
    """What an aggregate policy lets be known of a label: over all `images` alone."""
    counts = counts_of(result, images)
    if result.auroc is None:
        return Discrimination(counts=counts, reason=TOO_FEW)
    found = area(result.auroc, result.standard_error, result.positives, result.negatives)
    return Discrimination(counts=counts, secure=found)
