"""The command line. Commands that need the compiler are in `cli_vendor` and
import it when they run, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.markup import escape

from moiety.runtime.cli import ui
from moiety.runtime.cli.demo import DEMO_EXAMPLES, demo
from moiety.runtime.cli.vendor import (
    CALIBRATE_EXAMPLES,
    COMPILE_EXAMPLES,
    INSPECT_EXAMPLES,
    SIMULATE_EXAMPLES,
    calibrate_machine,
    compile_command,
    inspect,
    simulate,
    sizes,
)
from moiety.runtime.party.signals import Stopped, raise_stopped

if TYPE_CHECKING:
    from moiety.runtime.party.results import Results

OtOption = Annotated[
    str,
    typer.Option(
        "--ot",
        metavar="auto|softspoken|silent",
        help="Generator of correlations: softspoken (more traffic), silent (more computing), or whatever "
        "suits the measured network.",
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads",
        min=1,
        max=256,
        metavar="N",
        help="Cores that this side's work is spread over; the other side need not use as many.",
    ),
]
F = TypeVar("F", bound=Callable[..., Any])

app = typer.Typer(
    name="moiety",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Evaluate a neural network on images that its owner never sees, with weights that the images' "
        "owner never sees.\n\n"
        "The [bold]vendor[/bold] compiles an ONNX model into a public Program and secret Weights, and serves it. The "
        "[bold]hospital[/bold] holds the Program and its images. Every value of the computation exists "
        "only as two random-looking "
        "halves, one on each side; the hospital alone reads the result."
    ),
    epilog=ui.examples(
        "moiety demo",
        "moiety compile model.onnx --calibration images/ -o compiled/",
        "moiety serve compiled/ --listen 0.0.0.0:7700          [dim](vendor)[/dim]",
        "moiety infer public/ x-ray.png --connect vendor:7700 -o results.json          [dim](hospital)[/dim]",
    )
    + "\n\nExit codes: 0 done, 2 wrong usage, 3 model cannot be compiled, 4 no plan meets the options, "
    "5 bad input, 6 damaged or foreign Program or "
    "Weights, 7 the peer runs something else, 8 network, 70 a bug, 130 and 143 stopped by a signal.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"moiety {metadata.version('moiety')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def command(epilog: str, name: str | None = None) -> Callable[[F], F]:
    """Register a command; its docstring is its help."""

    def register(function: F) -> F:
        app.command(name, help=ui.prose(function.__doc__), epilog=epilog)(function)
        return function

    return register


command(COMPILE_EXAMPLES, "compile")(compile_command)
command(INSPECT_EXAMPLES)(inspect)
command(SIMULATE_EXAMPLES)(simulate)
command(CALIBRATE_EXAMPLES, "calibrate-machine")(calibrate_machine)
command(DEMO_EXAMPLES)(demo)


@command(
    ui.examples(
        "moiety serve compiled/ --listen 0.0.0.0:7700",
        "moiety serve compiled/ --listen 127.0.0.1:0 --once     [dim](any free port; prints it)[/dim]",
        "moiety serve compiled/ --batch 4,16 --threads 8",
    )
)
def serve(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="The folder that `moiety compile -o` wrote, with the Weights.",
            show_default=False,
        ),
    ],
    listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where to listen; port 0 takes any free one. 0.0.0.0 is every network of this machine.",
        ),
    ] = "127.0.0.1:7700",
    once: Annotated[
        bool, typer.Option("--once", help="Stop after one client; the same as --max-clients 1.")
    ] = False,
    max_clients: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Stop after N clients were served, however they ended.",
            show_default=False,
        ),
    ] = None,
    waiting: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Clients that may wait while another one is served; further ones are refused.",
        ),
    ] = 8,
    batch: Annotated[
        str,
        typer.Option(
            metavar="B,...",
            help="Numbers of images that a client may put into one run, besides 1: less traffic and fewer rounds per "
            "image, more memory. Each takes its own preparation.",
        ),
    ] = "1",
    threads: ThreadsOption = 1,
    hint_file: Annotated[
        bool,
        typer.Option(
            "--hint-file/--no-hint-file",
            help="Keep what is prepared from the weights beside them (hints*.safetensors, as secret as they are), for "
            "the next start.",
        ),
    ] = True,
    ot: OtOption = "auto",
) -> None:
    """Serve a compiled model to hospitals, one client at a time (vendor).

    Prints `listening HOST:PORT` and logs one line per event to stderr. Clients with another Program
    or release are refused; whatever else connects is dropped. A client that fails ends its own
    session only. SIGINT or SIGTERM stops the server at once, in good order, with exit code 0.

    The connection is not encrypted by this release: use a tunnel on networks that you do not trust.
    """
    from moiety.runtime.cli.progress import watching
    from moiety.runtime.party import generators as correlations
    from moiety.runtime.party.endpoints import Listener, parse_address
    from moiety.runtime.party.server import Server, ServerOptions, log
    from moiety.runtime.program import folder as artifacts

    ui.one_thread()
    raise_stopped()
    ui.log_to_stderr()
    host, port = parse_address(listen)
    batches = tuple(sorted({1, *(sizes(batch, "--batch") or ())}))
    program, weights = artifacts.load_vendor(folder)
    listener = Listener.at(host, port)
    log.info(
        "preparing '%s', Program %s..., %s rounding",
        program.name,
        program.digest()[:16],
        program.rounding,
    )
    options = ServerOptions(
        max_clients=1 if once else max_clients,
        waiting=waiting,
        ot=correlations.parse(ot),
        threads=threads,
    )
    server = Server.of(program, weights, listener, options, batches)
    print(f"listening {listener.address}", flush=True)
    log.info("listening at %s", listener.address)
    try:
        with server:
            with watching("preparing") as watch:
                server.prepare(watch, folder / artifacts.WEIGHTS if hint_file else None)
            server.run()
    except Stopped as stopped:
        log.info("stopping: %s", stopped)
    log.info("ended: %s", server.summary.line())


@command(
    ui.examples(
        "moiety infer public/ x-ray.png --connect vendor.example:7700",
        "moiety infer public/ cohort.csv more-images/ --connect 10.0.0.7:7700 --batch 16 -o cohort.json",
    )
)
def infer(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR_PUBLIC",
            help="The public folder of the compiled model, as got from the vendor.",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...",
            help="PNG, JPEG or NPY files, folders of them, or CSV lists (column `file`).",
            show_default=False,
        ),
    ],
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
            help="Images that may share one run, where the server offers it: less traffic and fewer rounds per image.",
        ),
    ] = 1,
    threads: ThreadsOption = 1,
    ot: OtOption = "auto",
) -> None:
    """Run images through a vendor's server without showing them to it (hospital).

    The Program says how pictures are resized and normalised; NPY files of floats are taken as the
    model's input as they are. While the server works for another client this one waits its turn.
    When the run breaks, the results so far are kept.
    """
    from moiety.protocols.errors import BadInput, MoietyError
    from moiety.runtime.cli.progress import watching
    from moiety.runtime.intake.pictures import collect
    from moiety.runtime.party import generators as correlations
    from moiety.runtime.party.client import Client
    from moiety.runtime.party.endpoints import parse_address
    from moiety.runtime.party.framing import Limits
    from moiety.runtime.party.results import ImageResult, check_images, infer_files
    from moiety.runtime.program import folder as artifacts

    ui.one_thread()
    raise_stopped()
    host, port = parse_address(connect)
    generator = correlations.parse(ot)
    program = artifacts.load_program(folder)
    files = collect(images)
    check_images(files, program)
    if not output.parent.is_dir():
        raise BadInput(f"cannot write the results to {output}: there is no folder {output.parent}")

    def on_wait(ahead: int) -> None:
        ui.say(
            f"the server is busy, waiting: {ahead} ahead"
            if ahead
            else "the server is getting ready, waiting"
        )

    done: list[ImageResult] = []

    def on_image(result: ImageResult) -> None:
        done.append(result)
        ui.say(f"{len(done)} of {len(files)}: {result.file} in {result.seconds:.2f} s")

    try:
        with watching("inference") as watch:
            client = Client(
                program,
                ot=generator,
                batch=min(batch, len(files)),
                threads=threads,
                on_wait=on_wait,
                progress=watch,
            )
            with client.connect(host, port, Limits(silence=timeout)) as connection:
                results = infer_files(connection, files, output, on_image)
    except MoietyError:
        if done:
            ui.say(
                f"{len(done)} of {len(files)} images were finished; their results are in {output}"
            )
        raise
    _report(results, output)


def _report(results: Results, output: Path) -> None:
    shown = ui.table("", "image", "output", "result")
    for image in results.images:
        for result in image.outputs:
            labels = result.labels or tuple(map(str, range(len(result.values))))
            pairs = sorted(zip(labels, result.values, strict=True), key=lambda pair: -pair[1])[:5]
            text = ", ".join(f"{label} {value:.4f}" for label, value in pairs) + (
                ", ..." if len(labels) > len(pairs) else ""
            )
            # Names come from the vendor and from files: they are not markup.
            shown.add_row(*map(escape, (image.file, result.name, text)))
    ui.out.print(shown)
    ui.say(
        f"{len(results.images)} images in {results.seconds:.2f} s and {results.setup_seconds:.2f} s of "
        f"set-up; {ui.megabytes(results.bytes_sent)} sent, "
        f"{ui.megabytes(results.bytes_received)} received; everything is in {output}"
    )


def main() -> None:
    """The `moiety` command."""
    ui.run(app)
