"""Plots with a row for each label or site: points with their intervals, secure above cleartext."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from moiety.runtime.intake.text import printable
from moiety.runtime.study.report.palette import light
from moiety.runtime.study.report.svg import drawing, figure, picture

WIDTH = 360
_TOP, _ROW, _BOTTOM = 4, 26, 40
_WIDEST_NAME, _LETTER = 135, 6.1
_WIDE = frozenset("mwMW@%…")


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


@dataclass(frozen=True)
class Scale:
    """Of plots that are to be compared: the axis ends at 1 and begins at `start`; names have
    `room`, in pixels.
    """

    start: float
    room: float

    @classmethod
    def of(cls, lines: Sequence[Line]) -> Scale:
        """That holds all of them."""
        found = [each for line in lines for each in (line.secure, line.cleartext) if each]
        lowest = min([0.95, *(each.low for each in found)])
        return cls(lowest - 0.06 * (1 - lowest), _room(lines))


def shortened(name: str) -> str:
    """A name of any length and kind, for a place that is short."""
    text = printable(name)
    if _width(text) <= _WIDEST_NAME:
        return text
    while _width(text) > _WIDEST_NAME - _LETTER:
        text = text[:-1]
    return f"{text}…"


def _width(text: str) -> float:
    """In pixels, and rather too much: which letters a reader's browser has is not known."""
    return _LETTER * sum(
        1.7 if c in _WIDE or east_asian_width(c) in "WF" else 1.25 if c.isupper() else 1
        for c in text
    )


def forest(
    key: str,
    title: str,
    axis: str,
    lines: Sequence[Line],
    scale: Scale,
    guess: float | None = None,
) -> Markup:
    """Values up to 1; a line where a guess would be."""
    with drawing():
        made, axes = _rows(lines, scale.room)
        both = any(line.cleartext for line in lines)
        for place, line in enumerate(lines):
            shift = 0.17 if both else 0.0
            _mark(axes, place - shift, line.secure, "secure", "o")
            _mark(axes, place + shift, line.cleartext, "cleartext", "s")
        if guess is not None and scale.start < guess:
            axes.axvline(guess, color=light("muted"), linewidth=1, linestyle=(0, (2, 2)))
        axes.set_xlim(scale.start, 1 + 0.03 * (1 - scale.start))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(axis)
        return picture(made, key, title, f"{title}. {_spoken(lines)}")


def margins(key: str, title: str, axis: str, lines: Sequence[Line], margin: float) -> Markup:
    """Differences (in `secure`), and the band in which they are equivalent."""
    with drawing():
        made, axes = _rows(lines, _room(lines))
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


def _room(lines: Sequence[Line]) -> float:
    return 16 + max((_width(shortened(line.name)) for line in lines), default=0.0)


def _rows(lines: Sequence[Line], room: float) -> tuple[Figure, Axes]:
    height = _TOP + _BOTTOM + _ROW * len(lines)
    made = figure(WIDTH, height, arranged=False)
    made.subplots_adjust(
        left=room / WIDTH, right=1 - 12 / WIDTH, top=1 - _TOP / height, bottom=_BOTTOM / height
    )
    axes = made.subplots()
    axes.set_yticks(range(len(lines)), [shortened(line.name) for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    return made, axes


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
        parts.append(f"{line.name}: {', '.join(said) or 'not computed'}")
    return "; ".join(parts) + "."
