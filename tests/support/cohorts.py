"""Cohorts in the clear: labels, and what the aggregate protocols compute of them, by definition."""

from __future__ import annotations

import numpy as np

from moiety.protocols.aggregate.auroc import Sums
from moiety.protocols.aggregate.counts import Counts
from moiety.protocols.aggregate.marks import NEGATIVE, POSITIVE
from moiety.protocols.aggregate.quorum import Quorum
from moiety.protocols.arrays import I64, U8, U64


def drawn_marks(labels: int, images: int) -> U8:
    """A third of each kind, the same for the same sizes."""
    return np.random.default_rng(images).integers(0, 3, (labels, images)).astype(np.uint8)


def doubled_placements(scores: I64, marks: U8) -> U64:
    """Of every label and image, `(L, n)`: two for each image of the other class on its right side,
    one for each that ties.
    """
    rows = [_placed(*row) for row in zip(scores, marks, strict=True)]
    return np.array(rows, np.uint64)


def _placed(scores: I64, marks: U8) -> I64:
    above = 2 * (scores[:, None] > scores) + (scores[:, None] == scores)
    counts = (marks[:, None] == POSITIVE) & (marks == NEGATIVE)
    won = above * counts
    placed: I64 = won.sum(axis=1) + won.sum(axis=0)
    return placed


def sums_of(scores: I64, marks: U8, least: Quorum) -> list[Sums | None]:
    """What is revealed of each label, `scores` and `marks` `(L, n)`."""
    return [
        _sums(placed.tolist(), row.tolist(), least)
        for placed, row in zip(doubled_placements(scores, marks), marks, strict=True)
    ]


def _sums(placed: list[int], marks: list[int], least: Quorum) -> Sums | None:
    m, k = marks.count(POSITIVE), marks.count(NEGATIVE)
    if m < least.positives or k < least.negatives:
        return None
    weights = {POSITIVE: m * (k - 1), NEGATIVE: k * (m - 1)}
    spread = sum(weights.get(mark, 0) * e * e for e, mark in zip(placed, marks, strict=True))
    return Sums(sum(placed), spread)


def counts_of(decisions: I64, marks: U8, least: Quorum) -> list[Counts | None]:
    """What is revealed of each label, `decisions` and `marks` `(L, n)`."""
    return [
        _counts(said.tolist(), row.tolist(), least)
        for said, row in zip(decisions, marks, strict=True)
    ]


def _counts(said: list[int], marks: list[int], least: Quorum) -> Counts | None:
    if marks.count(POSITIVE) < least.positives or marks.count(NEGATIVE) < least.negatives:
        return None
    pairs = list(zip(said, marks, strict=True))
    return Counts(pairs.count((1, POSITIVE)), pairs.count((1, NEGATIVE)))
