"""Show a Program: what it takes and gives, its widths, what an image costs on the wire, and what it
discloses about the weights; with --steps all of its layers.

All of it is public. `up` is hospital to vendor. A flight is a maximal run of messages in one
direction. Bytes and flights of --cost are exact; seconds are a prediction from figures that
`moiety calibrate-machine` measures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from moiety.protocols.errors import BadInput
from moiety.runtime.cli import cost_tables, program_tables, ui
from moiety.runtime.cli.options import NETWORK_WORDS, OT_WORDS
from moiety.runtime.cli.page.page import page
from moiety.runtime.cli.programs import open_program
from moiety.runtime.program import write_atomically

EXAMPLES = (
    "moiety inspect compiled/",
    "moiety inspect model.moiety --steps",
    "moiety inspect compiled/ --cost --network wan",
    "moiety inspect compiled/ --html program.html",
    "moiety inspect compiled/ --cost --network 20ms,1Gbit/s --ot silent",
)


def command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.moiety",
            help="A Program, or the compiled folder that it is in.",
            show_default=False,
        ),
    ],
    steps: Annotated[
        bool,
        typer.Option(
            "--steps",
            help="List every step with its ring, its bytes and its flights, and the RLWE "
            "parameters; with --cost every layer with its seconds.",
        ),
    ] = False,
    cost: Annotated[
        bool,
        typer.Option(
            "--cost",
            help="Instead: formulas of the traffic, and predicted bytes, flights and seconds.",
        ),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write it as one HTML file, with every layer drawn and predicted bytes, flights "
            "and seconds.",
            show_default=False,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar=NETWORK_WORDS,
            help="With --cost or --html: lan, the default, is 0.8ms,3Gbit/s, wan is "
            "40ms,400Mbit/s.",
            show_default=False,
        ),
    ] = None,
    ot: Annotated[
        str | None,
        typer.Option(
            "--ot",
            metavar=OT_WORDS,
            help="With --cost or --html: the generator of correlations; auto, the default, is the "
            "one predicted to be soonest done.",
            show_default=False,
        ),
    ] = None,
    machine: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --cost or --html: figures that calibrate-machine saved elsewhere.",
            show_default=False,
        ),
    ] = None,
) -> None:
    program = open_program(folder)
    given = {"--network": network, "--ot": ot, "--machine": machine}
    useless = [option for option, value in given.items() if value is not None]
    if useless and not cost and html is None:
        raise BadInput(
            f"{', '.join(useless)}: only with --cost or --html, which predict seconds; add one"
        )
    parts: Iterable[Table | Text] = program_tables.report(program, steps)
    if cost or html is not None:
        predicted = cost_tables.prediction(program, network or "lan", ot or "auto", machine)
        if html is not None:
            write(html, page(program, predicted))
        if cost:
            parts = cost_tables.report(program, predicted, layers=steps)
        elif not steps:
            return
    for part in (program_tables.summary(program), *parts):
        ui.out.print(part, soft_wrap=not isinstance(part, Table))


def write(file: Path, text: str) -> None:
    """Raises `BadInput`."""
    try:
        write_atomically(file, text.encode())
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror or error}") from None
    ui.say(f"{file}: {len(text.encode()) / 1e6:.1f} MB")
