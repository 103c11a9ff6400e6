"""Public architectures through the compiler: accepted or why not, error, traffic, seconds.

    python -m benchmarks.export_networks FOLDER              # where the libraries are
    python -m benchmarks.public_networks FOLDER --rows rows.jsonl [--only WORD...] [--limit SECONDS]
    python -m benchmarks.public_networks --rows rows.jsonl --write docs/networks.md

Every ONNX file of the folder is compiled in a process of its own, calibrated on real x-rays where
the data folder is there (drawn ones else), and run by the cleartext executor on other x-rays
against onnxruntime. What the newer exporter wrote is only imported, compared with onnxruntime node
by node, and brought into the form that is planned, where the other exporter's file is measured.
Exact rounding, the same widths everywhere. One row of JSON a file; a file whose row is there is
left out. Bytes, flights and seconds are those of one image on a LAN, bytes and flights as declared,
seconds predicted for this machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

from benchmarks.support import command_line
from benchmarks.support.documents import Section
from benchmarks.support.harness import ROOT, Row, environment
from benchmarks.support.public_networks import ARCHITECTURES, WHEELS, Exporter
from moiety.compiler.compile import CompileOptions, compile_model, normal_form
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.planning.options import USUAL_OVERFLOW, PlanOptions
from moiety.models.xrays import calibration_images, data_folder
from moiety.protocols.arrays import F32, F64
from moiety.protocols.errors import BadInput, MoietyError
from moiety.runtime.cli.cost_tables import prediction
from moiety.runtime.intake.collect import collect
from moiety.runtime.program.cleartext import CleartextExecutor

APART, OTHER = "-dynamo", "-torchscript"
"""How files end that are not measured where there are others, and those."""

PLAN = PlanOptions(activation_bits=14, weight_bits=14, overflow_probability=USUAL_OVERFLOW)
CALIBRATION, HELD_OUT = 8, 2
SECTION = Section("architectures")
TITLES: dict[str, str] = {"torchscript": "TorchScript", "dynamo": "dynamo"}


# --- pictures -------------------------------------------------------------------------------------


def held_out_images(work: Path) -> list[Path]:
    """X-rays that calibration does not see."""
    if (data := data_folder()) is not None:
        return list(collect([data / "images" / "test"]).files)
    return calibration_images(work)[CALIBRATION:]


def as_input(files: Sequence[Path], shape: tuple[int, ...], last: bool) -> Iterator[F32]:
    """X-rays as inputs of `shape` without the batch, `(C, H, W)`, `(C, D, H, W)` or with the
    channels last: grey, normalised to mean 0 and deviation 1; of a volume, every slice is one x-ray
    of several, blended from one to the next.
    """
    spatial = shape[:-1] if last else shape[1:]
    channels = shape[-1] if last else shape[0]
    for number in range(len(files)):
        planes = [
            _grey(files[(number + offset) % len(files)], (spatial[-2], spatial[-1]))
            for offset in range(2 if len(spatial) == 3 else 1)
        ]
        grey: F64 | F32 = planes[0]
        if len(spatial) == 3:
            blend = np.linspace(0, 1, spatial[0])[:, None, None]
            grey = planes[0] * (1 - blend) + planes[-1] * blend
        values = np.stack([grey] * channels, axis=-1 if last else 0)
        yield values.astype(np.float32)


def _grey(file: Path, size: tuple[int, int]) -> F32:
    with Image.open(file) as picture:
        small = picture.convert("L").resize((size[1], size[0]), Image.Resampling.BILINEAR)
    values = np.asarray(small, np.float32)
    normalised = (values - values.mean()) / max(float(values.std()), 1.0)
    return np.asarray(normalised, np.float32)


# --- one file -------------------------------------------------------------------------------------


def measure(path: Path) -> Row:
    """The row of one file, in this process."""
    started = time.perf_counter()
    if path.stem.endswith(APART) and _other(path).exists():
        return _only_imported(path)
    row: Row = {"file": path.name, "plan": {"activation_bits": 14, "weight_bits": 14}}
    try:
        model = onnx.load(str(path))
        shape = _input_shape(model)
        last = len(shape) == 3 and shape[-1] in (1, 3) and shape[0] not in (1, 3)
        with tempfile.TemporaryDirectory() as work:
            calibration = as_input(calibration_images(Path(work)), shape, last)
            unseen = list(islice(as_input(held_out_images(Path(work)), shape, last), HELD_OUT))
            compiled = compile_model(
                path, list(islice(calibration, CALIBRATION)), CompileOptions(PLAN)
            )
    except MoietyError as error:
        return row | {"accepted": False, "why": str(error).splitlines()[0]}
    row |= {"accepted": True, "compile_s": round(time.perf_counter() - started, 1)}
    executor = CleartextExecutor(compiled.program, compiled.weights)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    errors, spans = [], []
    for image in unseen:
        expected = session.run(None, {given.name: image[None]})
        found = list(executor.run(image).values())
        for one, other in zip(found, expected, strict=True):
            errors.append(float(np.abs(one - other[0]).max()))
            spans.append(float(np.abs(other).max()))
    predicted = prediction(compiled.program, "lan", "auto", None)
    whole = predicted.whole
    return row | {
        "relative_error": max(errors) / max(spans),
        "overflows": sum(executor.overflows.values()),
        "bytes": whole.up + whole.down,
        "flights": len(whole.flights),
        "predicted_s": round(predicted.time.total, 1),
        "steps": len(compiled.program.steps),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _other(path: Path) -> Path:
    return path.with_name(path.name.replace(APART, OTHER))


def _only_imported(path: Path) -> Row:
    try:
        legalise(normal_form(path, CompileOptions()))
    except MoietyError as error:
        return {"file": path.name, "accepted": False, "why": str(error).splitlines()[0]}
    return {"file": path.name, "accepted": True}


def _input_shape(model: onnx.ModelProto) -> tuple[int, ...]:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise BadInput(f"it has {len(inputs)} inputs")
    return tuple(dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim)[1:]


def measure_apart(path: Path, limit: float) -> Row:
    """The row of one file, from a process of its own that may take `limit` seconds."""
    command = [sys.executable, "-m", "benchmarks.public_networks", "--one", str(path)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {"file": path.name, "accepted": None, "why": f"not finished in {limit:.0f} s"}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"file": path.name, "accepted": None, "why": f"exit code {done.returncode}: {last}"}
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


# --- the table ------------------------------------------------------------------------------------


def table(rows: dict[str, Row]) -> Iterator[str]:
    """Markdown: one line per architecture, both exporters' verdicts in it."""
    yield "| network | library | exporters | error | overflows | MB | flights | seconds |"
    yield "|---|---|---|--:|--:|--:|--:|--:|"
    refused = []
    for wheel in WHEELS:
        row = rows.get(Path(wheel.member).name)
        if row is not None:
            yield _line(wheel.name, f"{wheel.package} {wheel.version}", "as shipped", row)
    for architecture in ARCHITECTURES:
        found: dict[Exporter, Row] = {
            exporter: rows[architecture.file(exporter)]
            for exporter in ("torchscript", "dynamo")
            if architecture.file(exporter) in rows
        }
        good = {exporter: row for exporter, row in found.items() if row["accepted"]}
        measured = [row for row in good.values() if "relative_error" in row]
        if measured:
            row = measured[0]
            names = ", ".join(TITLES[exporter] for exporter in good)
            yield _line(architecture.name, architecture.library, names, row)
        for exporter, row in found.items():
            if not row["accepted"]:
                refused.append((architecture, exporter, row["why"]))
    yield ""
    yield "| refused | library | exporter | why |"
    yield "|---|---|---|---|"
    for architecture, exporter, why in refused:
        words = why.replace("|", "\\|")
        yield f"| {architecture.name} | {architecture.library} | {TITLES[exporter]} | {words} |"


