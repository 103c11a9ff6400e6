"""Full-size networks through import, passes, planning and the cleartext executor,
against onnxruntime.

    python -m benchmarks.architectures MODEL.onnx... [--images N] [--calibration N] [--seed S]
        [--json FILE] [--activation-bits N] [--weight-bits N] [--margin-bits N]

Models of any architecture with one image input, for example from `python -m moiety.models.export
--architecture resnet50 --labels 14`. Images are random and smooth. For each file: the largest
difference of an output from onnxruntime's, absolute and relative to the largest output, the
overflows, and the declared cost of one image; one JSON object per file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from benchmarks.support import command_line
from benchmarks.support.harness import Row
from moiety.compiler.compile import CompileOptions, compile_model
from moiety.compiler.planning.options import PlanOptions
from moiety.protocols.arrays import F32
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.program.cleartext import CleartextExecutor


def smooth_images(shape: tuple[int, ...], count: int, seed: int) -> F32:
    """Random normalised images, float32 `(count, *shape)`: noise of 1/16 of the size, interpolated,
    and a little fine noise.
    """
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    coarse = rng.normal(size=(count, channels, height // 16 + 2, width // 16 + 2))
    rows, columns = np.arange(height) / 16, np.arange(width) / 16
    for axis, position in ((2, rows), (3, columns)):
        low = position.astype(int)
        weight = (position - low).reshape((-1, 1) if axis == 2 else (1, -1))
        coarse = np.take(coarse, low, axis) * (1 - weight) + np.take(coarse, low + 1, axis) * weight
    images: F32 = (coarse + rng.normal(scale=0.1, size=coarse.shape)).astype(np.float32)
    return images


def measure(path: Path, images: int, calibration: int, seed: int, plan: PlanOptions) -> Row:
    """One file's row."""
    model = onnx.load(str(path))
    shape = tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)[1:]
    started = time.perf_counter()
    seen = smooth_images(shape, calibration, seed)
    compiled = compile_model(path, seen, CompileOptions(plan))
    compile_s = time.perf_counter() - started
    executor = CleartextExecutor(compiled.program, compiled.weights, np.random.default_rng(seed))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    errors, sizes, seconds = [], [], []
    for image in smooth_images(shape, images, seed + 1):
        (expected, *_) = session.run(None, {model.graph.input[0].name: image[None]})
        started = time.perf_counter()
        (found, *_) = executor.run(image).values()
        seconds.append(time.perf_counter() - started)
        errors.append(float(np.abs(found - expected[0]).max()))
        sizes.append(float(np.abs(expected).max()))
    cost = image_cost(compiled.program)
    return {
        "model": path.name,
        "plan": {name: getattr(plan, name) for name in command_line.WIDTHS},
        "steps": len(compiled.program.steps),
        "compile_s": round(compile_s, 2),
        "cleartext_s": round(float(np.median(seconds)), 2),
        "max_error": max(errors),
        "max_relative_error": max(error / size for error, size in zip(errors, sizes, strict=True)),
        "overflows": sum(executor.overflows.values()),
        "bytes_client_to_server": cost.up,
        "bytes_server_to_client": cost.down,
    }


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("architectures", __doc__, "--seed")
    p.add_argument("models", type=Path, nargs="+", help="ONNX files")
    p.add_argument("--images", type=int, default=2, help="test images (default 2)")
    p.add_argument("--calibration", type=int, default=8, help="calibration images (default 8)")
    p.add_argument("--json", type=Path, help="append one JSON object per model to this file")
    command_line.add_widths(p)
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    plan = PlanOptions(**command_line.widths(options))
    for path in options.models:
        row = json.dumps(measure(path, options.images, options.calibration, options.seed, plan))
        print(row, flush=True)
        if options.json is not None:
            with options.json.open("a", encoding="utf-8") as file:
                file.write(row + "\n")


if __name__ == "__main__":
    command_line.run(main)
