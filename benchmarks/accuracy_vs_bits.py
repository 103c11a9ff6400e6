"""Accuracy against bit widths: the cleartext executor over a labelled test split, for activation
and weight bits.

    python -m benchmarks.accuracy_vs_bits --images 200 --csv accuracy.csv --plot accuracy.png
    python -m benchmarks.accuracy_vs_bits --activation-bits 14 --weight-bits 10 --images 0

`--images 0` takes the whole split.

For each plan: AUROC of every label with DeLong's interval, its change against the float model on
the same images with a paired bootstrap interval over patients, the error of the logits, overflows,
and the bytes and flights that one image would take, from the declared costs. No cryptography runs:
with exact rounding the executor is equal to the secure run bit for bit, with stochastic rounding in
distribution (`benchmarks.inference` holds both).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support import command_line, harness, judgement
from benchmarks.support.command_line import positive
from benchmarks.support.corpus import Corpus, read_corpus
from benchmarks.support.figures import figure
from benchmarks.support.generators import declared_bytes
from benchmarks.support.harness import Row
from moiety.compiler.compile import Compiled, CompileOptions, calibration_ranges, compile_graph
from moiety.compiler.compile_files import Pictures, with_description
from moiety.compiler.ir.graph import Graph
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.passes.manager import optimise
from moiety.compiler.planning.options import USUAL_ERROR, PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadInput, BadPlan
from moiety.runtime.cost import traffic
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program import Preprocessing


def parser() -> argparse.ArgumentParser:
    shared = ("--model", "--rounding", "--seed", "--plot", "--json")
    p = command_line.parser("accuracy_vs_bits", __doc__, *shared)
    judgement.add_options(p, images=200)
    p.add_argument(
        "--activation-bits", type=int, nargs="+", default=[8, 9, 10, 11, 12, 14], metavar="N"
    )
    p.add_argument("--weight-bits", type=int, nargs="+", default=[8, 10, 11, 12, 14], metavar="N")
    p.add_argument("--margin-bits", type=int, metavar="N", help="default: the planner's")
    p.add_argument(
        "--searched", action="store_true", help="also the planner's own choice, marked in the plot"
    )
    p.add_argument(
        "--calibration",
        type=positive,
        default=64,
        metavar="N",
        help="training images (default 64)",
    )
    p.add_argument("--csv", type=Path, metavar="FILE", help="one line per plan and label")
    return p


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    harness.one_thread()
    rows = list(measured(make_study(options), options))
    if options.csv:
        write_csv(rows, options.csv)
    if options.plot:
        plot(rows, options.plot)
    if options.json or not options.csv:
        harness.write_rows(rows, options.json)
    return rows


@dataclass(frozen=True, eq=False)
class Study:
    """What all plans have in common: the legalised Graph, how pictures become its input, the names
    of its outputs, its ranges, and the images with their labels.
    """

    model: Path
    graph: Graph
    preprocessing: Preprocessing | None
    labels: tuple[str, ...]
    ranges: Ranges
    corpus: Corpus

    def compile(self, options: PlanOptions, place: Path) -> Compiled:
        """Into the folder `place`, where the worker processes find it. Raises `BadPlan`."""
        public = CompileOptions(options, preprocessing=self.preprocessing, labels=self.labels)
        return compile_graph(self.graph, self.ranges, public, place)


def make_study(options: argparse.Namespace) -> Study:
    """Import and calibrate. Raises `BadInput` without data, or for outputs without names."""
    folder = judgement.labelled_folder(options)
    graph = legalise(optimise(import_onnx(options.model)))
    shape = graph.shapes[graph.inputs[0]][1:]
    public = with_description(options.model, graph, Pictures([]), CompileOptions())
    preprocessing, labels = public.preprocessing, public.labels
    if not labels:
        raise BadInput(
            f"{options.model} does not name its outputs (metadata moiety.labels), so they cannot "
            "be compared with labels"
        )
    corpus = read_corpus(folder, options.split, labels, options.images or None)
    training = read_corpus(folder, "train", labels, options.calibration)
    calibration = [load(file, Reader(shape, preprocessing)).tensor for file in training.files]
    ranges = calibration_ranges(graph, calibration, responses=options.searched)
    harness.say(f"{len(corpus.files)} images, calibrated on {len(training.files)}")
    return Study(options.model, graph, preprocessing, labels, ranges, corpus)


def measured(study: Study, options: argparse.Namespace) -> Iterator[Row]:
    """A row per plan that there is."""
    reference: F64 | None = None
    with (
        tempfile.TemporaryDirectory(prefix="moiety-sweep-") as scratch,
        ProcessPoolExecutor(
            options.processes, multiprocessing.get_context("spawn"), harness.one_thread
        ) as pool,
    ):
        for number, widths in enumerate(sweep(options)):
            place = Path(scratch) / str(number)
            try:
                compiled = study.compile(plan_options(options, widths), place)
            except BadPlan as error:
                harness.say(f"{widths or 'searched'}: no plan ({error})")
                continue
            if reference is None:
                reference = judgement.float_logits(study.model, compiled.program, study.corpus)
            started = time.perf_counter()
            logits, overflows = judgement.swept(pool, place, study.corpus, options.seed)
            seconds = options.processes * (time.perf_counter() - started)
            row = {
                "benchmark": "accuracy_vs_bits",
                **harness.environment(),
                "model": study.model.name,
                "split": options.split,
                "seed": options.seed,
                "rounding": options.rounding,
                "searched": not widths,
                **(widths or mean_widths(compiled)),
                "images": len(study.corpus.files),
                "margin_bits": plan_options(options, {}).margin_bits,
                "program": compiled.program.digest(),
                **judgement.judged(study.corpus, logits, reference, options),
                "overflows": overflows,
                **declared_bytes(traffic.image_cost(compiled.program)),
                "seconds_per_image": seconds / len(study.corpus.files),
            }
            harness.say(summary(row))
            yield row


def sweep(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Widths of every plan; none where they are searched for."""
    for activation_bits, weight_bits in itertools.product(
        options.activation_bits, options.weight_bits
    ):
        yield {"activation_bits": activation_bits, "weight_bits": weight_bits}
    if options.searched:
        yield {}