def _line(name: str, library: str, exporters: str, row: Row) -> str:
    return (
        f"| {name} | {library} | {exporters} | {row['relative_error']:.2%} | {row['overflows']} "
        f"| {row['bytes'] / 1e6:.0f} | {row['flights']} | {row['predicted_s']:.1f} |"
    )


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("public_networks", __doc__, "--only")
    p.add_argument("folder", type=Path, nargs="?", help="ONNX files")
    p.add_argument("--rows", type=Path, help="rows of JSON, read and appended to")
    p.add_argument("--limit", type=float, default=900, help="seconds for one file (default 900)")
    p.add_argument("--write", type=Path, help="the document whose table the rows become")
    p.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    return p


def read_rows(path: Path | None) -> dict[str, Row]:
    """Rows by file; the last one of a file counts."""
    if path is None or not path.exists():
        return {}
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {row["file"]: row for row in rows}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    if options.one is not None:
        print(json.dumps(measure(options.one)))
        return
    rows = read_rows(options.rows)
    for path in sorted(options.folder.glob("*.onnx")) if options.folder else ():
        wanted = not options.only or any(word in path.name for word in options.only)
        if path.name in rows or not wanted:
            continue
        row = environment() | measure_apart(path, options.limit)
        rows[path.name] = row
        print(json.dumps({k: v for k, v in row.items() if k not in environment()}), flush=True)
        if options.rows is not None:
            with options.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    if options.write is not None:
        text = options.write.read_text(encoding="utf-8")
        options.write.write_text(SECTION.replaced(text, table(rows)), encoding="utf-8")


if __name__ == "__main__":
    command_line.run(main)
