"""`moiety compile`, `inspect` and `simulate`. The compiler and onnxruntime are imported inside the commands alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from moiety.runtime import cli_support as ui
from moiety.runtime.signals import raise_stopped

if TYPE_CHECKING:
    from moiety.compiler.graph import Graph
    from moiety.compiler.options import PlanOptions
    from moiety.compiler.pass_manager import DumpAfter
    from moiety.compiler.passes import Pass
    from moiety.runtime.program import Output, Preprocessing, Program

COMPILE_EXAMPLES = ui.examples(
    "moiety compile model.onnx --calibration x-rays/ -o compiled/",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --rounding exact",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --activation-bits 14 --weight-bits 10",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --bits 41 --scale 12     [dim](uniform, as CrypTFlow2)[/dim]",
    "moiety compile model.onnx --calibration x-rays/ -o compiled/ --input-shape 3,224,224 --labels cat,dog",
)
INSPECT_EXAMPLES = ui.examples("moiety inspect compiled/", "moiety inspect public/ --steps")
SIMULATE_EXAMPLES = ui.examples("moiety simulate compiled/ x-rays/", "moiety simulate compiled/ x-rays/ --model model.onnx")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that `moiety compile -o` wrote.", show_default=False)]


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


@dataclass(frozen=True)
class CompileOptions:
    """What `moiety compile` was asked for; None leaves a choice to the compiler."""

    calibration: Sequence[Path]
    bits: int | None = None
    scale: int | None = None
    activation_bits: int | None = None
    weight_bits: int | None = None
    margin_bits: int | None = None
    rounding: Literal["exact", "stochastic"] | None = None
    input_shape: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    exact_size: bool = False
    labels: tuple[str, ...] = ()
    pipeline: str | None = None
    dump_after: str | None = None
    dump_folder: Path = Path("dump")
    save_ranges: Path | None = None


def compile_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX classifier: convolutions, batch norms, ReLUs, pools, ...", show_default=False)],
    calibration: Annotated[
        list[Path],
        typer.Option(metavar="IMAGES", help="Pictures like the ones to come (some dozens; files, folders, CSV lists), or a file of ranges saved before. They stay on this machine.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write.", show_default=False)],
    rounding: Annotated[Literal["exact", "stochastic"], typer.Option(help="exact: bit for bit reproducible. stochastic: half the traffic, same accuracy.")] = "stochastic",
    activation_bits: Annotated[int | None, typer.Option(metavar="N", help="Bits that the calibrated range of a channel fills.", rich_help_panel="Widths", show_default=False)] = None,
    weight_bits: Annotated[int | None, typer.Option(metavar="N", help="Bits of a weight.", rich_help_panel="Widths", show_default=False)] = None,
    margin_bits: Annotated[int | None, typer.Option(metavar="N", help="Bits of headroom above the calibrated range.", rich_help_panel="Widths", show_default=False)] = None,
    bits: Annotated[int | None, typer.Option(metavar="N", help="Uniform style instead: one ring of N bits for everything; with --scale.", rich_help_panel="Widths", show_default=False)] = None,
    scale: Annotated[int | None, typer.Option(metavar="N", help="Uniform style: fractional bits of everything; with --bits.", rich_help_panel="Widths", show_default=False)] = None,
    input_shape: Annotated[str | None, typer.Option(metavar="C,H,W", help="For a model whose input size is open.", rich_help_panel="Input and output", show_default=False)] = None,
    mean: Annotated[str | None, typer.Option(metavar="M[,M,M]", help="Mean per channel, of pixels 0 to 1. Default: the model's metadata, else ImageNet's.", rich_help_panel="Input and output", show_default=False)] = None,
    std: Annotated[str | None, typer.Option(metavar="S[,S,S]", help="Standard deviation per channel, likewise.", rich_help_panel="Input and output", show_default=False)] = None,
    exact_size: Annotated[bool, typer.Option("--exact-size", help="Refuse pictures of another size instead of resizing the short side and cropping the centre.", rich_help_panel="Input and output")] = False,
    labels: Annotated[str | None, typer.Option(metavar="A,B,...", help="Names of the outputs, public; or a text file with one per line. Default: the model's metadata.", rich_help_panel="Input and output", show_default=False)] = None,
    save_ranges: Annotated[Path | None, typer.Option(metavar="FILE", help="Also save the calibrated ranges, to compile again without images.", rich_help_panel="Compiler", show_default=False)] = None,
    pipeline: Annotated[str | None, typer.Option(metavar="PASSES", help="Graph passes to run, name{option=value},...; the default is printed by --dump-after.", rich_help_panel="Compiler", show_default=False)] = None,
    dump_after: Annotated[str | None, typer.Option(metavar="PASS|all", help="Write the Graph after this pass, or after each, as text.", rich_help_panel="Compiler", show_default=False)] = None,
    dump_folder: Annotated[Path, typer.Option(metavar="DIR", help="Where --dump-after writes.", rich_help_panel="Compiler")] = Path("dump"),
) -> None:
    """Compile an ONNX model into a public Program and secret Weights (vendor).

    Writes [bold]DIR/public[/bold], which goes to the hospital, and [bold]DIR/weights.safetensors[/bold], which never leaves you. Fixed point overflows
    silently, so ranges are measured on calibration images and headroom is added; check the outcome with `moiety simulate`, and what the Program costs and
    discloses with `moiety inspect`.
    """
    raise_stopped()
    options = CompileOptions(
        calibration=calibration,
        bits=bits,
        scale=scale,
        activation_bits=activation_bits,
        weight_bits=weight_bits,
        margin_bits=margin_bits,
        rounding=rounding,
        input_shape=sizes(input_shape, "--input-shape"),
        mean=numbers(mean, "--mean"),
        std=numbers(std, "--std"),
        exact_size=exact_size,
        labels=names(labels),
        pipeline=pipeline,
        dump_after=dump_after,
        dump_folder=dump_folder,
        save_ranges=save_ranges,
    )
    build(model, output, options)


@dataclass(frozen=True)
class CalibrationImages:
    """Preprocessed tensors, read one after the other."""

    files: Sequence[Path]
    shape: tuple[int, ...]
    preprocessing: Preprocessing | None

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Any]:
        from moiety.runtime import images

        return (images.load(file, self.shape, self.preprocessing) for file in self.files)


def build(model: Path, folder: Path, options: CompileOptions) -> Program:
    """Compile `model` into `folder` and say what came out. Raises `BadModel`, `BadPlan`, `BadInput`."""
    from moiety.compiler.api import compile_graph
    from moiety.compiler.calibrate import Ranges
    from moiety.compiler.onnx_import import import_onnx
    from moiety.compiler.pass_manager import optimise
    from moiety.compiler.passes import DEFAULT_PIPELINE
    from moiety.runtime import artifacts, images
    from moiety.runtime.progress import watching

    plan = plan_options(options)
    ranges_file = next((path for path in options.calibration if path.suffix == ".safetensors"), None)
    files = [] if ranges_file else images.collect(options.calibration)
    with watching("compiling") as watch:
        watch(0, 1, "importing")
        graph = import_onnx(model, options.input_shape)
        shape = graph.shapes[graph.inputs[0]][1:]
        preprocessing, labels = public_description(model, shape, options)
        watch(0, 1, "optimising")
        graph = optimise(graph, options.pipeline or DEFAULT_PIPELINE, dump_after=dumping(options))
        calibration = Ranges.load(ranges_file) if ranges_file else CalibrationImages(files, shape, preprocessing)
        compiled = compile_graph(
            graph,
            calibration,
            plan,
            folder,
            preprocessing=preprocessing,
            labels=labels,
            progress=lambda stage, done, total: watch(done, total, stage),
        )
    (folder / artifacts.WEIGHTS).chmod(0o600)
    if options.save_ranges is not None:
        compiled.ranges.save(options.save_ranges)
    program = compiled.program
    ui.say(f"{folder}: {len(program.steps)} steps, {program.rounding} rounding, Program {program.digest()[:16]}...")
    ui.say(f"give {folder / artifacts.PUBLIC} to the hospital; keep everything else")
    return program


def plan_options(options: CompileOptions) -> PlanOptions:
    """The planner's options; those that were not given keep its defaults."""
    from moiety.compiler.options import PlanOptions

    chosen = ("bits", "scale", "activation_bits", "weight_bits", "margin_bits", "rounding")
    return PlanOptions(**{name: value for name in chosen if (value := getattr(options, name)) is not None})


