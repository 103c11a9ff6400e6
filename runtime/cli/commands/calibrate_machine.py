"""Measure this machine's kernels, for the seconds that `moiety inspect --cost` predicts.

Takes about ten seconds on one core; best while nothing else runs. Both parties are assumed to have
such a machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moiety.runtime.cli import ui
from moiety.runtime.cli.progress import watching
from moiety.runtime.cost.machine import default_path
from moiety.runtime.measure.machine import measure_machine
from moiety.runtime.party.memory import keep_freed

EXAMPLES = ("moiety calibrate-machine", "moiety calibrate-machine -o hospital.json")


def command(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write; the default is in the user's cache folder, where inspect --cost "
            "looks.",
            show_default=False,
        ),
    ] = None,
    elements: Annotated[
        int,
        typer.Option(
            min=1024, max=1 << 22, metavar="N", help="Values per kernel call; fewer are less true."
        ),
    ] = 1 << 17,
    repeats: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="Runs of which the fastest counts.")
    ] = 5,
) -> None:
    ui.one_thread()
    keep_freed()
    path = output or default_path()
    with watching("measuring") as watch:
        made = measure_machine(elements, repeats, watch)
    made.save(path)
    ui.say(f"{path}: {len(made.figures)} figures, kernels {made.description['kernels']}")
