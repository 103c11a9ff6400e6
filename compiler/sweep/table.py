"""A sweep in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from moiety.compiler.sweep.rows import GENERATOR, PlanRow, made
from moiety.runtime.cli import ui


def table(rows: Sequence[PlanRow]) -> Table:
    """A line per plan, the planner's choice marked."""
    labelled = any(row.labels for row in rows)
    shown = ui.table(
        f"Bytes of one image, correlations by the generator {GENERATOR}",
        "rounding",
        "",
        "activations",
        "weights",
        *(("AUROC change", "95 %", "of") if labelled else ()),
        "error",
        "largest",
        "overflows",
        "MB",
        "flights",
        right=10 if labelled else 7,
    )
    for row in made(rows):
        change = (
            number(row.largest_change),
            interval(row.largest_change_low, row.largest_change_high),
            ui.literal(row.largest_label),
        )
        shown.add_row(
            row.rounding,
            "planner's choice" if row.chosen else "",
            f"{row.activation_bits:g}",
            f"{row.weight_bits:g}",
            *(change if labelled else ()),
            number(row.error_rms),
            number(row.error_max),
            f"{row.overflows:,}",
            f"{row.bytes_total / 1e6:,.1f}",
            str(row.flights),
        )
    return shown


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
