"""`moiety compile`, `inspect` and `simulate`: their options. What they do is
imported when they run, not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from moiety.runtime.cli import ui
from moiety.runtime.party.signals import raise_stopped

COMPILE_EXAMPLES = ui.examples(
    "moiety compile model.onnx --calibration x-rays/ -o compiled/",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --rounding exact",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --activation-bits 14 --weight-bits 10",
    (
        "moiety compile model.onnx --calibration x-rays/ -o compiled/ --bits 41 --scale 12     "
        "[dim](uniform, as CrypTFlow2)[/dim]"
    ),
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --input-shape 3,224,224 --labels cat,dog",
)
INSPECT_EXAMPLES = ui.examples(
    "moiety inspect compiled/",
    "moiety inspect public/ --no-steps",
    "moiety inspect compiled/ --cost --network wan",
    "moiety inspect compiled/ --cost --network 20ms,1Gbit/s --ot silent",
)
CALIBRATE_EXAMPLES = ui.examples(
    "moiety calibrate-machine", "moiety calibrate-machine -o hospital.json"
)
SIMULATE_EXAMPLES = ui.examples(
    "moiety simulate compiled/ x-rays/", "moiety simulate compiled/ x-rays/ --model model.onnx"
)

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="The folder that `moiety compile -o` wrote.", show_default=False
    ),
]


def numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    """`0.485,0.456,0.406` to floats. Raises a usage error."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        ui.usage(f"{option} takes numbers separated by commas, not '{text}'")


def sizes(text: str | None, option: str) -> tuple[int, ...] | None:
    """`3,224,224` or `3x224x224` to positive integers. Raises a usage error."""
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        ui.usage(f"{option} takes positive whole numbers separated by commas, not '{text}'")
    return tuple(int(part) for part in parts)


def names(text: str | None) -> tuple[str, ...]:
    """Labels given on the command line, or in a file of one per line. Raises `BadInput`."""
    from moiety.protocols.errors import BadInput

    if text is None:
        return ()
    found = text.split(",")
    if (file := Path(text)).is_file():
        try:
            found = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{file}: cannot read labels ({error})") from error
    return tuple(label.strip() for label in found if label.strip())


def compile_command(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.onnx",
            help="An ONNX classifier: convolutions, batch norms, ReLUs, pools, ...",
            show_default=False,
        ),
    ],
    calibration: Annotated[
        list[Path],
        typer.Option(
            metavar="IMAGES",
            help=(
                "Pictures like the ones to come (some dozens; files, folders, CSV lists), or a file of ranges "
                "saved before. They stay on this machine."
            ),
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder to write.", show_default=False),
    ],
    rounding: Annotated[
        Literal["exact", "stochastic"],
        typer.Option(
            help="exact: bit for bit reproducible. stochastic: less traffic, same accuracy."
        ),
    ] = "stochastic",
    network: Annotated[
        Literal["fast", "lan", "wan"],
        typer.Option(
            help="What comparisons are planned for: fast (10 Gbit/s), lan (3 Gbit/s, 0.8 ms), wan (400 Mbit/s, 40 ms)."
        ),
    ] = "lan",
    max_error: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help=(
                "Search for the cheapest widths with at most this error of the results, root mean square over "
                "calibration images. Without any widths: 0.00125 of the results' range."
            ),
            rich_help_panel="Widths",
            show_default=False,
        ),
    ] = None,
    disclose: Annotated[
        Literal["usual", "minimal"],
        typer.Option(
            help=(
                "What the public Program may tell about the weights: usual, what makes it cheap, listed by "
                "`moiety inspect`; minimal, nothing but the architecture, at the price of uniform widths."
            ),
            rich_help_panel="Widths",
        ),
    ] = "usual",
    activation_bits: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Bits that the calibrated range of a channel fills.",
            rich_help_panel="Widths",
            show_default=False,
        ),
    ] = None,
    weight_bits: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Bits of a weight.", rich_help_panel="Widths", show_default=False
        ),
    ] = None,
    margin_bits: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Bits of headroom above the calibrated range.",
            rich_help_panel="Widths",
            show_default=False,
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Uniform style instead: one ring of N bits for everything; with --scale.",
            rich_help_panel="Widths",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Uniform style: fractional bits of everything; with --bits.",
            rich_help_panel="Widths",
            show_default=False,
        ),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(
            metavar="C,H,W",
            help="For a model whose input size is open.",
            rich_help_panel="Input and output",
            show_default=False,
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="M[,M,M]",
            help="Mean per channel, of pixels 0 to 1. Default: the model's metadata, else ImageNet's.",
            rich_help_panel="Input and output",
            show_default=False,
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="S[,S,S]",
            help="Standard deviation per channel, likewise.",
            rich_help_panel="Input and output",
            show_default=False,
        ),
    ] = None,
    exact_size: Annotated[
        bool,
        typer.Option(
            "--exact-size",
            help="Refuse pictures of another size instead of resizing the short side and cropping the centre.",
            rich_help_panel="Input and output",
        ),
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Names of the outputs, public; or a text file with one per line. Default: the model's metadata.",
            rich_help_panel="Input and output",
            show_default=False,
        ),
    ] = None,
    save_ranges: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also save the calibrated ranges, to compile again without images.",
            rich_help_panel="Compiler",
            show_default=False,
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            metavar="PASSES",
            help="Graph passes to run, name{option=value},...; the default is printed by --dump-after.",
            rich_help_panel="Compiler",
            show_default=False,
        ),
    ] = None,
    dump_after: Annotated[
        str | None,
        typer.Option(
            metavar="PASS|all",
            help="Write the Graph after this pass, or after each, as text.",
            rich_help_panel="Compiler",
            show_default=False,
        ),
    ] = None,
    dump_folder: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where --dump-after writes.", rich_help_panel="Compiler"),
    ] = Path("dump"),
) -> None:
    """Compile an ONNX model into a public Program and secret Weights (vendor).

    Writes [bold]DIR/public[/bold], which goes to the hospital, and
    [bold]DIR/weights.safetensors[/bold], which never leaves you. Fixed point overflows silently, so
    ranges are measured on calibration images and headroom is added; check the outcome with `moiety
    simulate`, and what the Program costs and discloses with `moiety inspect`.
    """
    from moiety.compiler import CompileOptions, PlanOptions
    from moiety.compiler.building import Pictures, build, dumping
    from moiety.compiler.passes import DEFAULT_PIPELINE

    raise_stopped()
    passes = pipeline or DEFAULT_PIPELINE
    plan = PlanOptions.of_choices(
        bits=bits,
        scale=scale,
        activation_bits=activation_bits,
        weight_bits=weight_bits,
        margin_bits=margin_bits,
        target_error=max_error,
        disclose=disclose,
        rounding=rounding,
        network=network,
    )
    options = CompileOptions(
        plan,
        input_shape=sizes(input_shape, "--input-shape"),
        labels=names(labels),
        pipeline=passes,
        dump_after=dumping(dump_after, dump_folder, passes),
    )
    pictures = Pictures(calibration, numbers(mean, "--mean"), numbers(std, "--std"), exact_size)
    build(model, output, pictures, options, save_ranges)


