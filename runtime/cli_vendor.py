"""`moiety compile`, `inspect` and `simulate`. The compiler and onnxruntime are imported inside the commands alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moiety.runtime import cli_support as ui

if TYPE_CHECKING:
    from moiety.runtime.program import Program

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
    ui.out.print(report.disclosed(program))


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

    ui.interruptible()
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


def fixed_values(step: "ir.Output", integers: Any) -> Any:  # noqa: F821, UP037
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
