"""What `moiety compile` does. No party's process imports this: it imports the compiler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from moiety.compiler.compile import compile_graph
from moiety.compiler.ir.graph import Graph
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.base import Pass
from moiety.compiler.passes.manager import DumpAfter, dump_to, optimise
from moiety.compiler.passes.pipeline import DEFAULT_PIPELINE, parse_pipeline
from moiety.compiler.planning.options import Disclose, PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.search import USUAL_ERROR
from moiety.protocols.errors import BadInput, BadModel
from moiety.protocols.network import NetworkName
from moiety.runtime.cli import ui
from moiety.runtime.cli.progress import watching
from moiety.runtime.intake import pictures as images
from moiety.runtime.program import Preprocessing, Program, picture_shape
from moiety.runtime.program import folder as artifacts


@dataclass(frozen=True)
class CompileOptions:
    """What `moiety compile` was asked for; None leaves a choice to the compiler."""

    calibration: Sequence[Path]
    bits: int | None = None
    scale: int | None = None
    activation_bits: int | None = None
    weight_bits: int | None = None
    margin_bits: int | None = None
    max_error: float | None = None
    disclose: Disclose | None = None
    rounding: Literal["exact", "stochastic"] | None = None
    network: NetworkName | None = None
    input_shape: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    exact_size: bool = False
    labels: tuple[str, ...] = ()
    pipeline: str | None = None
    dump_after: str | None = None
    dump_folder: Path = Path("dump")
    save_ranges: Path | None = None


@dataclass(frozen=True)
class CalibrationImages:
    """Preprocessed tensors, read one after the other."""

    files: Sequence[Path]
    shape: tuple[int, ...]
    preprocessing: Preprocessing | None

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        return (images.load(file, self.shape, self.preprocessing) for file in self.files)


def build(model: Path, folder: Path, options: CompileOptions) -> Program:
    """Compile `model` into `folder` and say what came out. Raises
    `BadModel`, `BadPlan`, `BadInput`.
    """
    plan = plan_options(options)
    ranges_file = next(
        (path for path in options.calibration if path.suffix == ".safetensors"), None
    )
    files = [] if ranges_file else images.collect(options.calibration)
    with watching("compiling") as watch:
        watch(0, 1, "importing")
        graph = import_onnx(model, options.input_shape)
        shape = graph.shapes[graph.inputs[0]][1:]
        preprocessing, labels = public_description(model, shape, options)
        watch(0, 1, "optimising")
        graph = optimise(graph, options.pipeline or DEFAULT_PIPELINE, dump_after=dumping(options))
        calibration = (
            Ranges.load(ranges_file)
            if ranges_file
            else CalibrationImages(files, shape, preprocessing)
        )
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
    ui.say(
        f"{folder}: {len(program.steps)} steps, {program.rounding} rounding, Program {program.digest()[:16]}..."
    )
    if compiled.report.predicted_error is not None:
        ui.say(
            f"predicted error of the results: {compiled.report.predicted_error:.3g} (root mean square)"
        )
    ui.say(f"give {folder / artifacts.PUBLIC} to the hospital; keep everything else")
    return program


def plan_options(options: CompileOptions) -> PlanOptions:
    """The planner's options; those that were not given keep its defaults. Without any
    widths they are searched for.
    """
    widths = ("bits", "scale", "activation_bits", "weight_bits")
    chosen = (*widths, "margin_bits", "rounding", "network", "disclose")
    given = {name: value for name in chosen if (value := getattr(options, name)) is not None}
    if options.max_error is not None:
        given["target_error"] = options.max_error
    elif given.keys().isdisjoint(widths) and options.disclose != "minimal":
        given["relative_error"] = USUAL_ERROR
    return PlanOptions(**given)


def public_description(
    model: Path, shape: tuple[int, ...], options: CompileOptions
) -> tuple[Preprocessing | None, tuple[str, ...]]:
    """Preprocessing and labels: from the command line, else from the model's
    metadata, else the usual ones.
    """
    metadata = {
        entry.key: entry.value
        for entry in onnx.load(model, load_external_data=False).metadata_props
    }
    labels, preprocessing = options.labels, None
    try:
        if not labels and "moiety.labels" in metadata:
            labels = msgspec.json.decode(metadata["moiety.labels"], type=tuple[str, ...])
        if not (options.mean or options.std) and "moiety.preprocessing" in metadata:
            preprocessing = msgspec.json.decode(
                metadata["moiety.preprocessing"], type=Preprocessing
            )
    except msgspec.MsgspecError as error:
        raise BadModel(
            f"{model}: its metadata moiety.labels or moiety.preprocessing cannot be read: {error}"
        ) from error
    if preprocessing is None or (preprocessing.channels, *preprocessing.size) != picture_shape(
        shape
    ):
        preprocessing = images.default_preprocessing(shape, options.mean, options.std)
    if preprocessing is not None and options.exact_size:
        preprocessing = msgspec.structs.replace(preprocessing, resize="exact")
    return preprocessing, labels


def dumping(options: CompileOptions) -> DumpAfter | None:
    """What --dump-after asks for; None when it was not given. Raises
    `BadInput` for an unknown pass.
    """
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
