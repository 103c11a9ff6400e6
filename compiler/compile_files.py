"""What `moiety compile` does: pictures to calibration images, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec
import onnx

from moiety.compiler.compile import (
    Calibration,
    Compiled,
    CompileOptions,
    compile_graph,
    normal_form,
)
from moiety.compiler.ir.graph import Graph
from moiety.compiler.passes.base import Pass
from moiety.compiler.passes.manager import DumpAfter, dump_to
from moiety.compiler.passes.pipeline import parse_pipeline
from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput, BadModel
from moiety.runtime.cli import ui
from moiety.runtime.cli.progress import watching
from moiety.runtime.intake import pictures
from moiety.runtime.program import Preprocessing, Program, picture_shape
from moiety.runtime.program import folder as artifacts
from moiety.runtime.program.decoding import UNREADABLE

T = TypeVar("T")


@dataclass(frozen=True)
class Pictures:
    """The vendor's pictures, and how any picture becomes the model's input.

    files: to calibrate on; pictures, folders and CSV lists of them, or a file of ranges saved
    before. mean, std: per channel, of pixels 0 to 1; without either, what the model's metadata
    says, else ImageNet's. exact_size: refuse pictures of another size instead of resizing them.
    """

    files: Sequence[Path]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    exact_size: bool = False

    def preprocessing(self, model: Path, shape: tuple[int, ...]) -> Preprocessing | None:
        """Of pictures to an input of `shape`; None if that is no picture's. Raises BadModel."""
        chosen = self.mean is not None or self.std is not None
        found = None if chosen else _metadata(model, "moiety.preprocessing", Preprocessing)
        if found is None or (found.channels, *found.size) != picture_shape(shape):
            found = pictures.default_preprocessing(shape, self.mean, self.std)
        if found is not None and self.exact_size:
            found = msgspec.structs.replace(found, resize="exact")
        return found

    def collected(self) -> Path | list[Path]:
        """The file of ranges, or all pictures. Raises BadInput if there are none."""
        saved = (path for path in self.files if path.suffix == ".safetensors")
        return next(saved, None) or pictures.collect(self.files)


@dataclass(frozen=True)
class CalibrationImages:
    """Preprocessed tensors, read one after the other."""

    files: Sequence[Path]
    shape: tuple[int, ...]
    preprocessing: Preprocessing | None

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[F32]:
        return (pictures.load(file, self.shape, self.preprocessing) for file in self.files)


def compile_files(
    model: Path,
    folder: Path,
    given: Pictures,
    options: CompileOptions,
    save_ranges: Path | None = None,
) -> Program:
    """Compile `model` into `folder` and say what came out; `save_ranges`: also save the calibrated
    ranges there. Raises `BadModel`, `BadPlan`, `BadInput`.
    """
    files = given.collected()
    with watching("compiling") as watch:

        def progress(stage: str, done: int, total: int) -> None:
            watch(done, total, stage)

        graph = normal_form(model, options, progress)
        shape = graph.shapes[graph.inputs[0]][1:]
        options = described(model, shape, given, options)
        calibration: Calibration = (
            files
            if isinstance(files, Path)
            else CalibrationImages(files, shape, options.preprocessing)
        )
        compiled = compile_graph(graph, calibration, options, folder, progress=progress)
    (folder / artifacts.WEIGHTS).chmod(0o600)
    if save_ranges is not None:
        with _writing(save_ranges):
            compiled.ranges.save(save_ranges)
    _say(compiled, folder)
    return compiled.program


def described(
    model: Path, shape: tuple[int, ...], given: Pictures, options: CompileOptions
) -> CompileOptions:
    """The options with the model's public description: what was asked for, else what its metadata
    say, else the usual. Raises BadModel.
    """
    return replace(
        options,
        preprocessing=options.preprocessing or given.preprocessing(model, shape),
        labels=options.labels or _metadata(model, "moiety.labels", tuple[str, ...]) or (),
    )


def _metadata(model: Path, key: str, kind: type[T]) -> T | None:
    """An entry of an ONNX file's metadata, None if there is none. BadModel if it cannot be read."""
    entries = onnx.load(model, load_external_data=False).metadata_props
    text = next((entry.value for entry in entries if entry.key == key), None)
    try:
        return None if text is None else msgspec.json.decode(text, type=kind)
    except UNREADABLE as error:
        raise BadModel(f"{model}: its metadata {key} cannot be read: {error}") from error


def _say(compiled: Compiled, folder: Path) -> None:
    program, error = compiled.program, compiled.report.predicted_error
    ui.say(
        f"{folder}: {len(program.steps)} steps, {program.rounding} rounding, Program "
        f"{program.digest()[:16]}..."
    )
    if error is not None:
        ui.say(f"predicted error of the results: {error:.3g} (root mean square)")
    ui.say(f"give {folder / artifacts.PUBLIC} to the hospital; keep everything else")


def dumping(wanted: str | None, folder: Path, pipeline: str) -> DumpAfter | None:
    """What --dump-after asks for: the Graph after the pass `wanted`, or after "all", into `folder`;
    None when it was not given. Raises `BadInput` for an unknown pass, and where it cannot write.
    """
    if wanted is None:
        return None
    if wanted != "all" and wanted not in {each.name for each in parse_pipeline(pipeline)}:
        raise BadInput(f"--dump-after: '{wanted}' is not in the pipeline {pipeline}")
    ui.say(f"pipeline: {pipeline}")
    with _writing(folder):
        dump = dump_to(folder)

    def chosen(index: int, each: Pass, graph: Graph) -> None:
        if wanted == "all" or (index and each.name == wanted):
            with _writing(folder):
                dump(index, each, graph)

    return chosen


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """BadInput where the operating system refuses to write `path`."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from None
