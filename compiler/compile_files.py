"""What `moiety compile` does: a model and pictures to a folder, and what is said of it.

`compile` takes tensors and is silent; this file knows pictures, the metadata of ONNX files and the
terminal. The demo and the benchmarks compile by it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from moiety.compiler.compile import (
    Calibration,
    Compiled,
    CompileOptions,
    compile_graph,
    normal_form,
)
from moiety.compiler.onnx_import.metadata import LABELS, PREPROCESSING, read_metadata
from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput
from moiety.runtime.cli import ui
from moiety.runtime.cli.options import warn_of
from moiety.runtime.cli.progress import watching
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.intake.admission import Intake
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.presets import default_preprocessing
from moiety.runtime.program import Preprocessing, Program, picture_shape
from moiety.runtime.program.artifacts import PUBLIC, WEIGHTS

READING = "reading images"


@dataclass(frozen=True)
class Pictures:
    """The vendor's pictures, and how any picture becomes the model's input.

    files: to calibrate on; pictures, folders and CSV lists of them, or a file of ranges saved
    before. mean, std: per channel, of pixels 0 to 1; without either, what the model's metadata
    says, else ImageNet's. exact_size: refuse pictures of another size instead of resizing them.
    recursive, keep_going, bit_depth: as in `Given`.
    """

    files: Sequence[Path]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    exact_size: bool = False
    recursive: bool = False
    keep_going: bool | None = None
    bit_depth: int | None = None

    def preprocessing(self, model: Path, shape: tuple[int, ...]) -> Preprocessing | None:
        """Of pictures to an input of `shape`; None if that is no picture's. Raises BadModel."""
        chosen = self.mean is not None or self.std is not None
        found = None if chosen else read_metadata(model, PREPROCESSING, Preprocessing)
        if found is None or (found.channels, *found.size) != picture_shape(shape):
            found = default_preprocessing(shape, self.mean, self.std)
        if found is not None and self.exact_size:
            found = msgspec.structs.replace(found, resize="exact")
        return found

    def saved_ranges(self) -> Path | None:
        """The file of ranges, if there is one among the files."""
        return next((path for path in self.files if path.suffix == ".safetensors"), None)

    def given(self) -> Given:
        """The pictures."""
        return Given(self.files, self.recursive, self.keep_going, self.bit_depth)


@dataclass(frozen=True)
class CalibrationImages:
    """Preprocessed tensors, read one after the other."""

    files: Sequence[Path]
    reader: Reader

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[F32]:
        return (load(file, self.reader).tensor for file in self.files)


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
    pictures = given.given()
    found = given.saved_ranges() or pictures.collected()
    with watching("compiling") as watch:

        def progress(stage: str, done: int, total: int) -> None:
            watch(done, total, stage)

        graph = normal_form(model, options, progress)
        shape = graph.shapes[graph.inputs[0]][1:]
        options = with_depth(with_description(model, shape, given, options), given.bit_depth)
        reader = Reader(shape, options.preprocessing, bit_depth=given.bit_depth)
        calibration: Calibration = (
            found
            if isinstance(found, Path)
            else calibration_images(
                pictures.judged(found, reader, partial(progress, READING)), reader
            )
        )
        compiled = compile_graph(graph, calibration, options, folder, progress=progress)
    (folder / WEIGHTS).chmod(0o600)
    if save_ranges is not None:
        with writing(save_ranges):
            compiled.ranges.save(save_ranges)
    _say(compiled, folder)
    return compiled.program


def calibration_images(intake: Intake, reader: Reader) -> CalibrationImages:
    """The accepted images. Warns where they cannot differ, for ranges are no better than they."""
    different = {image.identity.pixel_sha256 for image in intake.accepted}
    if len(different) == 1:
        ui.warn(
            f"calibration: one-image: the ranges are those of a single image, given "
            f"{len(intake.accepted)} times; some dozens are needed, like the ones to come"
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
    model: Path, shape: tuple[int, ...], given: Pictures, options: CompileOptions
) -> CompileOptions:
    """The options with the model's public description: what was asked for, else what its metadata
    say, else the usual. Raises BadModel.
    """
    return replace(
        options,
        preprocessing=options.preprocessing or given.preprocessing(model, shape),
        labels=options.labels or read_metadata(model, LABELS, tuple[str, ...]) or (),
    )


def with_depth(options: CompileOptions, bit_depth: int | None) -> CompileOptions:
    """The options with the depth of the vendor's deep pictures stated, for clients to read theirs
    by it, too.
    """
    if bit_depth is None or options.preprocessing is None:
        return options
    stated = msgspec.structs.replace(options.preprocessing, bit_depth=bit_depth)
    return replace(options, preprocessing=stated)


def _say(compiled: Compiled, folder: Path) -> None:
    program, error = compiled.program, compiled.report.predicted_error
    ui.say(
        f"{folder}: {len(program.steps)} steps, {program.rounding} rounding, Program "
        f"{program.digest()[:16]}..."
    )
    if error is not None:
        ui.say(f"predicted error of the results: {error:.3g} (root mean square)")
    warn_of(program.rounding)
    ui.say(f"give {folder / PUBLIC} to the hospital; keep everything else")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """BadInput where the operating system refuses to write `path`."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from None
