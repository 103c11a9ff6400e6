"""What `moiety compile` does: a model and pictures to a folder.

`compile` takes tensors and is silent; this file knows pictures, the metadata of ONNX files and the
terminal. The demo and the benchmarks compile by it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from moiety.compiler.compile import (
    Calibration,
    CompileOptions,
    compile_graph,
    normal_form,
)
from moiety.compiler.compile_report import say
from moiety.compiler.description import Described, output_labels, output_op_threshs
from moiety.compiler.ir.graph import Graph
from moiety.compiler.onnx_import.metadata import read_version
from moiety.protocols.errors import BadInput
from moiety.runtime.cli import ui
from moiety.runtime.cli.progress import watching
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.intake.admission import Intake
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program import Case, Program
from moiety.runtime.program.artifacts import check_free

READING = "reading images"


@dataclass(frozen=True)
class Pictures:
    """The vendor's pictures, and how any picture becomes the model's input.

    files: to calibrate on; pictures, folders and CSV lists of them, or a file of ranges saved
    before. described: what is said of them, beside the model's metadata. recursive, keep_going,
    bit_depth: as in `Given`.
    """

    files: Sequence[Path]
    described: Described = field(default_factory=Described)
    recursive: bool = False
    keep_going: bool | None = None
    bit_depth: int | None = None

    def saved_ranges(self) -> Path | None:
        """The file of ranges, if there is one among the files."""
        return next((path for path in self.files if path.suffix == ".safetensors"), None)

    def given(self) -> Given:
        """The pictures."""
        return Given(self.files, self.recursive, self.keep_going, self.bit_depth)


@dataclass(frozen=True)
class CalibrationImages:
    """Preprocessed cases, read one after the other."""

    files: Sequence[Path]
    reader: Reader

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Case]:
        return (load(file, self.reader).case for file in self.files)


def compile_files(
    model: Path,
    folder: Path,
    given: Pictures,
    options: CompileOptions,
    save_ranges: Path | None = None,
    force: bool = False,
) -> Program:
    """Compile `model` into `folder` and say what came out; `save_ranges`: also save the calibrated
    ranges there; `force`: in place of a compiled model in `folder`. Raises `BadModel`, `BadPlan`,
    `BadInput`.
    """
    if not force:
        check_free(folder)
    pictures = given.given()
    found = given.saved_ranges() or pictures.collected()
    with watching("compiling") as watch:

        def progress(stage: str, done: int, total: int) -> None:
            watch(done, total, stage)

        graph = normal_form(model, options, progress)
        options = with_depth(with_description(model, graph, given, options), given.bit_depth)
        calibration: Calibration
        if isinstance(found, Path):
            calibration = found
        else:
            reader = replace(reader_of(graph, options, given.bit_depth), rows=found.rows)
            intake = pictures.judged(found, reader, partial(progress, READING))
            calibration = calibration_images(intake, reader)
        compiled = compile_graph(
            graph, calibration, options, folder, progress=progress, force=force
        )
    if save_ranges is not None:
        with writing(save_ranges):
            compiled.ranges.save(save_ranges)
    say(compiled, folder)
    return compiled.program


def reader_of(graph: Graph, options: CompileOptions, bit_depth: int | None) -> Reader:
    """How files become the inputs of a Graph in normal form."""

    def of_input(name: str) -> Reader:
        pictured = name == graph.inputs[0] or name in options.pictures
        how = options.preprocessing if pictured else None
        return Reader(graph.shapes[name][1:], how, bit_depth=bit_depth, name=name)

    first, *others = map(of_input, graph.inputs)
    return replace(first, others=tuple(others))


def calibration_images(intake: Intake, reader: Reader) -> CalibrationImages:
    """The accepted images. Warns where they cannot differ, for ranges are no better than they."""
    different = {image.identity.pixel_sha256 for image in intake.accepted}
    if len(different) == 1:
        count = len(intake.accepted)
        given = f", given {count} times" if count > 1 else ""
        ui.warn(
            f"calibration: one-image: the ranges are those of a single image{given}; some dozens "
            "are needed, like the ones to come"
        )
    empty = [
        image for image in intake.accepted if any(w.code == "constant" for w in image.warnings)
    ]
    if len(empty) == len(intake.accepted):
        ui.warn(
            "calibration: no-variation: every image is one value throughout; the ranges say "
            "nothing of real images"
        )
    return CalibrationImages(intake.files, reader)


def with_description(
    model: Path, graph: Graph, given: Pictures, options: CompileOptions
) -> CompileOptions:
    """The options with the model's public description: what was asked for, else what its metadata
    say. Raises BadModel, BadInput.
    """
    shape, chosen = graph.shapes[graph.inputs[0]][1:], options.input_shape
    if isinstance(chosen, Mapping):
        chosen = chosen.get(graph.inputs[0])
    return replace(
        options,
        version=options.version or read_version(model),
        preprocessing=options.preprocessing or given.described.of(model, shape, chosen is not None),
        labels=output_labels(graph, model, options.labels),
        op_threshs=output_op_threshs(graph, model, options.op_threshs),
    )


def with_depth(options: CompileOptions, bit_depth: int | None) -> CompileOptions:
    """The options with the depth of the vendor's deep pictures stated, for clients to read theirs
    by it, too.
    """
    if bit_depth is None or options.preprocessing is None:
        return options
    stated = msgspec.structs.replace(options.preprocessing, bit_depth=bit_depth)
    return replace(options, preprocessing=stated)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """BadInput where the operating system refuses to write `path`."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from None
