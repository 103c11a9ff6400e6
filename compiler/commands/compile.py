"""Compile an ONNX model into a public Program and secret Weights (vendor).

Writes [bold]DIR/NAME.moiety[/bold], one file, which goes to the hospital, and
[bold]DIR/vendor[/bold], which never leaves you. Fixed point overflows silently, so
ranges are measured on calibration images and headroom is added; check the outcome with
`moiety simulate`, and what the Program costs and discloses with `moiety inspect`.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moiety.compiler.lowering.revealing import revealing_of
from moiety.compiler.planning.options import Disclose, PlanOptions
from moiety.protocols.errors import BadInput
from moiety.protocols.network import NetworkName, parse_network, planned_for
from moiety.runtime.cli import ui
from moiety.runtime.cli.options import (
    NETWORK_WORDS,
    BitDepthOption,
    KeepGoingOption,
    NoBatchAxisOption,
    RecursiveOption,
    RoundingOption,
    numbers,
    sizes,
)
from moiety.runtime.intake import extras
from moiety.runtime.intake.presets import PRESETS
from moiety.runtime.program.policy import Figures, Reveal

if TYPE_CHECKING:
    from moiety.compiler import compile as compiling
    from moiety.compiler import compile_files as files
    from moiety.compiler import description
    from moiety.compiler.ir.graph import Graph
    from moiety.compiler.onnx_import.fix_input import InputShape
    from moiety.compiler.passes import manager
    from moiety.compiler.passes import pipeline as pipelines
    from moiety.compiler.passes.base import Pass
else:
    compiling = extras.Later("moiety.compiler.compile", "moiety compile")
    files = extras.Later("moiety.compiler.compile_files", "moiety compile")
    description = extras.Later("moiety.compiler.description", "moiety compile")
    manager = extras.Later("moiety.compiler.passes.manager", "moiety compile")
    pipelines = extras.Later("moiety.compiler.passes.pipeline", "moiety compile")

EXAMPLES = (
    "moiety compile model.onnx --calibration x-rays/ -o compiled/",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --preprocessing torchvision",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --max-error 0.03",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --activation-bits 14 "
    "--weight-bits 10",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --bits 41 --scale 12     "
    "[dim](uniform, as CrypTFlow2)[/dim]",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --input-shape 3,224,224 "
    "--labels cat,dog",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --reveal decision "
    "--thresholds 0.5",
)


# Options by the panel of the help that they stand in.
widths = partial(typer.Option, metavar="N", rich_help_panel="Widths", show_default=False)
ends = partial(typer.Option, rich_help_panel="Input and output", show_default=False)
pictured = partial(typer.Option, rich_help_panel="Preprocessing", show_default=False)
policy = partial(typer.Option, rich_help_panel="Output policy", show_default=False)
expert = partial(typer.Option, rich_help_panel="Compiler", show_default=False)


# Options that `moiety sweep` has, too.
ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL.onnx",
        help="An ONNX classifier: convolutions, batch norms, ReLUs, pools, ...",
        show_default=False,
    ),
]
CalibrationOption = Annotated[
    list[Path],
    typer.Option(
        metavar="IMAGES",
        help="Pictures like the ones to come (some dozens; files, folders, CSV lists), or a "
        "file of ranges saved before. They stay on this machine.",
        show_default=False,
    ),
]
InputShapeOption = Annotated[
    list[str] | None,
    ends(
        metavar="[NAME=]C,H,W",
        help="For a model whose input size is open; of several inputs for each, with its name.",
    ),
]
PreprocessingOption = Annotated[
    str | None,
    pictured(
        metavar="NAME|FILE",
        help=f"What the model was trained with: {', '.join(PRESETS)}; a JSON file "
        "(docs/preprocessing.md); or none, for a Program that takes NPY tensors alone. "
        "Default: the model's metadata.",
    ),
]
MeanOption = Annotated[
    str | None,
    pictured(
        metavar="M[,M,M]",
        help="Mean per channel, of pixels 0 to 1, instead of what the above say. With --std "
        "it is enough: the short side is resized then, and the centre cropped.",
    ),
]
StdOption = Annotated[
    str | None, pictured(metavar="S[,S,S]", help="Standard deviation per channel, likewise.")
]
ExactSizeOption = Annotated[
    bool,
    pictured(
        "--exact-size",
        help="Refuse pictures of another size instead of resizing them.",
        show_default=True,
    ),
]
LabelsOption = Annotated[
    str | None,
    ends(
        metavar="A,B,...",
        help="Names of the outputs, public; or a text file with one per line. Default: the "
        "model's metadata.",
    ),
]


def command(
    model: ModelArgument,
    calibration: CalibrationOption,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder to write.", show_default=False),
    ],
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace a compiled model that lies in DIR."),
    ] = False,
    rounding: RoundingOption = "exact",
    network: Annotated[
        str,
        typer.Option(
            metavar=NETWORK_WORDS,
            help="What comparisons are planned for: fast (10 Gbit/s), lan (3 Gbit/s, 0.8 ms), wan "
            "(400 Mbit/s, 40 ms), or the one of these that is nearest to another network.",
        ),
    ] = "lan",
    max_error: Annotated[
        float | None,
        widths(
            metavar="X",
            help="Search for the cheapest widths with at most this error of the results, root mean "
            "square, as measured on calibration images (on some that are held out, of sixteen or "
            "more). Without any widths: 0.00125 of the results' range.",
        ),
    ] = None,
    disclose: Annotated[
        Disclose,
        widths(
            help="What the public Program may tell about the weights: usual, what makes it cheap, "
            "listed by `moiety inspect`; minimal, nothing but the architecture, at the price of "
            "uniform widths.",
            metavar=None,
            show_default=True,
        ),
    ] = "usual",
    activation_bits: Annotated[
        int | None, widths(help="Bits that the calibrated range of a channel fills.")
    ] = None,
    weight_bits: Annotated[int | None, widths(help="Bits of a weight.")] = None,
    margin_bits: Annotated[
        int | None,
        widths(help="Bits of headroom above the calibrated range, the same everywhere."),
    ] = None,
    overflow_probability: Annotated[
        float | None,
        widths(
            metavar="P",
            help="Headroom by tensor instead, as far as images differ: an image leaves it anywhere "
            "with at most this probability. Without margin bits: 1e-6.",
        ),
    ] = None,
    bits: Annotated[
        int | None,
        widths(help="Uniform style instead: one ring of N bits for everything; with --scale."),
    ] = None,
    scale: Annotated[
        int | None, widths(help="Uniform style: fractional bits of everything; with --bits.")
    ] = None,
    input_shape: InputShapeOption = None,
    no_batch_axis: NoBatchAxisOption = False,
    picture: Annotated[
        list[str] | None,
        pictured(
            metavar="NAME",
            help="Of several inputs one that pictures become, all by the same preprocessing; the "
            "first is the one that images are given for, the others belong to them. Default: the "
            "first that can be a picture, alone.",
        ),
    ] = None,
    preprocessing: PreprocessingOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    exact_size: ExactSizeOption = False,
    labels: LabelsOption = None,
    name: Annotated[
        str,
        ends(metavar="TEXT", help="The model's name, public. Default: that of its graph."),
    ] = "",
    model_version: Annotated[
        str,
        ends(metavar="TEXT", help="The model's version, public. Default: the model's metadata."),
    ] = "",
    op_thresholds: Annotated[
        str | None,
        ends(
            metavar="P,P,...",
            help="Operating points of the outputs, probabilities after a sigmoid, public; results "
            "are scaled so that each becomes 0.5 (torchxrayvision's op_norm). Or a file of them. "
            "Default: the model's metadata.",
        ),
    ] = None,
    reveal: Annotated[
        Reveal,
        policy(
            metavar="scores|probabilities|top-1|decision|aggregate",
            help="What the hospital may learn: scores as they are; probabilities in few bits; the "
            "largest value's name; which values are above secret thresholds; or of a cohort alone "
            "each label's --figures. Part of the Program; see docs/policies.md.",
            show_default=True,
        ),
    ] = "scores",
    thresholds: Annotated[
        str | None,
        policy(
            metavar="X|LABEL=X,...",
            help="Of decisions and counts, secret, in units of the model's result: probabilities "
            "where it ends in a Sigmoid (with operating points those that they are scaled to), "
            "else logits. Or a file of them.",
        ),
    ] = None,
    probability_bits: Annotated[
        int | None, policy(metavar="N", help="Bits of a probability, 2 to 10. Default: 8.")
    ] = None,
    figures: Annotated[
        Figures | None,
        policy(
            metavar="auroc|counts",
            help="Of each label of a cohort, in an aggregate: its AUROC and standard error; or how "
            "many images with the label, and how many without it, are above the secret threshold. "
            "Default: auroc.",
        ),
    ] = None,
    least_positives: Annotated[
        int | None,
        policy(metavar="N", help="With a label, in a cohort of an aggregate. Default: 10."),
    ] = None,
    least_negatives: Annotated[
        int | None, policy(metavar="N", help="Without the label, likewise. Default: 10.")
    ] = None,
    cohort_images: Annotated[
        int | None, policy(metavar="N", help="Images of a cohort, at most. Default: 1024.")
    ] = None,
    cohorts: Annotated[
        int | None,
        policy(metavar="N", help="Cohorts of a client, at most. Default: the access file says."),
    ] = None,
    save_ranges: Annotated[
        Path | None,
        expert(
            metavar="FILE", help="Also save the calibrated ranges, to compile again without images."
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        expert(
            metavar="PASSES",
            help="Graph passes to run, name{option=value},...; the default is printed by "
            "--dump-after.",
        ),
    ] = None,
    dump_after: Annotated[
        str | None,
        expert(metavar="PASS|all", help="Write the Graph after this pass, or after each, as text."),
    ] = None,
    dump_folder: Annotated[
        Path,
        expert(metavar="DIR", help="Where --dump-after writes.", show_default=True),
    ] = Path("dump"),
    recursive: RecursiveOption = False,
    keep_going: KeepGoingOption = None,
    bit_depth: BitDepthOption = None,
) -> None:
    passes = pipeline or pipelines.DEFAULT_PIPELINE
    plan = PlanOptions.of_choices(
        bits=bits,
        scale=scale,
        activation_bits=activation_bits,
        weight_bits=weight_bits,
        margin_bits=margin_bits,
        overflow_probability=overflow_probability,
        target_error=max_error,
        disclose=disclose,
        rounding=rounding,
        network=chosen_network(network),
    )
    options = compiling.CompileOptions(
        plan,
        input_shape=shapes(input_shape, "--input-shape"),
        batch_axis=not no_batch_axis,
        pictures=tuple(picture or ()),
        labels=names(labels),
        name=name,
        version=model_version,
        op_threshs=description.parse_op_threshs(op_thresholds),
        pipeline=passes,
        dump_after=dumping(dump_after, dump_folder, passes),
        revealing=revealing_of(
            reveal,
            description.parse_thresholds(thresholds),
            probability_bits,
            figures,
            positives=least_positives,
            negatives=least_negatives,
            images=cohort_images,
            cohorts=cohorts,
        ),
        note=ui.warn,
    )
    described = description.Described(
        preprocessing, numbers(mean, "--mean"), numbers(std, "--std"), exact_size
    )
    pictures = files.Pictures(calibration, described, recursive, keep_going, bit_depth)
    files.compile_files(model, output, pictures, options, save_ranges, force)


def shapes(given: Sequence[str] | None, option: str) -> InputShape | None:
    """`C,H,W`, or `NAME=C,H,W` for each of several inputs. Raises `typer.BadParameter`."""
    if not given:
        return None
    if not any("=" in word for word in given):
        return sizes(",".join(given), option)
    found: dict[str, tuple[int, ...]] = {}
    for word in given:
        name, equals, text = word.rpartition("=")
        if not equals or name in found:
            raise typer.BadParameter(f"{option} takes C,H,W, or NAME=C,H,W once for each input")
        found[name] = sizes(text, option) or ()
    return found


def chosen_network(text: str) -> NetworkName:
    """The class of networks to plan for; says which, where another network was named."""
    chosen = planned_for(parse_network(text))
    if chosen != text:
        ui.say(f"planned for {chosen}, of fast, lan and wan the nearest to {text}")
    return chosen


def names(text: str | None) -> tuple[str, ...]:
    """Labels given on the command line, or in a file of one per line. Raises `BadInput`."""
    if text is None:
        return ()
    found = text.split(",")
    if os.path.isfile(text):  # Path.is_file raises where the text is too long for a name
        try:
            found = Path(text).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{text}: cannot read labels ({error})") from error
    return tuple(label.strip() for label in found if label.strip())


def dumping(wanted: str | None, folder: Path, pipeline: str) -> manager.DumpAfter | None:
    """What --dump-after asks for: the Graph after the pass `wanted`, or after "all", into `folder`;
    None when it was not given. Raises `BadInput` for an unknown pass, and where it cannot write.
    """
    if wanted is None:
        return None
    if wanted != "all" and wanted not in {each.name for each in pipelines.parse_pipeline(pipeline)}:
        raise BadInput(f"--dump-after: '{wanted}' is not in the pipeline {pipeline}")
    ui.say(f"pipeline: {pipeline}")
    with files.writing(folder):
        dump = manager.dump_to(folder)

    def chosen(index: int, each: Pass, graph: Graph) -> None:
        if wanted == "all" or (index and each.name == wanted):
            with files.writing(folder):
                dump(index, each, graph)

    return chosen
