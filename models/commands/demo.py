"""Everything on this machine: compile a trained DenseNet-121, start a vendor and a hospital as two
processes over TCP, compare the results.

The final table has the prediction of the secure run, of the same Program in the clear, and of the
float model; time, bytes each way, and rounds. Not for clinical use.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moiety.runtime.cli.options import RoundingOption
from moiety.runtime.intake import extras

if TYPE_CHECKING:
    from moiety.models import demo
else:
    demo = extras.Later("moiety.models.demo", "moiety demo")

EXAMPLES = (
    "moiety demo",
    "moiety demo --rounding stochastic",
    "moiety demo --image x-ray.png",
    "moiety demo --model model.onnx --image picture.jpg",
)


def command(
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A picture or tensor; else a real x-ray of the folder MOIETY_DATA, else a drawn "
            "one.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.onnx",
            help="Another model than the shipped DenseNet-121.",
            show_default=False,
        ),
    ] = None,
    rounding: RoundingOption = "exact",
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Compile into this folder and keep it, with the results; compiled before, it is "
            "used as it is.",
            show_default=False,
        ),
    ] = None,
) -> None:
    demo.run(image, model, rounding, keep)