def mean_widths(compiled: Compiled) -> dict[str, float]:
    """Of a plan that was searched for: means over its tensors, without the margin, and
    over its layers.
    """
    report = compiled.report
    margin = report.options["margin_bits"]
    return {
        "activation_bits": round(
            float(np.mean([row.compared_bits - margin for row in report.tensors])), 2
        ),
        "weight_bits": round(float(np.mean([row.weight_bits for row in report.layers])), 2),
    }


def plan_options(options: argparse.Namespace, widths: Mapping[str, Any]) -> PlanOptions:
    chosen: dict[str, Any] = {
        "rounding": options.rounding,
        **(widths or {"relative_error": USUAL_ERROR}),
    }
    if options.margin_bits is not None:
        chosen["margin_bits"] = options.margin_bits
    return PlanOptions(**chosen)


# --- figures --------------------------------------------------------------------------------------


def summary(row: Row) -> str:
    return (
        f"activations {row['activation_bits']:2}, weights {row['weight_bits']:2}: largest AUROC "
        f"change {row['largest_change']:.4f}, logit error {row['logit_error_max']:.3f} (mean "
        f"{row['logit_error_mean']:.4f}), {row['overflows']} overflows, "
        f"{row['bytes_total'] / 1e9:.2f} GB"
    )


def flat(rows: Sequence[Row]) -> Iterator[Row]:
    """One row per plan and label."""
    for row in rows:
        plain = {key: value for key, value in row.items() if not isinstance(value, dict)}
        for label, entry in row["labels"].items():
            yield {
                **plain,
                "cpu": row["machine"]["cpu"],
                "moiety": row["versions"]["moiety"],
                "label": label,
                **entry,
            }


def write_csv(rows: Sequence[Row], path: Path) -> None:
    lines = list(flat(rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]) if lines else [])
        writer.writeheader()
        writer.writerows(lines)


PANELS = (
    ("largest_change", "largest AUROC change of any label", "log", 1.0),
    ("logit_error_max", "largest logit error", "log", 1.0),
    ("bytes_total", "gigabytes per image", "linear", 1e-9),
)
"""Field, title, scale of the axis, unit."""


def plot(rows: Sequence[Row], path: Path) -> None:
    """Three panels over activation bits, one line per weight bits."""
    with figure(path, len(PANELS), figsize=(13, 4)) as (made, axes):
        for axis, (name, title, scale, unit) in zip(axes, PANELS, strict=True):
            plot_panel(axis, rows, name, unit)
            axis.set_xlabel("activation bits")
            axis.set_title(title)
            axis.grid(True, alpha=0.3)
            axis.set_yscale(scale)
        axes[0].legend()
        if rows:
            made.suptitle(
                f"{rows[0]['model']}, {rows[0]['images']} images, {rows[0]['rounding']} rounding"
            )


def plot_panel(axis: Any, rows: Sequence[Row], name: str, unit: float) -> None:
    """One field of all plans; the planner's choice as a star."""
    uniform = [row for row in rows if not row["searched"]]
    for weight_bits in sorted({row["weight_bits"] for row in uniform}):
        chosen = sorted(
            (row["activation_bits"], row[name] * unit)
            for row in uniform
            if row["weight_bits"] == weight_bits
        )
        axis.plot(*zip(*chosen, strict=True), marker="o", label=f"{weight_bits}-bit weights")
    for row in rows:
        if row["searched"]:
            star = {"markersize": 14, "label": "the planner's choice"}
            axis.plot(row["activation_bits"], row[name] * unit, "k*", **star)


if __name__ == "__main__":
    command_line.run(main)
