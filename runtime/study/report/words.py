"""How numbers are said: as many digits as they mean something to, a true minus, never NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

Value = str | int | float | tuple[float, float] | None
"""Of one cell; a pair is an interval."""
Shown = Callable[[Value], str]

DASH = "–"
"""For a number that there is not; a footnote says why."""
_MINUS = "\N{MINUS SIGN}"
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def said(show: Callable[[float], str]) -> Shown:
    """Of a column of numbers: dashes for those that there are not; text stays text."""

    def shown(value: Value) -> str:
        if value is None:
            return DASH
        if isinstance(value, tuple):
            return " to ".join(map(show, value))
        return value if isinstance(value, str) else show(value)

    return shown


def fixed(digits: int) -> Callable[[float], str]:
    """So many digits behind the point; no sign before zeros alone."""
    return lambda value: f"{value:z.{digits}f}".replace("-", _MINUS)


def signed(digits: int) -> Callable[[float], str]:
    """The same with a sign, for differences; none before zeros alone."""

    def show(value: float) -> str:
        text = f"{value:+.{digits}f}"
        return text[1:] if float(text) == 0 else text.replace("-", _MINUS)

    return show


def scaled(sizes: Iterable[float]) -> tuple[Callable[[float], str], Callable[[float], str]]:
    """How sizes like these are said, and how differences are: with three digits of the smallest
    that is not 0, in powers of ten where that is too long.
    """
    known = [size for size in sizes if size > 0]
    digits = max(2 - math.floor(math.log10(min(known))), 0) if known else 5
    if known and (digits > 9 or max(known) >= 1e9):
        return _power, lambda value: f"{'+' * (value > 0)}{_power(value)}"
    return fixed(digits), signed(digits)


def _power(value: float) -> str:
    return f"{value:.2e}".replace("-", _MINUS) if value else "0"


def probability(value: float) -> str:
    """A P value, as journals write it."""
    if value < 0.001:
        return "<0.001"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def grouped(value: float) -> str:
    """A count, thousands apart."""
    return f"{value:,.0f}"


def size(value: float) -> str:
    """Bytes."""
    unit, name = next(((unit, name) for unit, name in _BYTES if value >= unit), (1, "B"))
    return f"{_three(value / unit)} {name}"


def duration(seconds: float) -> str:
    """Seconds, minutes and hours."""
    if seconds < 60:
        return f"{_three(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 image`, `2 images`."""
    return f"{grouped(number)} {one if number == 1 else many or one + 's'}"


def listed(things: list[str]) -> str:
    """`a, b and c`."""
    *most, last = things
    return f"{', '.join(most)} and {last}" if most else last


def _three(value: float) -> str:
    """Three significant digits, and all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


text = said(str)
count = said(grouped)
