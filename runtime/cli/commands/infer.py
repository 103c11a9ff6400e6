"""Run images through a vendor's server without showing them to it (hospital).

The Program says how pictures are resized and normalised; NPY files of floats are taken as the
model's input as they are. While the server works for another client this one waits its turn. When
the run breaks, the results so far are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from moiety.protocols.errors import BadInput, MoietyError
from moiety.runtime.cli import ui
from moiety.runtime.cli.line import credentials_for
from moiety.runtime.cli.options import (
    AuthorityOption,
    CertificateOption,
    ImagesArgument,
    InsecureOption,
    KeyOption,
    KeysOption,
    OtOption,
    ThreadsOption,
)
from moiety.runtime.cli.progress import watching
from moiety.runtime.intake.pictures import collect
from moiety.runtime.party.client import Client
from moiety.runtime.party.endpoints import parse_address
from moiety.runtime.party.framing import Limits
from moiety.runtime.party.generator_choice import parse_ot
from moiety.runtime.party.results import (
    ImageResult,
    OutputResult,
    Results,
    check_images,
    infer_files,
)
from moiety.runtime.program import artifacts

EXAMPLES = (
    "moiety infer public/ x-ray.png --connect vendor.example:7700",
    "moiety infer public/ cohort.csv more-images/ --connect 10.0.0.7:7700 --batch 16 "
    "-o cohort.json",
)
SHOWN_LABELS = 5
"""Of each output, the largest."""


def command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR_PUBLIC",
            help="The public folder of the compiled model, as got from the vendor.",
            show_default=False,
        ),
    ],
    images: ImagesArgument,
    connect: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The vendor's server.")
    ] = "127.0.0.1:7700",
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Results as JSON; rewritten, whole, after each image.",
        ),
    ] = Path("results.json"),
    timeout: Annotated[
        float,
        typer.Option(
            min=1.0,
            metavar="SECONDS",
            help="Longest silence of the server before the run is given up.",
        ),
    ] = 60.0,
    batch: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            help="Images that may share one run, where the server offers it: less traffic and "
            "fewer rounds per image.",
        ),
    ] = 1,
    threads: ThreadsOption = 1,
    ot: OtOption = "auto",
    keys: KeysOption = None,
    peer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Whom of those that are trusted (moiety keys list) the server must be.",
            show_default=False,
        ),
    ] = None,
    cert: CertificateOption = None,
    key: KeyOption = None,
    ca: AuthorityOption = None,
    insecure: InsecureOption = False,
) -> None:
    ui.one_thread()
    host, port = parse_address(connect)
    credentials = credentials_for(host, keys, cert, key, ca, insecure, peer)
    generator = parse_ot(ot)
    program = artifacts.load_program(folder)
    files = collect(images)
    check_images(files, program)
    if not output.parent.is_dir():
        raise BadInput(f"cannot write the results to {output}: there is no folder {output.parent}")
    told = Told(len(files))
    try:
        with watching("inference") as watch:
            client = Client(
                program,
                ot=generator,
                batch=min(batch, len(files)),
                threads=threads,
                on_wait=told.wait,
                progress=watch,
            )
            limits = Limits(silence=timeout)
            with client.connect(host, port, limits, credentials, insecure) as connection:
                results = infer_files(connection, files, output, told.image)
    except MoietyError:
        if told.done:
            ui.say(
                f"{told.done} of {len(files)} images were finished; their results are in {output}"
            )
        raise
    report(results, output)


@dataclass
class Told:
    """What is said while images are run, and how many are done."""

    total: int
    done: int = 0

    def wait(self, ahead: int) -> None:
        """The server has `ahead` clients before this one; 0: it is not ready yet."""
        ui.say(
            f"the server is busy, waiting: {ahead} ahead"
            if ahead
            else "the server is getting ready, waiting"
        )

    def image(self, result: ImageResult) -> None:
        self.done += 1
        ui.say(f"{self.done} of {self.total}: {result.file} in {result.seconds:.2f} s")


def report(results: Results, output: Path) -> None:
    """A table of the results, and a line of what they took."""
    shown = ui.table("", "image", "output", "result")
    for image in results.images:
        for result in image.outputs:
            # Names come from the vendor and from files: they are not markup.
            shown.add_row(*map(escape, (image.file, result.name, largest(result))))
    ui.out.print(shown)
    ui.say(
        f"{len(results.images)} images in {results.seconds:.2f} s and "
        f"{results.setup_seconds:.2f} s of set-up; {ui.megabytes(results.bytes_sent)} sent, "
        f"{ui.megabytes(results.bytes_received)} received; everything is in {output}"
    )


def largest(result: OutputResult) -> str:
    """The labels of the largest values with these, in one line."""
    labels = result.labels or tuple(map(str, range(len(result.values))))
    pairs = sorted(zip(labels, result.values, strict=True), key=lambda pair: -pair[1])
    text = ", ".join(f"{label} {value:.4f}" for label, value in pairs[:SHOWN_LABELS])
    return text + (", ..." if len(pairs) > SHOWN_LABELS else "")
