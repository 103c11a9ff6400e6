"""What `moiety simulate` does. No party's process imports this: it imports onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moiety.compiler.ir.onnx_session import RunningModel
from moiety.protocols.arrays import F64, I64
from moiety.protocols.errors import BadModel, BadPlan
from moiety.runtime.cli import ui
from moiety.runtime.cli.progress import watching
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.text import printable
from moiety.runtime.program import Case, Program, tensors_of
from moiety.runtime.program.artifacts import load_vendor
from moiety.runtime.program.cleartext import CleartextExecutor

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
    collected = given.collected()
    reader = Reader.of(program, given.bit_depth, collected.rows)
    paths = given.admitted(reader, collected).files
    reference = FloatModel(model, program) if model is not None else None
    executor = CleartextExecutor(program, weights, np.random.default_rng(seed))
    compared = COMPARED if reference else ()
    rows = ui.table("", *COLUMNS, *compared, "overflows", right=len(compared) + 2)
    worst = 0.0
    longest_name = ui.longest_name(ui.out, len(rows.columns))
    with watching("simulation") as watch:
        for number, path in enumerate(paths):
            watch(number, len(paths), "image")
            case = load(path, reader).case
            before = sum(executor.overflows.values())
            integers = executor.run_integers(case)
            floats = reference(case) if reference else {}
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
    program: Program, integers: Mapping[int, I64], floats: Mapping[int, F64]
) -> Iterator[Outcome]:
    """Of one image's results, by output step."""
    for index, name in program.output_names().items():
        step = program.outputs[index]
        values = step.dequantise(integers[index]).ravel()
        top = int(values.argmax())
        model = floats.get(index)
        yield Outcome(
            name=name,
            label=step.labels[top] if step.labels else str(top),
            fixed=float(values[top]),
            expected=None if model is None else float(model[top]),
            difference=None if model is None else float(np.abs(values - model).max()),
        )


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
        found = len(self._model.outputs)
        if found != len(program.outputs):
            raise BadModel(
                f"{model}: {found} outputs, the Program has {len(program.outputs)}; is it the "
                "model that was compiled?"
            )

    def __call__(self, case: Case) -> dict[int, F64]:
        """Output step index -> flat float64 array. Raises `BadInput` when the model does not
        take the case.
        """
        tensors = tensors_of(case, self._program.input_names())
        outputs = self._model(
            {name: tensor[None].astype(np.float32) for name, tensor in tensors.items()}
        )
        by_name = dict(zip(self._model.outputs, outputs, strict=True))
        names = self._program.output_names()
        named = set(names.values()) <= by_name.keys()
        ordered = [by_name[name] for name in names.values()] if named else outputs
        return {
            index: self._program.outputs[index].op_norm(np.asarray(array, np.float64).ravel())
            for index, array in zip(names, ordered, strict=True)
        }
