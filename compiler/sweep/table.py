"""A sweep in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from moiety.compiler.sweep.rows import GENERATOR, PlanRow, made
from moiety.runtime.cli import ui

WIDE = 126
"""So many columns the whole table takes; in fewer it leaves out what its CSV file has, too."""

Cell = Callable[[PlanRow], str | Text]
ALWAYS, LABELLED, ROOMY = 0, 1, 2


def table(rows: Sequence[PlanRow], width: int = WIDE) -> Table:
    """A line per plan, the planner's choice marked, for a terminal of so many columns."""
    labelled = any(row.labels for row in rows)
    heads = [
        (head, cell)
        for head, needs, cell in COLUMNS
        if (labelled or not needs & LABELLED) and (width >= WIDE or not needs & ROOMY)
    ]
    title = f"* is the planner's choice; MB of one image, correlations by the generator {GENERATOR}"
    shown = ui.table(title, *(head for head, _ in heads), right=len(heads) - 1)
    for row in made(rows):
        shown.add_row(*(cell(row) for _, cell in heads))
    return shown


def _activations(row: PlanRow) -> str:
    return f"{row.activation_bits:g}{' *' if row.chosen else '  '}"


def _interval(row: PlanRow) -> str:
    return interval(row.largest_change_low, row.largest_change_high)


COLUMNS: Sequence[tuple[str, int, Cell]] = (
    ("rounding", ALWAYS, lambda row: row.rounding),
    ("activation\nbits", ALWAYS, _activations),
    ("weight\nbits", ALWAYS, lambda row: f"{row.weight_bits:g}"),
    ("AUROC\nchange", LABELLED, lambda row: number(row.largest_change)),
    ("95 %\ninterval", LABELLED | ROOMY, _interval),
    ("of", LABELLED | ROOMY, lambda row: ui.literal(row.largest_label)),
    ("error,\nrms", ALWAYS, lambda row: number(row.error_rms)),
    ("error,\nlargest", ROOMY, lambda row: number(row.error_max)),
    ("over-\nflows", ALWAYS, lambda row: f"{row.overflows:,}"),
    ("MB", ALWAYS, lambda row: f"{row.bytes_total / 1e6:,.1f}"),
    ("flights", ROOMY, lambda row: str(row.flights)),
)
"""Head, what it needs, and what it shows of a plan."""


def in_short(row: PlanRow) -> str:
    """A line for a plan that is done."""
    plan = f"{row.rounding}, activations {row.activation_bits:g}, weights {row.weight_bits:g}"
    if row.refused:
        return f"{row.rounding}: no plan ({row.refused})"
    if row.chosen:
        plan += " (the planner's choice)"
    change = f"AUROC change {number(row.largest_change)}, " if row.labels else ""
    return (
        f"{plan}: {change}error {number(row.error_rms)}, {row.overflows:,} overflows, "
        f"{row.bytes_total / 1e6:,.1f} MB"
    )


def interval(low: float | None, high: float | None) -> str:
    """Of 95 %; empty where there is none."""
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def number(value: float | None) -> str:
    """Four places; small ones in powers of ten."""
    if value is None:
        return "none"
    return f"{value:.4f}" if value == 0 or abs(value) >= 5e-4 else f"{value:.1e}"
