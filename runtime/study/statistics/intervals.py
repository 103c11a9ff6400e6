"""Intervals of an area under the ROC curve, and what two areas on the same images differ by."""

from __future__ import annotations

from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

from moiety.runtime.study.statistics.analysis import Area, Comparison, Equivalence, Interval
from moiety.runtime.study.statistics.delong import Placements

Z_95 = float(norm.ppf(0.975))
"""Half the width of a two-sided 95 % interval, in standard errors."""
Z_90 = float(norm.ppf(0.95))
SIGNIFICANCE = 0.05
"""Of each of the two one-sided tests."""


def area(
    auroc: float,
    standard_error: float | None,
    positives: int,
    negatives: int,
    resampled: Interval | None = None,
) -> Area:
    """With its 95 % interval: DeLong's error carried to the logit scale, so that the interval
    stays within 0 and 1; Newcombe's where that error is 0 or unknown, which it is at AUROC 0 and 1.
    """
    if standard_error and 0 < auroc < 1:
        reach = Z_95 * standard_error / (auroc * (1 - auroc))
        low, high = expit(logit(auroc) - reach), expit(logit(auroc) + reach)
        return Area(
            auroc=auroc,
            standard_error=standard_error,
            low=float(low),
            high=float(high),
            interval="logit",
            resampled=resampled,
        )
    within = newcombe(auroc, positives, negatives)
    return Area(
        auroc=auroc,
        standard_error=standard_error,
        low=within.low,
        high=within.high,
        interval="newcombe",
        resampled=resampled,
    )


def newcombe(auroc: float, positives: int, negatives: int) -> Interval:
    """The areas whose distance from `auroc` is within 1.96 of Hanley and McNeil's standard errors
    at these areas themselves, each class taken for half of all images (Newcombe, Statistics in
    Medicine 2006, part 2, method 5). Not degenerate at 0 and 1.
    """
    half = (positives + negatives) / 2 - 1

    def outside(at: float) -> float:
        spread = 1 + half * (1 - at) / (2 - at) + half * at / (1 + at)
        variance = at * (1 - at) * spread / (positives * negatives)
        return (at - auroc) ** 2 - Z_95**2 * variance

    low = 0.0 if auroc == 0 else float(brentq(outside, 0, auroc - _nudge(auroc)))
    high = 1.0 if auroc == 1 else float(brentq(outside, auroc + _nudge(1 - auroc), 1))
    return Interval(low=low, high=high)


def _nudge(room: float) -> float:
    """A step off the area itself, where at exactly 0 and 1 both sides of the equation are 0."""
    return 1e-9 * room


def compared(
    placements: Placements, margin: float, resampled: Interval | None
) -> tuple[Comparison | None, str | None]:
    """The first area minus the second; or None, and why that cannot be judged. Areas that do not
    differ at all have Z = 0 and p = 1, as in pROC. Their intervals are those of a single pair that
    changed places: a cohort without any says no more, and the fewer its images, the less.
    """
    if min(placements.positives, placements.negatives) < 2:
        return None, "one image of a class: the error of a difference cannot be estimated"
    difference, error = placements.difference()
    if error == 0 and difference != 0:
        return None, "DeLong's error of the difference is 0: the difference cannot be tested"
    z = difference / error if error else 0.0
    spread = error or placements.least_error()
    comparison = Comparison(
        difference=difference,
        standard_error=error,
        low=difference - Z_95 * spread,
        high=difference + Z_95 * spread,
        z=z,
        p=float(2 * norm.sf(abs(z))),
        p_holm=None,
        resampled=resampled,
        equivalence=equivalence(difference, spread, margin, changed=error > 0),
    )
    return comparison, None


def equivalence(
    difference: float, error: float, margin: float, changed: bool = True
) -> Equivalence:
    """Two one-sided tests (Schuirmann 1987), which agree with the 90 % interval. `error` is above
    0; `changed`: whether any pair of images changed places.
    """
    low, high = difference - Z_90 * error, difference + Z_90 * error
    p_lower, p_upper = (
        float(norm.sf(distance / error)) for distance in (difference + margin, margin - difference)
    )
    p = max(p_lower, p_upper)
    return Equivalence(
        margin=margin,
        low_90=low,
        high_90=high,
        p_lower=p_lower,
        p_upper=p_upper,
        p=p,
        equivalent=p < SIGNIFICANCE,
        statement=_statement(low, high, margin, p, changed),
    )


def _statement(low: float, high: float, margin: float, p: float, changed: bool) -> str:
    digits = _digits((low, high), margin)
    interval = f"the 90 % interval of the difference, {low:+.{digits}f} to {high:+.{digits}f},"
    tests = f"two one-sided tests, p {'< 0.0001' if p < 1e-4 else f'= {p:.4f}'}"
    if not changed:
        interval = f"no positive and negative image changed places, and {interval}"
    if p < SIGNIFICANCE:
        return f"Equivalent within ±{margin:g}: {interval} lies inside the margin ({tests})."
    return (
        f"Equivalence within ±{margin:g} is not shown: {interval} is not inside the margin "
        f"({tests}). This alone is no evidence of a difference."
    )


def _digits(ends: tuple[float, float], margin: float) -> int:
    """Behind the point: so many that no end of an interval is said as 0 or as the margin itself."""
    for digits in range(4, 12):
        told = [abs(round(end, digits)) for end in ends]
        if not {0.0, round(margin, digits)} & {*told} or digits == 11:
            break
    return digits
