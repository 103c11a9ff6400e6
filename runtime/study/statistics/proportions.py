"""Proportions with Wilson's interval."""

from __future__ import annotations

from statsmodels.stats.proportion import proportion_confint

from moiety.runtime.study.statistics.analysis import Proportion


def proportion(hits: int, total: int) -> Proportion:
    """`hits` of `total`; without a value of nothing."""
    hits, total = int(hits), int(total)
    if not total:
        return Proportion(hits=hits, total=0, value=None, low=None, high=None)
    low, high = proportion_confint(hits, total, method="wilson")
    return Proportion(
        hits=hits, total=total, value=hits / total, low=max(0.0, low), high=min(1.0, high)
    )
