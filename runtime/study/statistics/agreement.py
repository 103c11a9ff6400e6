"""How far secure and cleartext scores of the same images agree."""

from __future__ import annotations

import numpy as np
from scipy.stats import ks_2samp, t

from moiety.protocols.arrays import F64
from moiety.runtime.study.statistics.analysis import Agreement, Interval, Limits
from moiety.runtime.study.statistics.intervals import Z_95

QUANTILES = (0.5, 0.9, 0.95, 0.99)
ALL_LABELS = ""
"""Stands for all labels' scores together."""


def agreement(label: str, secure: F64, cleartext: F64) -> Agreement:
    """Of two scores of each image, `(n,)`, or of all labels', `(n, L)`; at least one."""
    images = secure.shape[0]
    secure, cleartext = secure.ravel(), cleartext.ravel()
    change = secure - cleartext
    size = np.abs(change)
    # Its exact p is above 1 by rounding errors, and refused by itself, where nothing is to be seen.
    ks = ks_2samp(secure, cleartext, method="asymp" if change.size > 1 else "exact")
    return Agreement(
        label=label,
        images=images,
        largest=float(size.max()),
        rms=float(np.sqrt(np.mean(change**2))),
        quantiles={f"{at:g}": float(np.quantile(size, at)) for at in QUANTILES},
        correlation=_correlation(secure, cleartext),
        ks=float(ks.statistic),
        ks_p=float(ks.pvalue),
        limits=limits(change, images) if images > 1 else None,
    )


def limits(change: F64, count: int) -> Limits:
    """Bland and Altman (Statistical Methods in Medical Research 1999): bias and limits, with
    intervals on Student's t, the limits' error being s * sqrt(1/n + z^2 / (2 (n - 1))). n is the
    `count` of images, of however many labels each has a change: these are not independent.
    """
    bias, deviation = float(change.mean()), float(change.std(ddof=1))
    quantile = float(t.ppf(0.975, count - 1))
    of_bias = quantile * deviation / np.sqrt(count)
    of_limit = quantile * deviation * np.sqrt(1 / count + Z_95**2 / (2 * (count - 1)))
    lower, upper = bias - Z_95 * deviation, bias + Z_95 * deviation
    return Limits(
        bias=bias,
        bias_interval=_around(bias, of_bias),
        standard_deviation=deviation,
        lower=lower,
        lower_interval=_around(lower, of_limit),
        upper=upper,
        upper_interval=_around(upper, of_limit),
    )


def _around(value: float, reach: float) -> Interval:
    return Interval(low=float(value - reach), high=float(value + reach))


def _correlation(first: F64, second: F64) -> float | None:
    """Pearson's, by sums that are the same on every processor, as scipy's by BLAS are not."""
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    first, second = (_normed(each - each.mean()) for each in (first, second))
    return float(np.clip((first * second).sum(), -1, 1))


def _normed(centred: F64) -> F64:
    """Of length 1; neither infinite nor 0 on the way."""
    unit = centred / np.abs(centred).max()
    return unit / np.sqrt((unit**2).sum())