def inspect(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A compiled folder, or the public part of one.", show_default=False
        ),
    ],
    steps: Annotated[
        bool,
        typer.Option(
            "--steps/--no-steps", help="List every step with its ring, its bytes and its rounds."
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
            metavar="lan|wan|loopback|RTT,BANDWIDTH",
            help="With --cost: lan is 0.8ms,3Gbit/s, wan is 40ms,400Mbit/s.",
        ),
    ] = "lan",
    ot: Annotated[
        str,
        typer.Option(
            "--ot",
            metavar="auto|softspoken|silent",
            help="With --cost: the generator of correlations; auto is the one predicted to be soonest done.",
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
    """Show a Program: its layers and widths, RLWE parameters, what it costs on the wire, and what
    it discloses about the weights.

    All of it is public. `up` is hospital to vendor. A round here is one flight in one
    direction. Bytes and flights of --cost are exact; seconds are a prediction from figures that
    `moiety calibrate-machine` measures.
    """
    from moiety.runtime.cli import program_tables as report
    from moiety.runtime.program import folder as artifacts

    program = artifacts.load_program(folder)
    ui.out.print(report.summary(program))
    if cost:
        from moiety.runtime.cli import cost_tables as cost_report

        made = cost_report.prediction(program, network, ot, machine)
        for part in cost_report.report(program, made, layers=steps):
            ui.out.print(part, soft_wrap=not hasattr(part, "add_row"))
        return
    if steps:
        ui.out.print(report.steps(program))
    ui.out.print(report.lattices(program))
    ui.out.print(report.costs(program))
    ui.out.print(report.disclosed(program), soft_wrap=True)


def simulate(
    folder: Folder,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...",
            help="PNG, JPEG or NPY files, folders of them, or CSV lists.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.onnx",
            help="Compare with this float model in onnxruntime.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="For the drawn roundings of a stochastic Program.")
    ] = 0,
) -> None:
    """Run images through the fixed-point Program in the clear, on this machine: how far is it from
    the float model, does anything overflow?

    With exact rounding the numbers are, bit for bit, those that `moiety infer` will give.
    """
    from moiety.compiler.simulate import simulate as run

    raise_stopped()
    run(folder, images, model, seed)


def calibrate_machine(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write; the default is in the user's cache folder, where inspect --cost looks.",
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
    """Measure this machine's kernels, for the seconds that `moiety inspect --cost` predicts.

    Takes about ten seconds on one core; best while nothing else runs. Both parties are
    assumed to have such a machine.
    """
    from moiety.runtime.cli.progress import watching
    from moiety.runtime.cost.machine import default_path
    from moiety.runtime.measure.figures import calibrate

    raise_stopped()
    ui.one_thread()
    path = output or default_path()
    with watching("calibrating") as watch:
        made = calibrate(elements, repeats, watch)
    made.save(path)
    ui.say(f"{path}: {len(made.figures)} figures, kernels {made.description['kernels']}")
