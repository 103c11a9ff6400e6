"""Accuracy against bit widths: the cleartext executor over a labelled test split,
for activation and weight bits.

    python -m benchmarks.accuracy_vs_bits --images 200 --csv accuracy.csv --plot accuracy.png
    python -m benchmarks.accuracy_vs_bits --activation-bits 14 --weight-bits 10 --images 0        the whole split

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
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import harness
from benchmarks.corpus import Corpus, read_corpus
from benchmarks.harness import Row
from benchmarks.statistics import delong, paired_change
from moiety.compiler.building import Pictures, described
from moiety.compiler.compile import Compiled, CompileOptions, calibration_ranges, compile_graph
from moiety.compiler.ir.graph import Graph
from moiety.compiler.onnx_import import import_onnx
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.passes.manager import optimise
from moiety.compiler.planning.options import USUAL_ERROR, PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.simulate import FloatModel
from moiety.protocols.cost import Mixed
from moiety.protocols.errors import BadInput, BadPlan, MoietyError
from moiety.protocols.setup import NEVER_SILENT
from moiety.runtime import program as ir
from moiety.runtime.cost import traffic as costing
from moiety.runtime.intake import pictures as images
from moiety.runtime.party.generators import ALWAYS_SILENT
from moiety.runtime.program import folder as artifacts
from moiety.runtime.program.cleartext import Executor

DEFAULT_MODEL = harness.ROOT / "models" / "chest-densenet121.onnx"
F64 = npt.NDArray[np.float64]
FAST_NETWORK = 4
"""Choices of at least so many bits take silent correlations between machines
on a fast network (`--ot auto`).
"""

CHUNK = 8
"""Images per unit of work."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy_vs_bits",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--model",
        type=Path,
        default=DEFAULT_MODEL,
        metavar="MODEL.onnx",
        help="default: the shipped one",
    )
    p.add_argument(
        "--data", type=Path, metavar="DIR", help="folder with labels.csv (default: MOIETY_DATA)"
    )
    p.add_argument("--split", default="test", help="default: test")
    p.add_argument(
        "--images",
        type=int,
        default=200,
        metavar="N",
        help="evenly spaced, 0 for all (default 200)",
    )
    p.add_argument(
        "--calibration",
        type=harness.positive,
        default=64,
        metavar="N",
        help="training images (default 64)",
    )
    p.add_argument(
        "--activation-bits", type=int, nargs="+", default=[8, 9, 10, 11, 12, 14], metavar="N"
    )
    p.add_argument("--weight-bits", type=int, nargs="+", default=[8, 10, 11, 12, 14], metavar="N")
    p.add_argument("--margin-bits", type=int, metavar="N", help="default: the planner's")
    p.add_argument(
        "--searched", action="store_true", help="also the planner's own choice, marked in the plot"
    )
    p.add_argument(
        "--rounding",
        choices=("exact", "stochastic"),
        default="stochastic",
        help="default: stochastic",
    )
    p.add_argument(
        "--seed",
        type=int,
        default=1,
        help="of simulated roundings and of the bootstrap (default 1)",
    )
    p.add_argument(
        "--bootstrap",
        type=harness.positive,
        default=1000,
        metavar="N",
        help="resamples (default 1000)",
    )
    p.add_argument("--processes", type=harness.positive, default=2, metavar="N", help="default 2")
    p.add_argument("--csv", type=Path, metavar="FILE", help="one line per plan and label")
    p.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="one object per plan (default: one per line to stdout)",
    )
    p.add_argument("--plot", type=Path, metavar="FILE.png", help="figure (needs matplotlib)")
    return p


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    folder = options.data or harness.data_folder()
    if folder is None:
        raise BadInput(
            "no labelled images: give --data DIR, or set MOIETY_DATA to a folder with labels.csv"
        )
    harness.one_thread()
    graph, preprocessing, labels = imported(options.model)
    corpus = read_corpus(folder, options.split, labels, options.images or None)
    training = read_corpus(folder, "train", labels, options.calibration)
    shape = graph.shapes[graph.inputs[0]][1:]
    calibration = [images.load(file, shape, preprocessing) for file in training.files]
    ranges = calibration_ranges(graph, calibration, responses=options.searched)
    harness.say(f"{len(corpus.files)} images, calibrated on {len(training.files)}")
    rows: list[Row] = []
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
                compiled = planned(
                    graph, ranges, plan_options(options, widths), place, preprocessing, labels
                )
            except BadPlan as error:
                harness.say(f"{widths or 'searched'}: no plan ({error})")
                continue
            program, searched = compiled.program, not widths
            widths = widths or mean_widths(compiled)
            if reference is None:
                reference = float_logits(options.model, program, corpus)
            started = time.perf_counter()
            logits, overflows = swept(pool, place, corpus, options.seed)
            row = {
                "benchmark": "accuracy_vs_bits",
                **harness.environment(),
                "model": options.model.name,
            }
            row |= {
                "split": options.split,
                "seed": options.seed,
                "rounding": options.rounding,
                "searched": searched,
            }
            row |= widths
            row |= judged(program, corpus, logits, reference, overflows, options)
            row["seconds_per_image"] = (
                options.processes * (time.perf_counter() - started) / len(corpus.files)
            )
            rows.append(row)
            harness.say(summary(row))
    if options.csv:
        write_csv(rows, options.csv)
    if options.plot:
        plot(rows, options.plot)
    if options.json or not options.csv:
        harness.write_rows(rows, options.json)
    return rows


