"""Compile a model at many bit widths and run images through each, on this machine: what accuracy
and how many bytes does a width leave?

First the planner's own choice, then, around it, one width at a time. Nothing is sent: with exact
rounding the numbers are, bit for bit, those of secure inference. Without labels: error against the
float model, and bytes; a CSV list with columns named like the model's outputs (1, 0, empty for
unknown; `patient` for images of one person) gives the AUROC's change, too. What was done is kept in
DIR: the same command goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from moiety.compiler.commands.compile import (
    CalibrationOption,
    ExactSizeOption,
    InputShapeOption,
    LabelsOption,
    MeanOption,
    ModelArgument,
    PreprocessingOption,
    StdOption,
    names,
    shapes,
)
from moiety.compiler.sweep.corpus import Corpus, corpus_of
from moiety.compiler.sweep.grid import ROUNDINGS, Grid
from moiety.compiler.sweep.rows import PlanRow
from moiety.compiler.sweep.table import in_short, table
from moiety.protocols.errors import BadInput
from moiety.runtime.cli import ui
from moiety.runtime.cli.options import (
    BitDepthOption,
    KeepGoingOption,
    NoBatchAxisOption,
    RecursiveOption,
    numbers,
    sizes,
)
from moiety.runtime.cli.progress import watching
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.intake import extras
from moiety.runtime.intake.admission import Intake
from moiety.runtime.intake.loader import Reader
from moiety.runtime.intake.text import printable

if TYPE_CHECKING:
    from moiety.compiler import compile as compiling
    from moiety.compiler import compile_files, description
    from moiety.compiler.sweep import files, run
    from moiety.compiler.sweep import subject as subjects
else:
    compiling = extras.Later("moiety.compiler.compile", "moiety sweep")
    compile_files = extras.Later("moiety.compiler.compile_files", "moiety sweep")
    description = extras.Later("moiety.compiler.description", "moiety sweep")
    files = extras.Later("moiety.compiler.sweep.files", "moiety sweep")
    run = extras.Later("moiety.compiler.sweep.run", "moiety sweep")
    subjects = extras.Later("moiety.compiler.sweep.subject", "moiety sweep")

EXAMPLES = (
    "moiety sweep model.onnx --calibration x-rays/ --images held-out/ -o sweep/",
    "moiety sweep model.onnx --calibration x-rays/ --images labelled.csv -o sweep/ "
    "--rounding both --processes 8 --plot sweep.svg",
    "moiety sweep model.onnx --calibration x-rays/ --images held-out/ -o sweep/ "
    "--activation-bits 8,9,10,12 --weight-bits 8,10",
)


swept = partial(typer.Option, rich_help_panel="Sweep", show_default=False)


def command(
    model: ModelArgument,
    calibration: CalibrationOption,
    images: Annotated[
        list[Path],
        typer.Option(
            metavar="IMAGES",
            help="Pictures to run, others than those of the calibration: files, folders, or CSV "
            "lists, whose columns may have labels.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for the tables and for what a stopped sweep goes on from.",
            show_default=False,
        ),
    ],
    rounding: Annotated[
        Literal["exact", "stochastic", "both"],
        typer.Option(help="Of the plans (see moiety compile)."),
    ] = "exact",
    activation_bits: Annotated[
        str | None, swept(metavar="N,N,...", help="Default: six around the planner's mean.")
    ] = None,
    weight_bits: Annotated[
        str | None, swept(metavar="N,N,...", help="Default: six around the planner's mean.")
    ] = None,
    margin_bits: Annotated[
        int | None,
        swept(metavar="N", help="Bits of headroom everywhere. Default: as far as images differ."),
    ] = None,
    processes: Annotated[
        int, swept(min=1, max=512, metavar="N", help="That run images.", show_default=True)
    ] = 1,
    bootstrap: Annotated[
        int, swept(min=10, max=100_000, metavar="N", help="Resamples.", show_default=True)
    ] = 1000,
    seed: Annotated[
        int,
        swept(min=0, metavar="N", help="Of drawn roundings and resamples.", show_default=True),
    ] = 0,
    plot: Annotated[
        Path | None,
        swept(metavar="FILE", help="Draw it: .svg, .png or .pdf (needs matplotlib)."),
    ] = None,
    input_shape: InputShapeOption = None,
    no_batch_axis: NoBatchAxisOption = False,
    preprocessing: PreprocessingOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    exact_size: ExactSizeOption = False,
    labels: LabelsOption = None,
    recursive: RecursiveOption = False,
    keep_going: KeepGoingOption = None,
    bit_depth: BitDepthOption = None,
) -> None:
    draw = drawing(plot)
    grid = Grid(
        ROUNDINGS if rounding == "both" else (rounding,),
        sizes(activation_bits, "--activation-bits"),
        sizes(weight_bits, "--weight-bits"),
        margin_bits,
    )
    described = description.Described(
        preprocessing, numbers(mean, "--mean"), numbers(std, "--std"), exact_size
    )
    pictures = compile_files.Pictures(calibration, described, recursive, keep_going, bit_depth)
    options = compiling.CompileOptions(
        input_shape=shapes(input_shape, "--input-shape"),
        batch_axis=not no_batch_axis,
        labels=names(labels),
        note=ui.warn,
    )
    journal = files.journal_of(output)
    with watching("sweep") as watch:

        def progress(what: str, done: int, total: int) -> None:
            watch(done, total, what)

        subject = subjects.Subject.of(model, pictures, options, output, progress)
        corpus, reader = judged_images(Given(images, recursive, keep_going, bit_depth), subject)
        sweep = run.Sweep(
            subject, corpus, reader, grid, journal, processes, bootstrap, seed, progress
        )
        rows = files.kept(sweep, output, lambda row: ui.say(in_short(row)))
    ui.out.print(table(rows, ui.out.width))
    tables = (files.PLANS, files.LABELS) if corpus.labels else (files.PLANS,)
    ui.say(f"all figures: {', '.join(str(output / each) for each in tables)}")
    if plot is not None:
        draw(rows, plot, f"{model.name}, {ui.images(len(corpus.files))}")
        ui.say(f"figure: {plot}")


def judged_images(given: Given, subject: subjects.Subject) -> tuple[Corpus, Reader]:
    """The images that are accepted, with their labels, and how they are read. Raises `BadInput`."""
    found = given.collected()
    reader = replace(subject.reader, rows=found.rows)
    intake = given.admitted(reader, found)
    warn_of_calibration(intake, subject.calibrated)
    corpus = corpus_of(intake.files, found.rows, subject.labels)
    if found.rows and not corpus.labels:
        names_of = ", ".join(map(printable, subject.labels)) or "none known; --labels names them"
        ui.say(f"no column of the list has an output's name ({names_of}): errors alone, no AUROC")
    elif missing := [each for each in subject.labels if found.rows and each not in corpus.labels]:
        ui.say(f"no column of the list, no AUROC: {', '.join(map(printable, missing))}")
    return corpus, reader


def warn_of_calibration(intake: Intake, calibrated: Collection[str]) -> None:
    """Says how many images the plans have seen already: by their pixels, whatever their names."""
    again = [each.path for each in intake.accepted if each.identity.pixel_sha256 in calibrated]
    if again:
        ui.warn(
            f"{len(again)} of {len(intake.accepted)} images of --images are calibration images, "
            f"the first is {printable(again[0])}: the plans have seen them, so errors and changes "
            "are smaller than on images to come; give other images"
        )


Draw = Callable[[Sequence[PlanRow], Path, str], None]


def drawing(file: Path | None) -> Draw:
    """What draws the figure; before anything is done, `BadInput` where it could not."""
    if file is None:
        return lambda rows, path, title: None
    if file.suffix not in (".svg", ".png", ".pdf"):
        raise BadInput(f"--plot {file}: a figure is .svg, .png or .pdf")
    draw: Draw = extras.load("moiety.compiler.sweep.plot", "--plot").plot
    return draw
