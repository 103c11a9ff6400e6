"""A sweep as a figure: change of the AUROC, error and bytes over bit widths, a colour for each
rounding. Loaded by name: it needs matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from moiety.compiler.sweep.rows import GENERATOR, PlanRow, made

COLOURS = {"exact": "#1f5fa8", "stochastic": "#c4561a"}
MARKERS = {"exact": "o", "stochastic": "s"}
INK, FAINT = "#24292f", "#d0d7de"

STYLE: Any = {
    "svg.hashsalt": "moiety",
    "font.size": 9,
    "axes.edgecolor": "#8c959f",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}

LINEAR_BELOW = 1e-4
"""An AUROC change of zero has a place on the axis: below this the axis is linear, and shaded."""

Value = Callable[[PlanRow], float | None]


@dataclass(frozen=True)
class Panel:
    """One quantity. low, high: ends of its band, if it has one."""

    title: str
    value: Value
    low: Value | None = None
    high: Value | None = None
    scale: str = "log"

    def ends(self, row: PlanRow) -> tuple[float, float] | None:
        """Of the band."""
        if self.low is None or self.high is None:
            return None
        low, high = self.low(row), self.high(row)
        return None if low is None or high is None else (low, high)


CHANGE = Panel(
    "largest change of an AUROC",
    lambda row: row.largest_change,
    lambda row: row.largest_change_low,
    lambda row: row.largest_change_high,
    "symlog",
)
ERROR = Panel(
    "error of the results,\nroot mean square",
    lambda row: row.error_rms,
    lambda row: row.error_rms_low,
    lambda row: row.error_rms_high,
)
BYTES = Panel(
    f"GB per image,\n{GENERATOR} correlations", lambda row: row.bytes_total / 1e9, scale="linear"
)


@dataclass(frozen=True)
class Column:
    """The plans along one width; `fixed` is the other."""

    axis: str
    width: str
    fixed: str


COLUMNS = (
    Column("activation bits", "activation_bits", "weight_bits"),
    Column("weight bits", "weight_bits", "activation_bits"),
)


def plot(rows: Sequence[PlanRow], path: Path, title: str) -> None:
    """Writes the figure, in the format that the file's suffix names."""
    rows = made(rows)
    panels = (
        (CHANGE, ERROR, BYTES)
        if any(row.labels or row.largest_label for row in rows)
        else (
            ERROR,
            BYTES,
        )
    )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 0.9 + 2.25 * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), 2, sharex="col", sharey="row", squeeze=False)
        for line, panel in zip(axes, panels, strict=True):
            for axis, column in zip(line, COLUMNS, strict=True):
                draw_panel(axis, rows, panel, column)
            line[0].set_ylabel(panel.title)
        for axis, column in zip(axes[-1], COLUMNS, strict=True):
            axis.set_xlabel(column.axis)
        for axis, column in zip(axes[0], COLUMNS, strict=True):
            axis.set_title(_fixed(rows, column), fontsize=9)
        figure.suptitle(title, fontsize=11, fontweight="bold")
        figure.legend(handles=_legend(rows), loc="outside lower center", ncols=5, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=160, metadata=metadata)


def draw_panel(axis: Any, rows: Sequence[PlanRow], panel: Panel, column: Column) -> None:
    if panel.scale == "symlog":
        axis.set_yscale("symlog", linthresh=LINEAR_BELOW, linscale=0.6)
        axis.axhspan(0, LINEAR_BELOW, color=FAINT, alpha=0.35, lw=0)
        axis.yaxis.set_major_formatter(FuncFormatter(_plain))
        small = {"fontsize": 7, "color": "#57606a", "va": "center", "ha": "right"}
        axis.text(0.99, LINEAR_BELOW / 2, "linear", transform=axis.get_yaxis_transform(), **small)
    else:
        axis.set_yscale(panel.scale)
    axis.grid(True, color=FAINT, linewidth=0.6)
    axis.set_axisbelow(True)
    bits = [getattr(row, column.width) for row in along(rows, column)] or [0.0]
    axis.set_xlim(min(bits) - 0.5, max(bits) + 0.5)
    axis.xaxis.set_major_locator(MultipleLocator(1))
    for rounding, colour in COLOURS.items():
        mine = [row for row in rows if row.rounding == rounding]
        _line(axis, along(mine, column), panel, column, colour, MARKERS[rounding])
        for row in (row for row in mine if row.chosen):
            _star(axis, row, panel, column, colour)
    if panel.scale != "log":
        axis.set_ylim(bottom=0)


