"""Run images through the fixed-point Program in the clear, on this machine: how far is it from the
float model, does anything overflow?

With exact rounding the numbers are, bit for bit, those that `moiety infer` will give. If anything
overflows, the exit code is 4.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moiety.runtime.cli.options import (
    BitDepthOption,
    CompiledArgument,
    ImagesArgument,
    InputOption,
    KeepGoingOption,
    NoBatchAxisOption,
    RecursiveOption,
    assignments,
)
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.intake import extras

if TYPE_CHECKING:
    from moiety.compiler import simulate as simulation
else:
    simulation = extras.Later("moiety.compiler.simulate", "moiety simulate")

EXAMPLES = (
    "moiety simulate compiled/ x-rays/",
    "moiety simulate compiled/ x-rays/ --model model.onnx",
    "moiety simulate compiled/ cohort.csv --model model.onnx --scores scores.csv",
)


def command(
    folder: CompiledArgument,
    images: ImagesArgument,
    beside: InputOption = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.onnx",
            help="Compare with this float model in onnxruntime.",
            show_default=False,
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="With --model: write the float model's scores, as moiety evaluate --reference "
            "takes them.",
            show_default=False,
        ),
    ] = None,
    no_batch_axis: NoBatchAxisOption = False,
    seed: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="For the drawn roundings of a stochastic Program."),
    ] = 0,
    recursive: RecursiveOption = False,
    keep_going: KeepGoingOption = None,
    bit_depth: BitDepthOption = None,
) -> None:
    given = Given(images, recursive, keep_going, bit_depth, assignments(beside))
    simulation.simulate(folder, given, model, seed, batch_axis=not no_batch_axis, scores=scores)