def public_description(
    model: Path, shape: tuple[int, ...], options: CompileOptions
) -> tuple[Preprocessing | None, tuple[str, ...]]:
    """Preprocessing and labels: from the command line, else from the model's metadata, else the usual ones."""
    import msgspec
    import onnx

    from moiety.protocols.errors import BadModel
    from moiety.runtime import images
    from moiety.runtime.program import Preprocessing

    metadata = {entry.key: entry.value for entry in onnx.load(model, load_external_data=False).metadata_props}
    labels, preprocessing = options.labels, None
    try:
        if not labels and "moiety.labels" in metadata:
            labels = msgspec.json.decode(metadata["moiety.labels"], type=tuple[str, ...])
        if not (options.mean or options.std) and "moiety.preprocessing" in metadata:
            preprocessing = msgspec.json.decode(metadata["moiety.preprocessing"], type=Preprocessing)
    except msgspec.MsgspecError as error:
        raise BadModel(f"{model}: its metadata moiety.labels or moiety.preprocessing cannot be read: {error}") from error
    if preprocessing is None or (preprocessing.channels, *preprocessing.size) != shape:
        preprocessing = images.default_preprocessing(shape, options.mean, options.std)
    if preprocessing is not None and options.exact_size:
        preprocessing = msgspec.structs.replace(preprocessing, resize="exact")
    return preprocessing, labels


