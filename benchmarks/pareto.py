"""Bytes against error: the planner's front for one model, and where plans of uniform widths lie.

    python -m benchmarks.pareto --points 8 --plot pareto.png
    python -m benchmarks.pareto --model m.onnx --ranges m.ranges.safetensors

Each point is a whole plan, searched for a bound on the root mean square error of the results. Its
error is the predicted one (compiler/planning/error); bytes are those declared for one image, with
every correlation from SoftSpoken, with silent ones for 4-bit choices, and with silent ones
throughout. Nothing is run: `benchmarks.accuracy_vs_bits` measures what accuracy an error leaves.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.support import command_line, harness
from benchmarks.support.command_line import positive
from benchmarks.support.figures import figure
from benchmarks.support.generators import declared_bytes
from benchmarks.support.harness import Row
from moiety.compiler.ir.graph import Graph
from moiety.compiler.lowering.lower import lower
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.passes.manager import optimise
from moiety.compiler.planning.error import predicted_error
from moiety.compiler.planning.options import USUAL_ERROR, PlanOptions
from moiety.compiler.planning.plan import Plan, make_plan
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.search.searched_plan import searched_plan
from moiety.models import demo_ranges_path
from moiety.runtime.cost import traffic

UNIFORM = ((12, 12), (11, 12), (10, 11), (10, 10), (9, 10), (8, 8))
"""Activation and weight bits of the plans to compare with."""


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("pareto", __doc__, "--model", "--rounding", "--plot", "--json")
    p.add_argument(
        "--ranges",
        type=Path,
        default=demo_ranges_path(),
        metavar="FILE",
        help="calibrated ranges (default: the shipped model's)",
    )
    p.add_argument("--points", type=positive, default=8, metavar="N", help="default 8")
    p.add_argument(
        "--least", type=float, default=USUAL_ERROR / 4, metavar="X", help="smallest relative error"
    )
    p.add_argument(
        "--most", type=float, default=USUAL_ERROR * 16, metavar="X", help="largest relative error"
    )
    return p


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    harness.one_thread()
    graph = legalise(optimise(import_onnx(options.model)))
    rows = []
    started = time.perf_counter()
    for name, plan in plans(graph, Ranges.load(options.ranges), options):
        seconds = time.perf_counter() - started
        row = {
            "benchmark": "pareto",
            "model": options.model.name,
            "rounding": options.rounding,
            "plan": name,
            "predicted_error": predicted_error(plan),
            **declared_bytes(traffic.image_cost(lower(plan)[0])),
            "planning_seconds": seconds,
        }
        rows.append(row)
        harness.say(line(row))
        started = time.perf_counter()
    if options.plot:
        plot(rows, options.plot)
    harness.write_rows(rows, options.json)
    return rows


def plans(graph: Graph, ranges: Ranges, options: argparse.Namespace) -> Iterator[tuple[str, Plan]]:
    """Name and plan: searched for, then of uniform widths; made as they are asked for."""
    for relative in np.geomspace(options.least, options.most, options.points):
        wanted = PlanOptions(rounding=options.rounding, relative_error=float(relative))
        yield f"searched {relative:.2g}", searched_plan(graph, ranges, wanted)
    for activation_bits, weight_bits in UNIFORM:
        wanted = PlanOptions(
            rounding=options.rounding, activation_bits=activation_bits, weight_bits=weight_bits
        )
        name = f"uniform {activation_bits}, weights {weight_bits}"
        yield name, make_plan(graph, ranges, wanted)


def line(row: Row) -> str:
    """One plan, as it is done."""
    softspoken, mixed, silent = (
        row[f"bytes_total{which}"] / 1e6 for which in ("_softspoken", "", "_silent")
    )
    return (
        f"{row['plan']:24} error {row['predicted_error']:.4f}   MB: SoftSpoken {softspoken:7.1f}, "
        f"mixed {mixed:7.1f}, silent {silent:7.1f}   {row['planning_seconds']:.0f} s"
    )


def plot(rows: Sequence[Row], path: Path) -> None:
    """Megabytes over predicted error: searched plans as a line, uniform ones as points."""
    generators = (("bytes_total_softspoken", "SoftSpoken"), ("bytes_total_silent", "silent"))
    with figure(path, figsize=(7, 4.5)) as (_, axis):
        for (name, title), (kind, style) in itertools.product(
            generators, (("searched", "-o"), ("uniform", "x"))
        ):
            points = sorted(
                (row["predicted_error"], row[name] / 1e6)
                for row in rows
                if row["plan"].startswith(kind)
            )
            if points:
                axis.plot(*zip(*points, strict=True), style, label=f"{title}, {kind}")
        axis.set_xscale("log")
        axis.set_xlabel("predicted error of the results (root mean square)")
        axis.set_ylabel("megabytes per image")
        axis.grid(True, alpha=0.3)
        axis.legend()


if __name__ == "__main__":
    command_line.run(main)