def _star(axis: Any, row: PlanRow, panel: Panel, column: Column, colour: str) -> None:
    """The planner's choice, with its interval, and a line at its height."""
    value, ends = panel.value(row), panel.ends(row)
    if value is None:
        return
    width = getattr(row, column.width)
    axis.axhline(value, color=colour, linewidth=0.8, linestyle=(0, (1, 3)), zorder=1)
    if ends is not None:
        axis.vlines(width, *ends, color=colour, linewidth=1.2, zorder=4)
    axis.plot(
        width,
        value,
        "*",
        color=colour,
        markersize=13,
        markeredgecolor="white",
        zorder=5,
        clip_on=False,
    )


def _line(
    axis: Any, rows: Sequence[PlanRow], panel: Panel, column: Column, colour: str, marker: str
) -> None:
    known = [row for row in rows if panel.value(row) is not None]
    if not known:
        return
    widths = [getattr(row, column.width) for row in known]
    banded = [
        (getattr(row, column.width), *ends)
        for row in known
        if (ends := panel.ends(row)) is not None
    ]
    if banded:
        axis.fill_between(*zip(*banded, strict=True), color=colour, alpha=0.16, linewidth=0)
    values = [panel.value(row) for row in known]
    axis.plot(
        widths, values, color=colour, marker=marker, markersize=4.5, linewidth=1.4, clip_on=False
    )
    over = [
        (width, value)
        for width, value, row in zip(widths, values, known, strict=True)
        if row.overflows
    ]
    if over:
        axis.plot(
            *zip(*over, strict=True), marker, color="white", markeredgecolor=colour, markersize=4.5
        )


def along(rows: Sequence[PlanRow], column: Column) -> list[PlanRow]:
    """The plans of a line: those that share the other width with most others."""
    uniform = [row for row in rows if not row.chosen]
    fixed = _common([getattr(row, column.fixed) for row in uniform])
    line = [row for row in uniform if getattr(row, column.fixed) == fixed]
    return sorted(line, key=lambda row: getattr(row, column.width))


def _common(values: Sequence[float]) -> float | None:
    return max(values, key=values.count, default=None)


def _fixed(rows: Sequence[PlanRow], column: Column) -> str:
    bits = _common([getattr(row, column.fixed) for row in rows if not row.chosen])
    other = column.fixed.replace("_", " ")
    return f"at {bits:g} {other}" if bits is not None else ""


def _plain(value: float, _: int) -> str:
    return "0" if value == 0 else f"{value:g}"


def _legend(rows: Sequence[PlanRow]) -> list[Line2D | Patch]:
    there = [rounding for rounding in COLOURS if any(row.rounding == rounding for row in rows)]
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=COLOURS[each], marker=MARKERS[each], markersize=4.5, label=each)
        for each in there
    ]
    star = Line2D([], [], color=INK, marker="*", markersize=11, linestyle="none")
    star.set_label("the planner's choice, at its mean widths")
    band = Patch(color=INK, alpha=0.16, linewidth=0, label="95 % interval, by patient")
    hollow = Line2D([], [], color=INK, marker="o", markerfacecolor="white", linestyle="none")
    hollow.set_label("values overflowed")
    hollow.set_markersize(4.5)
    return [*handles, band, star, *([hollow] if any(row.overflows for row in rows) else [])]