def dumping(options: CompileOptions) -> DumpAfter | None:
    """What --dump-after asks for; None when it was not given. Raises `BadInput` for an unknown pass."""
    from moiety.compiler.pass_manager import dump_to, parse_pipeline
    from moiety.compiler.passes import DEFAULT_PIPELINE
    from moiety.protocols.errors import BadInput

    wanted = options.dump_after
    if wanted is None:
        return None
    pipeline = options.pipeline or DEFAULT_PIPELINE
    present = {each.name for each in parse_pipeline(pipeline)}
    if wanted != "all" and wanted not in present:
        raise BadInput(f"--dump-after: '{wanted}' is not in the pipeline {pipeline}")
    ui.say(f"pipeline: {pipeline}")
    dump = dump_to(options.dump_folder)

    def chosen(index: int, each: Pass, graph: Graph) -> None:
        if wanted == "all" or (index and each.name == wanted):
            dump(index, each, graph)

    return chosen


def inspect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A compiled folder, or the public part of one.", show_default=False)],
    steps: Annotated[bool, typer.Option("--steps/--no-steps", help="List every step with its ring, its bytes and its rounds.")] = True,
) -> None:
    """Show a Program: its layers and widths, RLWE parameters, what it costs on the wire, and what it discloses about the weights.

    All of it is public. `up` is hospital to vendor. A round here is one flight in one direction.
    """
    from moiety.runtime import artifacts, report

    program = artifacts.load_program(folder)
    ui.out.print(report.summary(program))
    if steps:
        ui.out.print(report.steps(program))
    ui.out.print(report.lattices(program))
    ui.out.print(report.costs(program))
    ui.out.print(report.disclosed(program), soft_wrap=True)


