"""Check an access file, and show what its clients have left (vendor).

The file is the one of `moiety serve --access`. A server that runs need not be told of a change: it
looks at the file before every session and every run. A client is served no more when as many checks
of what it sent have failed as the last column says (`failed-checks-in-total`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from moiety.runtime.cli import ui
from moiety.runtime.cli.operation import CountsOption
from moiety.runtime.operation.access import AccessList
from moiety.runtime.operation.fingerprint import Fingerprint

EXAMPLES = (
    "moiety access access.toml",
    "moiety access access.toml --clock-was-ahead",
)


def command(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The access file (TOML).", show_default=False),
    ],
    counts: CountsOption = None,
    clock_was_ahead: Annotated[
        bool,
        typer.Option(
            "--clock-was-ahead",
            help="Images were counted on days that have not come: count them today.",
        ),
    ] = False,
) -> None:
    access = AccessList.at(file, counts)
    if clock_was_ahead and not access.counters.forget_later_days():
        ui.say("no image was counted on a later day than today; nothing is changed")
    shown = ui.table(
        *("", "client", "fingerprint", "today", "a day", "in all", "in total", "cohorts"),
        *("failed checks", "at most"),
        right=7,
    )
    for each in access.standing():
        shown.add_row(
            escape(each.name),
            str(Fingerprint(bytes.fromhex(each.fingerprint))),
            str(each.count.today),
            _limit(each.entry.images_per_day),
            str(each.count.total),
            _limit(each.entry.images_in_total),
            _limit(each.entry.cohorts_in_total),
            str(each.failures),
            str(each.entry.failed_checks_in_total),
        )
    ui.show(shown)


def _limit(most: int | None) -> str:
    return "no limit" if most is None else str(most)
