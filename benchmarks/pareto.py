"""Bytes against error: the planner's front for one model, and where plans of uniform widths lie.

    python -m benchmarks.pareto --points 8 --plot pareto.png
    python -m benchmarks.pareto --model model.onnx --ranges model.ranges.safetensors --rounding exact

Each point is a whole plan, searched for a bound on the root mean square error of the results. Its
error is the predicted one (compiler/planning/error); bytes are those declared for one image, with
every correlation from SoftSpoken, with silent ones for 4-bit choices, and with silent ones
throughout. Nothing is run: `benchmarks.accuracy_vs_bits` measures what accuracy an error leaves.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.harness import Row
from moiety.compiler.lowering.lower import lower
from moiety.compiler.onnx_import import import_onnx
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.passes.manager import optimise
from moiety.compiler.planning.error import predicted_error
from moiety.compiler.planning.options import USUAL_ERROR, PlanOptions
from moiety.compiler.planning.plan import Plan, make_plan
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.search import searched_plan
from moiety.models import demo_model_path, demo_ranges_path
from moiety.protocols.cost import Mixed
from moiety.protocols.errors import MoietyError
from moiety.protocols.setup import NEVER_SILENT
from moiety.runtime.cost import traffic as costing
from moiety.runtime.party.generators import ALWAYS_SILENT

FAST_NETWORK = 4
UNIFORM = ((12, 12), (11, 12), (10, 11), (10, 10), (9, 10), (8, 8))
"""Activation and weight bits of the plans to compare with."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.pareto",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--model", type=Path, metavar="MODEL.onnx", help="default: the shipped one")
    p.add_argument(
        "--ranges",
        type=Path,
        metavar="FILE",
        help="calibrated ranges (default: the shipped model's)",
    )
    p.add_argument("--points", type=harness.positive, default=8, metavar="N", help="default 8")
    p.add_argument(
        "--least", type=float, default=USUAL_ERROR / 4, metavar="X", help="smallest relative error"
    )
    p.add_argument(
        "--most", type=float, default=USUAL_ERROR * 16, metavar="X", help="largest relative error"
    )
    p.add_argument(
        "--rounding",
        choices=("exact", "stochastic"),
        default="stochastic",
        help="default: stochastic",
    )
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
    harness.one_thread()
    model = options.model or demo_model_path()
    graph = legalise(optimise(import_onnx(model)))
    ranges = Ranges.load(options.ranges or demo_ranges_path())
    rows: list[Row] = []

    def record(name: str, plan: Plan, seconds: float) -> None:
        program, _ = lower(plan)
        cost = costing.image_cost(program)
        softspoken, mixed, silent = (
            cost.on(Mixed(start)) for start in (NEVER_SILENT, FAST_NETWORK, ALWAYS_SILENT)
        )
        row = {
            "benchmark": "pareto",
            "model": model.name,
            "rounding": options.rounding,
            "plan": name,
            "predicted_error": predicted_error(plan),
            "bytes_total_softspoken": softspoken.total,
            "bytes_total": mixed.total,
            "bytes_total_silent": silent.total,
            "rounds": mixed.rounds,
            "planning_seconds": seconds,
        }
        rows.append(row)
        harness.say(
            f"{name:24} error {row['predicted_error']:.4f}   MB: SoftSpoken {softspoken.total / 1e6:7.1f}, "
            f"mixed {mixed.total / 1e6:7.1f}, silent {silent.total / 1e6:7.1f}   {seconds:.0f} s"
        )

    for relative in np.geomspace(options.least, options.most, options.points):
        started = time.perf_counter()
        plan = searched_plan(
            graph, ranges, PlanOptions(rounding=options.rounding, relative_error=float(relative))
        )
        record(f"searched {relative:.2g}", plan, time.perf_counter() - started)
    for activation_bits, weight_bits in UNIFORM:
        started = time.perf_counter()
        widths = PlanOptions(
            rounding=options.rounding, activation_bits=activation_bits, weight_bits=weight_bits
        )
        plan = make_plan(graph, ranges, widths)
        record(
            f"uniform {activation_bits}, weights {weight_bits}", plan, time.perf_counter() - started
        )
    if options.plot:
        plot(rows, options.plot)
    harness.write_rows(rows, options.json)
    return rows


def plot(rows: Sequence[Row], path: Path) -> None:
    """Megabytes over predicted error; a line for the searched plans,
    points for the uniform ones.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.5), constrained_layout=True)
    for name, title in (("bytes_total_softspoken", "SoftSpoken"), ("bytes_total_silent", "silent")):
        points = {
            style: [
                (row["predicted_error"], row[name] / 1e6)
                for row in rows
                if row["plan"].startswith(kind)
            ]
            for style, kind in (("-o", "searched"), ("x", "uniform"))
        }
        for style, found in points.items():
            if found:
                axis.plot(
                    *zip(*sorted(found), strict=True),
                    style,
                    label=f"{title}, {'searched' if '-' in style else 'uniform'}",
                )
    axis.set_xscale("log")
    axis.set_xlabel("predicted error of the results (root mean square)")
    axis.set_ylabel("megabytes per image")
    axis.grid(True, alpha=0.3)
    axis.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    try:
        main()
    except MoietyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