def simulate(
    folder: Folder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="PNG, JPEG or NPY files, folders of them, or CSV lists.", show_default=False)],
    model: Annotated[Path | None, typer.Option(metavar="MODEL.onnx", help="Compare with this float model in onnxruntime.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="For the drawn roundings of a stochastic Program.")] = 0,
) -> None:
    """Run images through the fixed-point Program in the clear, on this machine: how far is it from the float model, does anything overflow?

    With exact rounding the numbers are, bit for bit, those that `moiety infer` will give.
    """
    import numpy as np

    from moiety.runtime import artifacts
    from moiety.runtime import images as files
    from moiety.runtime.cleartext import Executor
    from moiety.runtime.progress import watching

    raise_stopped()
    program, weights = artifacts.load_vendor(folder)
    paths = files.collect(images)
    reference = FloatModel(model, program) if model is not None else None
    executor = Executor(program, weights, np.random.default_rng(seed))
    names = program.output_names()
    shown = ui.table("", "image", "output", "largest", "fixed point", *(("float", "max |difference|") if reference else ()), "overflows", right=3 if reference else 1)
    worst = 0.0
    with watching("simulation") as watch:
        for number, path in enumerate(paths):
            watch(number, len(paths), path.name)
            tensor = files.load(path, program.input.shape, program.preprocessing)
            before = sum(executor.overflows.values())
            integers = executor.run_integers(tensor)
            floats = reference(tensor) if reference else None
            for index, step in program.outputs.items():
                values = fixed_values(step, integers[index])
                top = int(values.argmax())
                row = [str(path), names[index], (step.labels or tuple(map(str, range(values.size))))[top], f"{values[top]:.4f}"]
                if floats is not None:
                    difference = float(np.abs(values - floats[index]).max())
                    worst = max(worst, difference)
                    row += [f"{floats[index][top]:.4f}", f"{difference:.2e}"]
                shown.add_row(*row, str(sum(executor.overflows.values()) - before))
    ui.out.print(shown)
    if reference:
        print(f"largest difference from the float model: {worst:.3e}")
    print(f"overflows: {sum(executor.overflows.values())} values in {len(executor.overflows)} of {len(program.steps)} steps, {executor.images} images")
    for index, count in sorted(executor.overflows.items()):
        step = program.steps[index]
        print(f"  step {index} ({type(step).__name__} {step.name}): {count} values left the {step.bits}-bit ring; more margin bits would help")


def fixed_values(step: Output, integers: Any) -> Any:
    """What the client would read, flat."""
    from moiety.runtime.program import dequantise_output

    return dequantise_output(step, integers).ravel()


class FloatModel:
    """The ONNX model in onnxruntime, its outputs by the Program's output steps."""

    def __init__(self, model: Path, program: Program) -> None:
        import onnxruntime

        from moiety.protocols.errors import BadModel

        self._program = program
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise BadModel(f"{model}: onnxruntime cannot load it: {error}") from error
        found = len(self._session.get_outputs())
        if len(self._session.get_inputs()) != 1 or found != len(program.outputs):
            raise BadModel(f"{model}: {found} outputs, the Program has {len(program.outputs)}; is it the model that was compiled?")

    def __call__(self, tensor: Any) -> dict[int, Any]:
        """Output step index -> flat float64 array. Raises `BadInput` when the model does not take the tensor."""
        from moiety.protocols.errors import BadInput

        try:
            outputs = self._session.run(None, {self._session.get_inputs()[0].name: tensor[None]})
        except Exception as error:
            raise BadInput(f"the float model does not take an input of shape {tensor.shape}: {error}") from error
        by_name = dict(zip((o.name for o in self._session.get_outputs()), outputs, strict=True))
        names = self._program.output_names()
        if set(names.values()) <= by_name.keys():
            ordered = [by_name[name] for name in names.values()]
        else:
            ordered = outputs
        return {index: array.ravel().astype(float) for index, array in zip(self._program.outputs, ordered, strict=True)}
