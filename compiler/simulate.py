"""What `moiety simulate` does. No party's process imports this: it imports onnxruntime."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from moiety.compiler.ir.onnx_session import RunningModel
from moiety.compiler.onnx_import.fix_input import InputShape
from moiety.compiler.onnx_import.load import Imported, read_onnx
from moiety.protocols.arrays import F64, I64
from moiety.protocols.errors import BadInput, BadModel, BadPlan
from moiety.runtime.cli import ui
from moiety.runtime.cli.progress import watching
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.text import legible, printable
from moiety.runtime.program import Case, Program, tensors_of
from moiety.runtime.program.artifacts import load_vendor
from moiety.runtime.program.atomic import OWNER_ALONE, write_atomically
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.doubts import OUTPUT_RANGE, doubts
from moiety.runtime.program.expression.elementwise import OperatingPoints
from moiety.runtime.program.expression.expression import ResultForm

COLUMNS = ("image", "output", "largest", "fixed point")
COMPARED = ("float", "differs by")
OF_REVEALED = "revealed differ by"


@dataclass(frozen=True)
class Outcome:
    """One output of one image. name: of the output. label: of its largest value, in fixed point
    `fixed`; of the float model, if there is one, the `expected` value at the same place, and the
    largest `difference` anywhere. `of_revealed`: the largest difference of the revealed values that
    the output is computed from.
    """

    name: str
    label: str
    fixed: float
    expected: float | None
    difference: float | None
    of_revealed: float | None

    def cells(self) -> list[str]:
        """For the table."""
        compared = []
        if self.expected is not None and self.difference is not None:
            compared = [f"{self.expected:.4f}", f"{self.difference:.2e}"]
        if self.of_revealed is not None:
            compared.append(f"{self.of_revealed:.2e}")
        return [self.name, self.label, f"{self.fixed:.4f}", *compared]


@dataclass(frozen=True)
class Floats:
    """What the float model makes of one image, each flat: its results by name, and the revealed
    values by number.
    """

    results: dict[str, F64]
    revealed: dict[int, F64]


NO_FLOATS = Floats({}, {})


@dataclass
class ScoreList:
    """What `moiety evaluate --reference` takes: the float model's scores of each image, under the
    labels of the first result that has some. An image is called by its file's name without folder
    and ending.
    """

    path: Path
    result: ResultForm
    rows: list[tuple[str, F64]] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path, program: Program, images: Sequence[Path]) -> ScoreList:
        """Raises `BadInput` where two images are called the same, or it cannot be written there."""
        first: dict[str, Path] = {}
        for image in images:
            if (other := first.setdefault(image.stem, image)) is not image:
                raise BadInput(
                    f"--scores: {printable(other)} and {printable(image)} have one name, by which "
                    "scores are found again; give other names, or one folder at a time"
                )
        if path.is_dir() or not path.parent.is_dir():
            raise BadInput(f"--scores: {printable(path)} cannot be written: no file can be there")
        results = program.results()
        return cls(path, next((each for each in results if each.labels), results[0]))

    def add(self, image: Path, floats: Floats) -> None:
        self.rows.append((image.stem, floats.results[self.result.name]))

    def save(self) -> None:
        """As CSV. Raises `BadInput`."""
        labels = self.result.labels or [f"output {index}" for index in range(self.result.size)]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", *map(legible, labels)])
        writer.writerows([legible(name), *values.tolist()] for name, values in self.rows)
        try:
            write_atomically(self.path, text.getvalue().encode(), OWNER_ALONE)
        except OSError as error:
            raise BadInput(
                f"--scores: {printable(self.path)} cannot be written: {error.strerror or error}"
            ) from error


def simulate(
    folder: Path,
    given: Given,
    model: Path | None,
    seed: int,
    batch_axis: bool = True,
    scores: Path | None = None,
) -> None:
    """Print, per image, the fixed-point result, the float model's, their difference,
    and overflows. Raises `BadPlan` where there are any, after all is printed. batch_axis: whether
    the float model has one. scores: where its own are written, as a `ScoreList`.
    """
    if scores is not None and model is None:
        raise BadInput("--scores are the float model's; give it with --model MODEL.onnx")
    program, weights = load_vendor(folder)
    collected = given.collected()
    reader = Reader.of(program, given.bit_depth, collected.rows)
    paths = given.admitted(reader, collected).files
    reference = FloatModel(model, program, batch_axis) if model is not None else None
    executor = CleartextExecutor(program, weights, np.random.default_rng(seed))
    listed = ScoreList.of(scores, program, paths) if scores is not None else None
    compared = reference.columns if reference else ()
    rows = ui.table("", *COLUMNS, *compared, "overflows", right=len(compared) + 2)
    worst = worst_revealed = 0.0
    longest_name = ui.longest_name(ui.out, len(rows.columns))
    with watching("simulation") as watch:
        for number, path in enumerate(paths):
            watch(number, len(paths), "image")
            case = load(path, reader).case
            before = sum(executor.overflows.values())
            integers = executor.run_integers(case)
            floats = reference.run(case) if reference else NO_FLOATS
            if listed is not None:
                listed.add(path, floats)
            overflows = sum(executor.overflows.values()) - before
            for text in doubts(program, integers):
                ui.warn(f"{printable(path)}: {OUTPUT_RANGE}: {printable(text)}")
            for outcome in _outcomes(program, integers, floats):
                worst = max(worst, outcome.difference or 0.0)
                worst_revealed = max(worst_revealed, outcome.of_revealed or 0.0)
                name = ui.shortened(printable(path), longest_name)
                rows.add_row(ui.literal(name), *outcome.cells(), str(overflows))
    if listed is not None:
        listed.save()
    ui.out.print(rows)
    if reference:
        print(f"largest difference from the float model: {worst:.3e}")
    if reference and OF_REVEALED in reference.columns:
        print(f"of the revealed values, which its results are computed from: {worst_revealed:.3e}")
    _print_overflows(executor)
    if found := sum(executor.overflows.values()):
        raise BadPlan(
            f"{found} values overflowed: compile again with more --margin-bits, or with "
            "--calibration on images more like these"
        )


def _outcomes(program: Program, integers: Mapping[int, I64], floats: Floats) -> Iterator[Outcome]:
    """Of one image's results, by output step."""
    computed = program.compute(integers)
    apart = {
        number: _difference(step.dequantise(integers[index]).ravel(), floats.revealed[number])
        for number, (index, step) in enumerate(program.outputs.items())
        if number in floats.revealed
    }
    for result in program.results():
        values = np.asarray(computed[result.name], np.float64).ravel()
        top = int(values.argmax())
        model = floats.results.get(result.name)
        yield Outcome(
            name=result.name,
            label=_label(result, top, values[top]),
            fixed=float(values[top]),
            expected=None if model is None else float(model[top]),
            difference=None if model is None else _difference(values, model),
            of_revealed=_largest(apart, result),
        )


