"""The table of all parts: for people, for a document, for programs."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from tests.trust.parts import ROOT
from tests.trust.run import FAILED, NOT_RUN, PASSED, STOPPED, Outcome

COLUMNS = ("part", "claim", "result", "seconds", "summary", "supports")
COLOURS = {PASSED: "green", FAILED: "bold red", NOT_RUN: "yellow", STOPPED: "yellow"}


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, str | float]]:
    """One for each part."""
    return [
        {
            "part": each.part.name,
            "claim": each.part.claim,
            "result": each.result,
            "seconds": round(each.seconds, 1),
            "summary": each.summary,
            "supports": each.part.document,
        }
        for each in outcomes
    ]


def counts(outcomes: Sequence[Outcome]) -> str:
    """In one line."""
    results = [each.result for each in outcomes]
    said = [f"{results.count(result)} {result}" for result in COLOURS if result in results]
    minutes = sum(each.seconds for each in outcomes) / 60
    return f"{', '.join(said)}, of {len(outcomes)} parts, in {minutes:.1f} minutes"


def circumstances() -> dict[str, str]:
    """Of which tree, on what, when."""
    return {
        "commit": commit(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str:
    """What git calls this tree; "changed" where files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty= (changed)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def as_table(outcomes: Sequence[Outcome]) -> Table:
    """For the terminal."""
    table = Table(title=counts(outcomes), title_justify="left")
    for column in COLUMNS[:-1]:
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for row in rows(outcomes):
        cells = [Text(str(row[column])) for column in COLUMNS[:-1]]
        cells[2].stylize(COLOURS[str(row["result"])])
        table.add_row(*cells)
    return table


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """A document of its own."""
    head = [f"{name}: {value}" for name, value in circumstances().items()]
    lines = ["# make trust", "", *(f"- {line}" for line in (counts(outcomes), *head)), ""]
    lines += [cells(COLUMNS), cells(["---"] * len(COLUMNS))]
    lines += [cells(map(str, row.values())) for row in rows(outcomes)]
    return "\n".join(lines) + "\n"


def as_json(outcomes: Sequence[Outcome]) -> str:
    """Rows, and under what circumstances."""
    return json.dumps({**circumstances(), "parts": rows(outcomes)}, indent=1) + "\n"


def cells(texts: Iterable[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
