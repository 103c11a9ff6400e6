"""The formulas that `moiety inspect --cost` begins with. Loaded for them alone: they need sympy."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from moiety.runtime.cli.ui import megabytes, table
from moiety.runtime.cost.formulas import Formula, formulas, readable, readable_draws
from moiety.runtime.program import Program


def formula_table(program: Program) -> Table:
    """Bytes without the rounding up; correlations apart, because the generator decides what
    they send.
    """
    rows = formulas(program)
    shown = table(
        "Formulas: bytes, and correlations to draw (by whom they are received)",
        "kind",
        "of",
        "steps",
        "n",
        "up",
        "down",
        "correlations",
    )
    for row in rows:
        shown.add_row(
            row.kind,
            row.what,
            str(len(row.sizes)),
            f"{row.elements:,}" if row.elements else "",
            readable(row.up),
            readable(row.down),
            readable_draws(row),
        )
    shown.add_section()
    up, down = sum(row.total(row.up) for row in rows), sum(row.total(row.down) for row in rows)
    shown.add_row(
        "all", "without correlations", "", "", megabytes(up), megabytes(down), _drawn(rows)
    )
    return shown


def _drawn(rows: Sequence[Formula]) -> str:
    counts: dict[tuple[str, int], int] = {}
    for row in rows:
        for drawn, amount in row.draws.items():
            counts[drawn] = counts.get(drawn, 0) + row.total(amount)
    return ", ".join(
        f"{n / 1e6:,.2f} M of {k} {receiver}" for (receiver, k), n in sorted(counts.items())
    )
