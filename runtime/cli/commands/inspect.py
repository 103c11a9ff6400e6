"""Show a Program: its layers and widths, RLWE parameters, what it costs on the wire, and what it
discloses about the weights.

All of it is public. `up` is hospital to vendor. A flight is a maximal run of messages in one
direction. Bytes and flights of --cost are exact; seconds are a prediction from figures that
`moiety calibrate-machine` measures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from moiety.runtime.cli import cost_tables, program_tables, ui
from moiety.runtime.cli.options import NETWORK_WORDS, OT_WORDS
from moiety.runtime.program import artifacts

EXAMPLES = (
    "moiety inspect compiled/",
    "moiety inspect public/ --no-steps",
    "moiety inspect compiled/ --cost --network wan",
    "moiety inspect compiled/ --cost --network 20ms,1Gbit/s --ot silent",
)


def command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A compiled folder, or the public part of one.", show_default=False
        ),
    ],
    steps: Annotated[
        bool,
        typer.Option(
            "--steps/--no-steps", help="List every step with its ring, its bytes and its flights."
        ),
    ] = True,
    cost: Annotated[
        bool,
        typer.Option(
            "--cost",
            help="Instead: formulas of the traffic, and predicted bytes, flights and seconds.",
        ),
    ] = False,
    network: Annotated[
        str,
        typer.Option(
            metavar=NETWORK_WORDS,
            help="With --cost: lan is 0.8ms,3Gbit/s, wan is 40ms,400Mbit/s.",
        ),
    ] = "lan",
    ot: Annotated[
        str,
        typer.Option(
            "--ot",
            metavar=OT_WORDS,
            help="With --cost: the generator of correlations; auto is the one predicted to be "
            "soonest done.",
        ),
    ] = "auto",
    machine: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --cost: figures that calibrate-machine saved elsewhere.",
            show_default=False,
        ),
    ] = None,
) -> None:
    program = artifacts.load_program(folder)
    if cost:
        predicted = cost_tables.prediction(program, network, ot, machine)
        parts = cost_tables.report(program, predicted, layers=steps)
    else:
        parts = program_tables.report(program, steps)
    for part in (program_tables.summary(program), *parts):
        ui.out.print(part, soft_wrap=not isinstance(part, Table))