def imported(model: Path) -> tuple[Graph, ir.Preprocessing | None, tuple[str, ...]]:
    """The legalised Graph, how pictures become its input, and the names of its outputs."""
    graph = legalise(optimise(import_onnx(model)))
    shape = graph.shapes[graph.inputs[0]][1:]
    public = described(model, shape, Pictures([]), CompileOptions())
    if not public.labels:
        raise BadInput(
            f"{model} does not name its outputs (metadata moiety.labels), so they cannot be compared with labels"
        )
    return graph, public.preprocessing, public.labels


def sweep(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Widths of every plan; none where they are searched for."""
    for activation_bits, weight_bits in itertools.product(
        options.activation_bits, options.weight_bits
    ):
        yield {"activation_bits": activation_bits, "weight_bits": weight_bits}
    if options.searched:
        yield {}


def mean_widths(compiled: Compiled) -> dict[str, float]:
    """Of a plan that was searched for: means over its tensors, without
    the margin, and over its layers.
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


def planned(
    graph: Graph,
    ranges: Ranges,
    options: PlanOptions,
    place: Path,
    preprocessing: ir.Preprocessing | None,
    labels: tuple[str, ...],
) -> Compiled:
    """Compile into `place`, where the worker processes find it."""
    public = CompileOptions(options, preprocessing=preprocessing, labels=labels)
    return compile_graph(graph, ranges, public, place)


def float_logits(model: Path, program: ir.Program, corpus: Corpus) -> F64:
    """The float model's outputs, `(images, labels)`."""
    reference = FloatModel(model, program)
    (index,) = program.outputs
    shape = program.input.shape
    return np.stack(
        [reference(images.load(file, shape, program.preprocessing))[index] for file in corpus.files]
    )


# --- work of the processes ------------------------------------------------------------------------


def swept(pool: ProcessPoolExecutor, place: Path, corpus: Corpus, seed: int) -> tuple[F64, int]:
    """Logits of all images, `(images, labels)`, and the number of values that overflowed."""
    chunks = [corpus.files[start : start + CHUNK] for start in range(0, len(corpus.files), CHUNK)]
    seeds = [[seed, number] for number in range(len(chunks))]
    parts = list(pool.map(run_chunk, itertools.repeat(place), chunks, seeds))
    return np.concatenate([logits for logits, _ in parts]), sum(overflows for _, overflows in parts)


@lru_cache(maxsize=1)
def loaded(place: Path) -> tuple[ir.Program, Any]:
    return artifacts.load_vendor(place)


def run_chunk(place: Path, files: Sequence[Path], seed: Sequence[int]) -> tuple[F64, int]:
    """Some images through the executor. The seed belongs to the chunk: results
    do not depend on the processes.
    """
    program, weights = loaded(place)
    rng = np.random.default_rng(list(seed)) if program.rounding == "stochastic" else None
    executor = Executor(program, weights, rng)
    ((index, step),) = program.outputs.items()
    tensors = (images.load(file, program.input.shape, program.preprocessing) for file in files)
    logits = np.stack(
        [executor.run_integers(tensor)[index].ravel() * step.scale for tensor in tensors]
    )
    return logits, sum(executor.overflows.values())


# --- figures --------------------------------------------------------------------------------------


def judged(
    program: ir.Program,
    corpus: Corpus,
    logits: F64,
    reference: F64,
    overflows: int,
    options: argparse.Namespace,
) -> Row:
    """AUROC by label, logit error, overflows, declared cost."""
    error = np.abs(logits - reference)
    softspoken, mixed, silent = (
        costing.image_cost(program).on(Mixed(start))
        for start in (NEVER_SILENT, FAST_NETWORK, ALWAYS_SILENT)
    )
    by_label: dict[str, Row] = {}
    for column, label in enumerate(corpus.labels):
        known = np.isfinite(corpus.truth[:, column])
        truth = corpus.truth[known, column] > 0.5
        fixed, floats = logits[known, column], reference[known, column]
        found = delong(fixed, truth)
        rng = np.random.default_rng([options.seed, column])
        change = paired_change(fixed, floats, truth, corpus.groups[known], options.bootstrap, rng)
        by_label[label] = {
            "n": int(known.sum()),
            "positives": int(truth.sum()),
            "auroc": found.value,
            "auroc_low": found.low,
            "auroc_high": found.high,
            "auroc_float": found.value - change.value,
            "change": change.value,
            "change_low": change.low,
            "change_high": change.high,
        }
    changes = [abs(entry["change"]) for entry in by_label.values() if np.isfinite(entry["change"])]
    return {
        "images": len(corpus.files),
        "margin_bits": plan_options(options, {}).margin_bits,
        "program": program.digest(),
        "largest_change": max(changes, default=float("nan")),
        "logit_error_max": float(error.max()),
        "logit_error_mean": float(error.mean()),
        "overflows": overflows,
        "bytes_client_to_server": mixed.up,
        "bytes_server_to_client": mixed.down,
        "bytes_total": mixed.total,
        "bytes_total_softspoken": softspoken.total,
        "bytes_total_silent": silent.total,
        "rounds": mixed.rounds,
        "labels": by_label,
    }


def summary(row: Row) -> str:
    return (
        f"activations {row['activation_bits']:2}, weights {row['weight_bits']:2}: largest AUROC change "
        f"{row['largest_change']:.4f}, logit error {row['logit_error_max']:.3f} (mean {row['logit_error_mean']:.4f}), "
        f"{row['overflows']} overflows, {row['bytes_total'] / 1e9:.2f} GB"
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


def plot(rows: Sequence[Row], path: Path) -> None:
    """Three panels over activation bits, one line per weight bits:
    AUROC change, logit error, bytes.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = (
        ("largest_change", "largest AUROC change of any label", True, 1.0),
        ("logit_error_max", "largest logit error", True, 1.0),
        ("bytes_total", "gigabytes per image", False, 1e-9),
    )
    figure, axes = pyplot.subplots(1, len(panels), figsize=(13, 4), constrained_layout=True)
    for axis, (name, title, logarithmic, factor) in zip(axes, panels, strict=True):
        uniform = [row for row in rows if not row["searched"]]
        for weight_bits in sorted({row["weight_bits"] for row in uniform}):
            chosen = sorted(
                (row["activation_bits"], row[name] * factor)
                for row in uniform
                if row["weight_bits"] == weight_bits
            )
            axis.plot(*zip(*chosen, strict=True), marker="o", label=f"{weight_bits}-bit weights")
        for row in rows:
            if row["searched"]:
                axis.plot(
                    row["activation_bits"],
                    row[name] * factor,
                    "k*",
                    markersize=14,
                    label="the planner's choice",
                )
        axis.set_xlabel("activation bits")
        axis.set_title(title)
        axis.grid(True, alpha=0.3)
        if logarithmic:
            axis.set_yscale("log")
    axes[0].legend()
    if rows:
        figure.suptitle(
            f"{rows[0]['model']}, {rows[0]['images']} images, {rows[0]['rounding']} rounding"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    try:
        main()
    except MoietyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
