"""What `moiety simulate` does. No party's process imports this: it imports onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moiety.compiler.ir.onnx_session import RunningModel
from moiety.protocols.arrays import F32, F64, I64
from moiety.protocols.errors import BadModel, BadPlan
from moiety.runtime.cli import ui
from moiety.runtime.cli.progress import watching
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.text import printable
from moiety.runtime.program import Program
from moiety.runtime.program.artifacts import load_vendor
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.expression.elementwise import OperatingPoints
from moiety.runtime.program.expression.expression import ResultForm

COLUMNS = ("image", "output", "largest", "fixed point")
COMPARED = ("float", "differs by")


@dataclass(frozen=True)
class Outcome:
    """One output of one image. name: of the output. label: of its largest value, in fixed point
    `fixed`; of the float model, if there is one, the `expected` value at the same place, and the
    largest `difference` anywhere.
    """

    name: str
    label: str
    fixed: float
    expected: float | None
    difference: float | None

    def cells(self) -> list[str]:
        """For the table."""
        compared = []
        if self.expected is not None and self.difference is not None:
            compared = [f"{self.expected:.4f}", f"{self.difference:.2e}"]
        return [self.name, self.label, f"{self.fixed:.4f}", *compared]


def simulate(folder: Path, given: Given, model: Path | None, seed: int) -> None:
    """Print, per image, the fixed-point result, the float model's, their difference,
    and overflows. Raises `BadPlan` where there are any, after all is printed.
    """
    program, weights = load_vendor(folder)
    reader = Reader.of(program, given.bit_depth)
    paths = given.admitted(reader).files
    reference = FloatModel(model, program) if model is not None else None
    executor = CleartextExecutor(program, weights, np.random.default_rng(seed))
    compared = COMPARED if reference else ()
    rows = ui.table("", *COLUMNS, *compared, "overflows", right=len(compared) + 2)
    worst = 0.0
    longest_name = ui.longest_name(ui.out, len(rows.columns))
    with watching("simulation") as watch:
        for number, path in enumerate(paths):
            watch(number, len(paths), "image")
            tensor = load(path, reader).tensor
            before = sum(executor.overflows.values())
            integers = executor.run_integers(tensor)
            floats = reference(tensor) if reference else {}
            overflows = sum(executor.overflows.values()) - before
            for outcome in _outcomes(program, integers, floats):
                worst = max(worst, outcome.difference or 0.0)
                name = ui.shortened(printable(path), longest_name)
                rows.add_row(ui.literal(name), *outcome.cells(), str(overflows))
    ui.out.print(rows)
    if reference:
        print(f"largest difference from the float model: {worst:.3e}")
    _print_overflows(executor)
    if found := sum(executor.overflows.values()):
        raise BadPlan(
            f"{found} values overflowed: compile again with more --margin-bits, or with "
            "--calibration on images more like these"
        )


def _outcomes(
    program: Program, integers: Mapping[int, I64], floats: Mapping[str, F64]
) -> Iterator[Outcome]:
    """Of one image's results, by output step."""
    computed = program.compute(integers)
    for result in program.results():
        values = np.asarray(computed[result.name], np.float64).ravel()
        top = int(values.argmax())
        model = floats.get(result.name)
        yield Outcome(
            name=result.name,
            label=_label(result, top, values[top]),
            fixed=float(values[top]),
            expected=None if model is None else float(model[top]),
            difference=None if model is None else _difference(values, model),
        )


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
    """The ONNX model in onnxruntime, its outputs by the Program's output steps."""

    def __init__(self, model: Path, program: Program) -> None:
        self._program = program
        self._model = RunningModel(model, str(model))
        found, results = len(self._model.outputs), program.results()
        if found != len(results):
            raise BadModel(
                f"{model}: {found} outputs, the Program has {len(results)}; is it the "
                "model that was compiled?"
            )

    def __call__(self, tensor: F32) -> dict[str, F64]:
        """Name of a result -> flat float64 array. Raises `BadInput` when the model does not
        take the tensor.
        """
        outputs = self._model(tensor[None])
        by_name = dict(zip(self._model.outputs, outputs, strict=True))
        results = self._program.results()
        named = {result.name for result in results} <= by_name.keys()
        ordered = [by_name[result.name] for result in results] if named else outputs
        return {
            result.name: self._with_operating_points(result, np.asarray(array, np.float64).ravel())
            for result, array in zip(results, ordered, strict=True)
        }

    def _with_operating_points(self, result: ResultForm, values: F64) -> F64:
        """The file does not have them: they come from its metadata or an option."""
        program = self._program
        last = program.expression.operation(result.value, len(program.outputs))
        return last.evaluate([values]) if isinstance(last, OperatingPoints) else values
