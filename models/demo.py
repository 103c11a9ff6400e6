"""The demonstration behind `moiety demo`: two processes over loopback TCP, and the same
image in the clear beside them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from moiety.compiler.building import Pictures, build
from moiety.compiler.compile import CompileOptions
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.simulate import FloatModel
from moiety.models import demo_model_path, demo_ranges_path
from moiety.models.synthetic import synthetic_radiograph
from moiety.protocols.errors import ContractViolation, NetworkFailure
from moiety.runtime.cli import ui
from moiety.runtime.intake import pictures as images
from moiety.runtime.party.client import Results
from moiety.runtime.program import Output, Program, Rounding, dequantise_output
from moiety.runtime.program import folder as artifacts
from moiety.runtime.program.cleartext import Executor
from moiety.runtime.program.weights import Weights

CALIBRATION_IMAGES = 32


def run(image: Path | None, model: Path | None, rounding: Rounding, keep: Path | None) -> None:
    """Compile (unless `keep` holds a compiled model already), serve, infer, compare,
    print. Raises what the parts raise.
    """
    if image is not None:
        images.collect([image])
    with tempfile.TemporaryDirectory(prefix="moiety-demo-") as scratch:
        work = Path(scratch)
        folder = keep or work / "compiled"
        source = model or demo_model_path()
        if not (folder / artifacts.WEIGHTS).exists():
            ui.say(f"compiling {source.name}, {rounding} rounding")
            build(
                source,
                folder,
                Pictures(calibration(model, work)),
                CompileOptions(PlanOptions.of_choices(rounding=rounding)),
            )
        program, weights = artifacts.load_vendor(folder)
        picture = image or example(work)
        ui.say(f"image: {picture}")
        results = two_processes(folder, picture, work / "results.json")
        compare(program, weights, source, picture, results)


def data_folder() -> Path | None:
    """The corpus of chest x-rays named by MOIETY_DATA, else beside the
    checkout; None when there is none.
    """
    folder = Path(
        os.environ.get("MOIETY_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    )
    return folder if (folder / "images").is_dir() else None


def example(work: Path) -> Path:
    """A real x-ray of the test split where there is one, else a drawn one."""
    data = data_folder()
    if data is not None:
        return images.collect([data / "images" / "test"])[0]
    file = work / "synthetic-radiograph.png"
    Image.fromarray(synthetic_radiograph(seed=0)).save(file)
    return file


def calibration(model: Path | None, work: Path) -> list[Path]:
    """The shipped model's ranges; for another model, images: evenly spaced over the
    real training split, else drawn.
    """
    if model is None:
        return [demo_ranges_path()]
    data = data_folder()
    if data is not None:
        found = images.collect([data / "images" / "train"])
        return found[:: max(1, len(found) // CALIBRATION_IMAGES)][:CALIBRATION_IMAGES]
    folder = work / "calibration"
    folder.mkdir()
    for seed in range(1, CALIBRATION_IMAGES + 1):
        Image.fromarray(synthetic_radiograph(seed)).save(folder / f"{seed}.png")
    return [folder]


def two_processes(folder: Path, picture: Path, output: Path) -> Results:
    """`moiety serve` and `moiety infer`, each its own process, over loopback TCP; the hospital
    sees the public folder alone.
    """
    with serving(folder) as address:
        arguments = [
            "infer",
            str(folder / artifacts.PUBLIC),
            str(picture),
            "--connect",
            address,
            "-o",
            str(output),
        ]
        code = subprocess.run(
            [*command(), *arguments], stdout=subprocess.DEVNULL, check=False
        ).returncode
    if code:
        raise NetworkFailure(
            f"the hospital's process ended with exit code {code}; its message is above"
        )
    return msgspec.json.decode(output.read_bytes(), type=Results)


def command() -> list[str]:
    return [sys.executable, "-m", "moiety.runtime.cli"]


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A vendor's process; gives its address when it listens. Its log goes to our stderr."""
    server = subprocess.Popen(
        [*command(), "serve", str(folder), "--listen", "127.0.0.1:0", "--once"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line.startswith("listening "):
            raise NetworkFailure(
                f"the vendor's process ended with exit code {server.wait()}; its message is above"
            )
        threading.Thread(target=server.stdout.read, daemon=True).start()
        yield line.removeprefix("listening ").strip()
        server.wait(timeout=30)
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait(timeout=10)


def compare(
    program: Program, weights: Weights, source: Path, picture: Path, results: Results
) -> None:
    """The final table."""
    tensor = images.load(picture, program.input.shape, program.preprocessing)
    executor = Executor(program, weights, np.random.default_rng(0))
    fixed = executor.run_integers(tensor)
    floats = FloatModel(source, program)(tensor)
    (result,) = results.images
    same = True
    for (index, step), secure in zip(program.outputs.items(), result.outputs, strict=True):
        clear, float_values = dequantise_output(step, fixed[index]).ravel(), floats[index]
        same &= bool(np.array_equal(clear, secure.values))
        ui.out.print(
            predictions(
                program.output_names()[index], step, np.array(secure.values), clear, float_values
            )
        )
    if program.rounding == "exact":
        print(f"secure equals cleartext fixed point bit for bit: {'yes' if same else 'NO'}")
    cost = ui.table("Cost", "", "hospital", "vendor", right=2)
    cost.add_row("inference, seconds", f"{result.seconds:.2f}", f"{result.server.seconds:.2f}")
    cost.add_row(
        "processor time, seconds", f"{result.cpu_seconds:.2f}", f"{result.server.cpu_seconds:.2f}"
    )
    cost.add_row("set-up once per connection, seconds", f"{results.setup_seconds:.2f}", "")
    cost.add_row("bytes sent", ui.megabytes(result.bytes_sent), ui.megabytes(result.bytes_received))
    cost.add_row("rounds (flights)", str(result.flights), "")
    cost.add_row(
        "peak memory", ui.megabytes(results.peak_rss), ui.megabytes(result.server.peak_rss)
    )
    cost.add_row("kernels", results.kernels["client"], results.kernels["server"])
    ui.out.print(cost)
    print(f"overflows in the cleartext run: {sum(executor.overflows.values())}")
    if program.rounding == "exact" and not same:
        raise ContractViolation("the secure result differs from the cleartext executor")


def predictions(name: str, step: Output, secure: Any, clear: Any, floats: Any) -> Any:
    """Secure, fixed point in the clear, and float, label by label."""
    made = ui.table(
        f"Prediction: {name} ({step.postprocess})",
        "label",
        "secure",
        "fixed point",
        "float",
        "secure - float",
        right=4,
    )
    for label, *row in zip(
        step.labels or map(str, range(secure.size)), secure, clear, floats, strict=False
    ):
        made.add_row(label, *(f"{value:.4f}" for value in row), f"{row[0] - row[2]:+.1e}")
    return made
