"""What `moiety demo` does: two processes over loopback TCP, and the same image in the
clear beside them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from moiety.compiler.compile import CompileOptions
from moiety.compiler.compile_files import Pictures, compile_files
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.simulate import FloatModel
from moiety.models import demo_model_path, demo_ranges_path
from moiety.models.processes import run_both
from moiety.models.xrays import calibration_images, example_image
from moiety.protocols.arrays import F64
from moiety.protocols.errors import ContractViolation
from moiety.runtime.cli import ui
from moiety.runtime.intake.collect import collect
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program import Program, Rounding
from moiety.runtime.program.artifacts import load_vendor, present
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.expression.base import Array
from moiety.runtime.program.weights import Weights
from moiety.runtime.results.record import ImageResult, Results


def run(image: Path | None, model: Path | None, rounding: Rounding, keep: Path | None) -> None:
    """Compile (unless `keep` holds a compiled model already), serve, infer, compare, print. Raises
    what the parts raise.
    """
    if image is not None:
        collect([image])
    with tempfile.TemporaryDirectory(prefix="moiety-demo-") as scratch:
        work = Path(scratch)
        folder = keep or work / "compiled"
        source = model or demo_model_path()
        if not present(folder):
            ui.say(f"compiling {source.name}, {rounding} rounding")
            calibration = [demo_ranges_path()] if model is None else calibration_images(work)
            plan = PlanOptions.of_choices(rounding=rounding)
            compile_files(source, folder, Pictures(calibration), CompileOptions(plan))
        program, weights = load_vendor(folder)
        picture = image or example_image(work)
        ui.say(f"image: {picture}")
        results = run_both(folder, picture, (keep or work) / "results.json")
        report(program, results, in_the_clear(program, weights, source, picture))


@dataclass(frozen=True, eq=False)
class Clear:
    """What one image gives without cryptography, by output step: values of the fixed-point Program
    and of the float model, flat float64.
    """

    fixed: dict[str, Array]
    floats: dict[str, F64]
    overflows: int


def in_the_clear(program: Program, weights: Weights, source: Path, picture: Path) -> Clear:
    """The Program in the cleartext executor, and `source` in onnxruntime."""
    tensor = load(picture, Reader.of(program)).tensor
    executor = CleartextExecutor(program, weights, np.random.default_rng(0))
    fixed = {name: values.ravel() for name, values in executor.run(tensor).items()}
    return Clear(fixed, FloatModel(source, program)(tensor), sum(executor.overflows.values()))


def report(program: Program, results: Results, clear: Clear) -> None:
    """The final tables. Raises `ContractViolation` where exact rounding was not exact."""
    (image,) = results.images
    same = True
    for result, secure in zip(program.results(), image.outputs, strict=True):
        values, fixed = np.array(secure.values, np.float64), clear.fixed[result.name]
        same &= bool(np.array_equal(fixed, values, equal_nan=True))
        title = f"Prediction: {result.name}"
        floats = clear.floats[result.name]
        ui.out.print(predictions(title, result.labels, values, fixed, floats))
    if program.rounding == "exact":
        print(f"secure equals cleartext fixed point bit for bit: {'yes' if same else 'NO'}")
    ui.out.print(costs(results, image))
    print(f"overflows in the cleartext run: {clear.overflows}")
    if program.rounding == "exact" and not same:
        raise ContractViolation("the secure result differs from the cleartext executor")


def predictions(title: str, names: Sequence[str], secure: F64, fixed: Array, floats: F64) -> Table:
    """Secure, fixed point in the clear, and float, label by label."""
    columns = ("secure", "fixed point", "float", "secure - float")
    made = ui.table(title, "label", *columns, right=len(columns))
    labels = names or map(str, range(secure.size))
    for label, *row in zip(labels, secure, fixed, floats, strict=False):
        made.add_row(label, *(f"{value:.4f}" for value in row), f"{row[0] - row[2]:+.1e}")
    return made


def costs(results: Results, image: ImageResult) -> Table:
    """What the image took, on either side."""
    server = image.server
    made = ui.table("Cost", "", "hospital", "vendor", right=2)
    made.add_row("inference, seconds", f"{image.seconds:.2f}", f"{server.seconds:.2f}")
    made.add_row("processor time, seconds", f"{image.cpu_seconds:.2f}", f"{server.cpu_seconds:.2f}")
    made.add_row("set-up once per connection, seconds", f"{results.setup_seconds:.2f}", "")
    made.add_row("bytes sent", ui.megabytes(image.bytes_sent), ui.megabytes(image.bytes_received))
    made.add_row("rounds (flights)", str(image.flights), "")
    made.add_row("peak memory", ui.megabytes(results.peak_rss), ui.megabytes(server.peak_rss))
    made.add_row("kernels", results.kernels["client"], results.kernels["server"])
    return made
