"""Plots with a row for each label or site: points with their intervals, secure above cleartext."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from moiety.runtime.intake.text import printable
from moiety.runtime.study.report.palette import light
from moiety.runtime.study.report.svg import drawing, figure, picture

WIDTH = 360
_TOP, _ROW = 46, 26
_LONGEST_NAME = 22


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """A row: what it is about, and what is drawn in it, None where there is nothing."""

    name: str
    secure: Estimate | None = None
    cleartext: Estimate | None = None


def shortened(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name of any length and kind, for a place that is short."""
    text = printable(name)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def forest(
    key: str,
    title: str,
    axis: str,
    lines: Sequence[Line],
    chance: float | None = None,
    floor: float | None = None,
) -> Markup:
    """Values up to 1, from `floor` or the lowest of them; a line at `chance`, where guessing is."""
    with drawing():
        made, axes = _rows(lines)
        both = any(line.cleartext for line in lines)
        for place, line in enumerate(lines):
            shift = 0.17 if both else 0.0
            _mark(axes, place - shift, line.secure, "secure", "o")
            _mark(axes, place + shift, line.cleartext, "cleartext", "s")
        lowest = _lowest(lines) if floor is None else floor
        if chance is not None and lowest < chance + 0.05:
            axes.axvline(chance, color=light("muted"), linewidth=1, linestyle=(0, (2, 2)))
        reach = max(1 - lowest, 0.05)
        axes.set_xlim(1 - 1.06 * reach, 1 + 0.03 * reach)
        axes.set_xlabel(axis)
        return picture(made, key, title, f"{title}. {_spoken(lines)}")


def margins(key: str, title: str, axis: str, lines: Sequence[Line], margin: float) -> Markup:
    """Differences (in `secure`), and the band in which they are equivalent."""
    with drawing():
        made, axes = _rows(lines)
        axes.axvspan(-margin, margin, color=light("margin"), linewidth=0)
        axes.axvline(0, color=light("muted"), linewidth=1)
        for place, line in enumerate(lines):
            _mark(axes, place, line.secure, "secure", "o")
        found = [line.secure for line in lines if line.secure]
        reach = max([1.15 * margin, *(1.08 * max(-each.low, each.high) for each in found)])
        axes.set_xlim(-reach, reach)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(axis)
        return picture(made, key, title, f"{title}. {_spoken(lines, 5)}")


def _rows(lines: Sequence[Line]) -> tuple[Figure, Axes]:
    made = figure(WIDTH, _TOP + _ROW * len(lines))
    axes = made.subplots()
    axes.set_yticks(range(len(lines)), [shortened(line.name) for line in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    return made, axes


def _lowest(lines: Sequence[Line]) -> float:
    found = [each for line in lines for each in (line.secure, line.cleartext) if each]
    return min((each.low for each in found), default=0.0)


def _mark(axes: Axes, at: float, found: Estimate | None, colour: str, marker: str) -> None:
    if found is None:
        return
    axes.hlines(at, found.low, found.high, color=light(colour), linewidth=1.6)
    face = light(colour) if colour == "secure" else light("paper")
    axes.plot(
        found.value,
        at,
        marker,
        markersize=5.5,
        markerfacecolor=face,
        markeredgecolor=light(colour),
        markeredgewidth=1.3,
    )


def _spoken(lines: Sequence[Line], digits: int = 3) -> str:
    """The numbers, for those who listen."""
    parts = []
    for line in lines:
        said = [
            f"{whose} {e.value:.{digits}f} ({e.low:.{digits}f} to {e.high:.{digits}f})"
            for whose, e in (("secure", line.secure), ("cleartext", line.cleartext))
            if e
        ]
        parts.append(f"{printable(line.name)}: {', '.join(said) or 'not computed'}")
    return "; ".join(parts) + "."
