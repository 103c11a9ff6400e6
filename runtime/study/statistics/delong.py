"""DeLong's variance and covariance of areas under correlated ROC curves (DeLong, DeLong,
Clarke-Pearson, Biometrics 1988), by midranks (Sun and Xu, IEEE Signal Processing Letters 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from moiety.protocols.arrays import BOOL, F64


@dataclass(frozen=True, eq=False)
class Placements:
    """Of `k` scores of the same images. above, `(k, m)`: for each of `m` positives, how many
    negatives score below it; below, `(k, n)`: for each of `n` negatives, how many positives score
    above it. Ties count half, so the numbers are exact.
    """

    above: F64
    below: F64

    @classmethod
    def of(cls, scores: F64, positive: BOOL) -> Placements:
        """`scores`, `(k, images)`; `positive`, `(images,)`, with both classes in it."""
        ranks = rankdata(scores, axis=1)
        negatives_below = ranks[:, positive] - rankdata(scores[:, positive], axis=1)
        positives_below = ranks[:, ~positive] - rankdata(scores[:, ~positive], axis=1)
        return cls(negatives_below, positive.sum() - positives_below)

    @property
    def positives(self) -> int:
        return self.above.shape[1]

    @property
    def negatives(self) -> int:
        return self.below.shape[1]

    def areas(self) -> F64:
        """The AUROCs, `(k,)`: pairs in order, of all pairs."""
        return self.above.sum(axis=1) / (self.positives * self.negatives)

    def covariance(self) -> F64:
        """Of the AUROCs, `(k, k)`. Wants two images or more of each class."""
        return _covariance(self.above, self.negatives) + _covariance(self.below, self.positives)

    def difference(self) -> tuple[float, float]:
        """The first area minus the second, and its standard error: both exactly 0 where they place
        alike.
        """
        change = Placements(self.above[:1] - self.above[1:2], self.below[:1] - self.below[1:2])
        return float(change.areas()[0]), float(np.sqrt(change.covariance()[0, 0]))

    def least_error(self) -> float:
        """What `difference` would give as an error where a single pair of images changed places."""
        return float(np.sqrt(2)) / (self.positives * self.negatives)


def _covariance(counts: F64, others: int) -> F64:
    """Of the means of the rows' shares of `others`. The counts are halves at most, so it is
    computed in integers, of any length: rows that are constant have exactly 0, and no processor
    rounds otherwise than another.
    """
    size = counts.shape[1]
    doubled = (2 * counts).astype(np.int64).astype(np.object_)
    centred = doubled * size - doubled.sum(axis=1, keepdims=True)
    whole = (2 * size * others) ** 2 * (size - 1) * size
    return np.array([[each / whole for each in row] for row in centred @ centred.T])
