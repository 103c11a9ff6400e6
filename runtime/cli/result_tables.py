"""What `moiety infer` shows of its results: names shortened to the terminal, values never."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moiety.runtime.cli import ui
from moiety.runtime.intake.text import printable
from moiety.runtime.results.record import (
    WITH_WARNINGS,
    ImageResult,
    LeftOut,
    OutputResult,
    Results,
)

SHOWN_VALUES = 5
"""Of each output, the largest."""
SHOWN_FILES = 5
NARROWEST_RESULT = 20


def result_table(results: Results, terminal: Console) -> Table:
    """A row per image, as wide as the terminal and in its characters."""
    shown = ui.table("", "image")
    shown.add_column("result", overflow="fold", min_width=NARROWEST_RESULT)
    longest = ui.longest_name(terminal)

    def fit(text: str) -> str:
        """What the terminal has no character for is escaped before lines are measured."""
        return text.encode(terminal.encoding, "backslashreplace").decode(terminal.encoding)

    for image in results.images:
        # Names come from the vendor and from files: they are not markup.
        name = ui.shortened(fit(printable(image.file)), longest)
        shown.add_row(escape(name), escape(fit("\n".join(result_lines(image)))))
    return shown


def result_lines(image: ImageResult) -> Iterator[str]:
    """One for each output; warnings were said before anything was sent, or with the result."""
    for output in image.outputs:
        yield (
            largest(output)
            if len(image.outputs) == 1
            else f"{printable(output.name)}: {largest(output)}"
        )


def largest(output: OutputResult) -> str:
    """The largest values with their names, in one line, of truth values all that is true; of
    integers the first, as they are or with the labels that they chose.
    """
    order = list(range(len(output.values)))
    if output.kind != "integer":
        order.sort(key=lambda index: _rank(output.values[index]), reverse=True)
    names = output.names()
    shown = [printable(each) for each in output.chosen] or [*map(number, output.values)]
    pairs = [f"{printable(names[index])}: {shown[index]}" for index in order]
    most = max(SHOWN_VALUES, output.values.count(1) if output.kind == "boolean" else 0)
    return ", ".join(pairs[:most]) + (", ..." if len(pairs) > most else "")


def _rank(value: float | int | None) -> float:
    return -math.inf if value is None else value


def number(value: float | int | None) -> str:
    """Four decimals, or four digits where there would be too many; integers as they are."""
    if value is None:
        return "no number"
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.4e}"


def left_out_lines(what: str, files: Sequence[LeftOut]) -> list[str]:
    """How many, and the first of them with their reasons; nothing for none."""
    if not files:
        return []
    lines = [f"{len(files)} {what}:"]
    lines += [f"  {printable(each.file)}: {printable(each.reason)}" for each in files[:SHOWN_FILES]]
    more = len(files) - SHOWN_FILES
    return lines + ([f"  and {more} more"] if more > 0 else [])


def verdict_line(results: Results) -> str:
    """How many images were taken, with warnings, refused and skipped."""
    warned = sum(image.verdict == WITH_WARNINGS for image in results.images)
    counts = {
        "with warnings": warned,
        "refused": len(results.refused),
        "skipped": len(results.skipped),
    }
    told = [f"{count} {what}" for what, count in counts.items() if count]
    return ", ".join([ui.images(len(results.images)), *told])