def _largest(apart: Mapping[int, float], result: ResultForm) -> float | None:
    """Of the revealed values that a result is computed from; None where none is compared."""
    if not apart:
        return None
    return max((apart[each] for each in result.reads if each in apart), default=0.0)


def _label(result: ResultForm, index: int, value: float) -> str:
    """Of a value: its own, or that of the place that it is."""
    named = index if result.places is None else int(value)
    return result.labels[named] if result.labels else str(index)


def _difference(values: F64, model: F64) -> float:
    """The largest: none between what is equal, NaN too, and infinite between NaN and a number."""
    same = (values == model) | (np.isnan(values) & np.isnan(model))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(values - model))
    return float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max())


def _print_overflows(executor: CleartextExecutor) -> None:
    steps, found = executor.program.steps, executor.overflows
    print(
        f"overflows: {sum(found.values())} values in {len(found)} of {len(steps)} steps, "
        f"{executor.images} images"
    )
    for index, count in sorted(found.items()):
        step = steps[index]
        print(
            f"  step {index}, {step.kind} {step.name}: {count} values left the {step.bits}-bit ring"
        )


class FloatModel:
    """The ONNX model in onnxruntime: the Program's results, and the values that it reveals where
    these are others.
    """

    def __init__(self, model: Path, program: Program, batch_axis: bool = True) -> None:
        self._program = program
        self._revealed: dict[int, str] = {}
        if program.expression.operations or not batch_axis:
            shapes: InputShape = {step.name: step.shape for step in program.inputs}
            if len(program.inputs) == 1:
                shapes = program.input.shape
            imported = read_onnx(model, shapes, batch_axis)
            self._revealed = _onnx_names(imported, program)
            self._names = _show(imported.model.graph, self._revealed.values())
            self._model = RunningModel(imported.model, str(model))
        else:
            self._model = RunningModel(model, str(model))
            self._names = self._model.outputs
        found, results = len(self._names), program.results()
        if found != len(results):
            raise BadModel(
                f"{model}: {found} outputs, the Program has {len(results)}; is it the "
                "model that was compiled?"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table, what is compared."""
        return (*COMPARED, OF_REVEALED) if self._revealed else COMPARED

    def __call__(self, case: Case) -> dict[str, F64]:
        """Name of a result -> flat float64 array. Raises `BadInput` when the model does not
        take the case.
        """
        return self.run(case).results

    def run(self, case: Case) -> Floats:
        """Also the values that are revealed."""
        tensors = tensors_of(case, self._program.input_names())
        feeds = {name: tensor[None].astype(np.float32) for name, tensor in tensors.items()}
        outputs = [np.asarray(each, np.float64).ravel() for each in self._model(feeds)]
        by_name = dict(zip(self._model.outputs, outputs, strict=True))
        results = self._program.results()
        names = [result.name for result in results]
        if not set(names) <= set(self._names):
            names = self._names  # in the model's order
        return Floats(
            results={
                result.name: self._with_operating_points(result, by_name[name])
                for result, name in zip(results, names, strict=True)
            },
            revealed={number: by_name[name] for number, name in self._revealed.items()},
        )

    def _with_operating_points(self, result: ResultForm, values: F64) -> F64:
        """The file does not have them: they come from its metadata or an option."""
        program = self._program
        last = program.expression.operation(result.value, len(program.outputs))
        return last.evaluate([values]) if isinstance(last, OperatingPoints) else values


def _onnx_names(imported: Imported, program: Program) -> dict[int, str]:
    """Of the values that the Program reveals, by number; without those that the file does not have,
    as the image itself.
    """
    made = {name for node in imported.model.graph.node for name in node.output}
    names = {value: name for name, value in imported.values.items() if name in made}
    return {
        number: names[step.name]
        for number, step in enumerate(program.outputs.values())
        if step.name in names
    }


def _show(graph: onnx.GraphProto, values: Iterable[str]) -> list[str]:
    """Make values outputs of the graph, behind those that it has, whose names are returned."""
    names = [output.name for output in graph.output]
    further = [value for value in dict.fromkeys(values) if value not in names]
    graph.output.extend(map(helper.make_empty_tensor_value_info, further))
    return names
