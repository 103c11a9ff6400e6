"""Plots of one label each: ROC, agreement, scores, calibration; and of the time by kind of step."""

from __future__ import annotations

from itertools import pairwise

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moiety.runtime.study.report.palette import light
from moiety.runtime.study.report.svg import drawing, figure, picture
from moiety.runtime.study.statistics.analysis import (
    Calibration,
    Curve,
    Differences,
    Histogram,
    KindCost,
    Limits,
)

_WIDTH, _HEIGHT = 330, 260
_DASHED = (0, (4, 2.5))


def roc(key: str, curve: Curve) -> Markup:
    with drawing():
        made, axes = _square()
        axes.plot([0, 1], [0, 1], color=light("rule"), linewidth=1)
        rates = curve.false_positive_rate
        if curve.cleartext is not None:
            axes.plot(rates, curve.cleartext, color=light("cleartext"), linewidth=4.5, alpha=0.45)
        axes.plot(rates, curve.secure, color=light("secure"))
        axes.set(xlabel="False positive rate", ylabel="True positive rate")
        return picture(made, key, f"ROC curve of {curve.label}", _roc_spoken(curve))


def _roc_spoken(curve: Curve) -> str:
    text = "True positive rate of the secure scores by false positive rate: "
    text += "; ".join(
        f"{y:.2f} at {x:.2f}"
        for x, y in zip(curve.false_positive_rate, curve.secure, strict=True)
        if abs(x * 10 - round(x * 10)) < 1e-9
    )
    if curve.cleartext is None:
        return text + "."
    largest = max(abs(a - b) for a, b in zip(curve.secure, curve.cleartext, strict=True))
    return f"{text}. The cleartext curve is nowhere further away than {largest:.3f}."


def bland_altman(key: str, found: Differences, limits: Limits | None) -> Markup:
    """Groups of images on the left, at the right all differences as a histogram."""
    with drawing():
        made = figure(_WIDTH, _HEIGHT)
        axes, side = made.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        axes.fill_between(
            found.means, found.low, found.high, color=light("secure"), alpha=0.18, linewidth=0
        )
        axes.plot(found.means, found.median, color=light("secure"))
        if limits is not None:
            _limits(axes, limits)
        sizes = [high - low for low, high in pairwise(found.edges)]
        side.barh(
            found.edges[:-1],
            found.counts,
            height=sizes,
            align="edge",
            color=light("secure"),
            alpha=0.55,
            linewidth=0,
        )
        side.axis("off")
        axes.set(xlabel="Mean of the two scores", ylabel="Secure − cleartext")
        name = found.label or "all labels together"
        return picture(made, key, f"Difference plot of {name}", _limits_spoken(limits))


def _limits(axes: Axes, limits: Limits) -> None:
    axes.axhline(limits.bias, color=light("ink"), linewidth=1)
    for value, interval in (
        (limits.lower, limits.lower_interval),
        (limits.upper, limits.upper_interval),
    ):
        axes.axhspan(interval.low, interval.high, color=light("cleartext"), alpha=0.22, linewidth=0)
        axes.axhline(value, color=light("cleartext"), linewidth=1, linestyle=_DASHED)


def _limits_spoken(limits: Limits | None) -> str:
    if limits is None:
        return "Secure minus cleartext scores; there are no limits of agreement."
    return (
        f"Secure minus cleartext scores: bias {limits.bias:.5f}, limits of agreement "
        f"{limits.lower:.5f} to {limits.upper:.5f}."
    )


def histogram(key: str, found: Histogram) -> Markup:
    with drawing():
        made, axes = _panel()
        below = [0] * len(found.secure_positives)
        for counts, colour in (
            (found.secure_negatives, "without"),
            (found.secure_positives, "with"),
            (found.secure_unknown, "rule"),
        ):
            top = [a + b for a, b in zip(below, counts, strict=True)]
            axes.stairs(top, found.edges, baseline=below, fill=True, color=light(colour), alpha=0.8)
            below = top
        if found.cleartext is not None:
            axes.stairs(found.cleartext, found.edges, color=light("cleartext"), linewidth=1.3)
        axes.grid(axis="x", visible=False)
        axes.set(xlabel="Score", ylabel="Images")
        name = found.label
        return picture(made, key, f"Scores of {name}", _histogram_spoken(found))


def _histogram_spoken(found: Histogram) -> str:
    return (
        f"Images by secure score, from {found.edges[0]:.3g} to {found.edges[-1]:.3g}: "
        f"{sum(found.secure_positives)} with the label, {sum(found.secure_negatives)} without, "
        f"{sum(found.secure_unknown)} unknown."
    )


def calibration(key: str, found: Calibration) -> Markup:
    with drawing():
        made, axes = _square()
        axes.plot([0, 1], [0, 1], color=light("muted"), linewidth=1, linestyle=_DASHED)
        seen = [
            (x, o.hits / o.total, o.low, o.high)
            for x, o in ((each.predicted, each.observed) for each in found.bins)
            if x is not None and o.low is not None and o.high is not None
        ]
        for x, _, low, high in seen:
            axes.vlines(x, low, high, color=light("secure"), linewidth=1.4, alpha=0.6)
        axes.plot(
            [x for x, *_ in seen],
            [y for _, y, *_ in seen],
            "o",
            color=light("secure"),
            markersize=4.5,
        )
        axes.set(xlabel="Predicted probability", ylabel="Observed share")
        spoken = "; ".join(
            f"predicted {each.predicted:.2f}, observed {each.observed.hits} of "
            f"{each.observed.total}"
            for each in found.bins
            if each.predicted is not None
        )
        return picture(made, key, f"Calibration of {found.label}", f"By bin: {spoken}.")


def kinds(key: str, found: tuple[KindCost, ...]) -> Markup:
    """Seconds of an image by kind of step, the longest first."""
    ordered = sorted(found, key=lambda each: -each.seconds)
    with drawing():
        made = figure(_WIDTH, 46 + 24 * len(ordered))
        axes = made.subplots()
        axes.barh(
            [each.kind for each in ordered],
            [each.seconds for each in ordered],
            0.62,
            color=light("secure"),
        )
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("Seconds an image")
        spoken = "; ".join(f"{each.kind} {each.seconds:.3g} s" for each in ordered)
        return picture(made, key, "Seconds an image by kind of step", f"{spoken}.")


def _panel() -> tuple[Figure, Axes]:
    made = figure(_WIDTH, _HEIGHT)
    return made, made.subplots()


def _square() -> tuple[Figure, Axes]:
    """From 0 to 1 both ways."""
    made = figure(_WIDTH, _WIDTH - 10)
    axes = made.subplots()
    ticks = (0, 0.25, 0.5, 0.75, 1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks)
    axes.set_aspect("equal")
    return made, axes
