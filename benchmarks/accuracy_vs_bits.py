"""Accuracy against bit widths: the cleartext executor over a labelled split, for many plans.

    python -m benchmarks.accuracy_vs_bits -o out/bits --rounding both --images 0 --processes 16
    python -m benchmarks.accuracy_vs_bits -o out/bits --plot-only --plot accuracy.svg
    python -m benchmarks.accuracy_vs_bits -o docs/data/accuracy-vs-bits --plot-only --write

The planner's choice first, then around it activation bits at its weight bits and weight bits at its
activation bits. For each plan: AUROC of every label and its change against the float model on the
same images, the error of the logits, each with a bootstrap interval by patient, overflows, and the
bytes and flights that one image would take with silent correlations. `--images 0` takes the whole
split. A plan that is done is kept in the folder: the same command goes on where it was stopped.

It is `moiety sweep` with the data folder's images and labels. No cryptography runs: with exact
rounding the executor is equal to the secure run bit for bit, with stochastic rounding in
distribution (`benchmarks.inference` holds both).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.support import command_line, harness, judgement
from benchmarks.support.corpus import read_corpus
from benchmarks.support.documents import Section, paragraph
from benchmarks.support.harness import ROOT
from moiety.compiler.compile import CompileOptions
from moiety.compiler.compile_files import Pictures
from moiety.compiler.sweep.files import LABELS, PLANS, journal_of, kept
from moiety.compiler.sweep.grid import ROUNDINGS, Grid
from moiety.compiler.sweep.rows import PlanRow, made, read_plans
from moiety.compiler.sweep.run import Sweep
from moiety.compiler.sweep.subject import Subject
from moiety.compiler.sweep.table import in_short, interval, number
from moiety.models import demo_ranges_path
from moiety.protocols.errors import BadInput
from moiety.runtime.cli.progress import watching

DOCUMENT = ROOT / "docs" / "accuracy.md"
DATA = ROOT / "docs" / "data" / "accuracy-vs-bits"
PICTURE = ROOT / "docs" / "pictures" / "accuracy-vs-bits.svg"
SECTION = Section("sweep")
FACTS = "run.json"
"""What the tables do not say: model, split, machine, versions."""


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("accuracy_vs_bits", __doc__, "--model", "--seed", "--plot")
    judgement.add_options(p, images=200)
    p.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="rows, tables")
    p.add_argument("--rounding", choices=(*ROUNDINGS, "both"), default="both")
    for option in ("--activation-bits", "--weight-bits"):
        p.add_argument(option, type=int, nargs="+", metavar="N", help="default: around the choice")
    p.add_argument("--margin-bits", type=int, metavar="N", help="default: the planner's")
    p.add_argument(
        "--calibration",
        type=Path,
        nargs="+",
        default=[demo_ranges_path()],
        metavar="FILE",
        help="images, or ranges saved before (default: the shipped model's ranges)",
    )
    p.add_argument("--plot-only", action="store_true", help="no plans: the folder's tables")
    p.add_argument("--write", action="store_true", help=f"also {DOCUMENT.name} with its data")
    return p


def main(arguments: Sequence[str] | None = None) -> list[PlanRow]:
    options = parser().parse_args(arguments)
    harness.one_thread()
    rows = read_plans(options.output / PLANS) if options.plot_only else measured(options)
    if options.plot:
        draw(rows, options.output, options.plot)
    if options.write:
        write(rows, options.output)
    return rows


def measured(options: argparse.Namespace) -> list[PlanRow]:
    """A row for every plan. Raises `BadInput` without data, or for outputs without names."""
    journal = journal_of(options.output)
    with watching("sweep") as watch:

        def progress(what: str, done: int, total: int) -> None:
            watch(done, total, what)

        pictures = Pictures(options.calibration)
        subject = Subject.of(options.model, pictures, CompileOptions(), options.output, progress)
        if not subject.labels:
            raise BadInput(
                f"{options.model} does not name its outputs (metadata moiety.labels), so they "
                "cannot be compared with labels"
            )
        folder = judgement.labelled_folder(options)
        corpus = read_corpus(folder, options.split, subject.labels, options.images or None)
        write_facts(options, len(corpus.files))
        sweep = Sweep(
            subject,
            corpus,
            subject.reader,
            grid_of(options),
            journal,
            options.processes,
            options.bootstrap,
            options.seed,
            progress,
        )
        return kept(sweep, options.output, lambda row: harness.say(in_short(row)))


def grid_of(options: argparse.Namespace) -> Grid:
    roundings = ROUNDINGS if options.rounding == "both" else (options.rounding,)
    return Grid(roundings, options.activation_bits, options.weight_bits, options.margin_bits)


def write_facts(options: argparse.Namespace, images: int) -> None:
    facts = {
        "model": options.model.name,
        "split": options.split,
        "images": images,
        "bootstrap": options.bootstrap,
        "seed": options.seed,
        "cpu": harness.machine()["cpu"],
        "processes": options.processes,
        "versions": harness.versions(),
    }
    (options.output / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


# --- figure and document --------------------------------------------------------------------------


def draw(rows: Sequence[PlanRow], folder: Path, file: Path) -> None:
    """Loaded here: only the figure needs matplotlib."""
    facts = read_facts(folder)
    title = f"{facts['model']}, {facts['images']} images"
    import_module("moiety.compiler.sweep.plot").plot(rows, file, title)


def read_facts(folder: Path) -> harness.Row:
    try:
        facts: harness.Row = json.loads((folder / FACTS).read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder / FACTS}: cannot be read ({error})") from None
    return facts


def write(rows: Sequence[PlanRow], folder: Path) -> None:
    """The document's section, its figure, and beside it the tables."""
    draw(rows, folder, PICTURE)
    if folder.resolve() != DATA.resolve():
        DATA.mkdir(parents=True, exist_ok=True)
        for name in (PLANS, LABELS, FACTS):
            shutil.copyfile(folder / name, DATA / name)
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(SECTION.replaced(text, section(rows, read_facts(folder))), "utf-8")


def section(rows: Sequence[PlanRow], facts: harness.Row) -> Iterator[str]:
    """Lines of Markdown: what ran, and a line per plan."""
    yield from paragraph(
        f"`{facts['model']}`, {facts['images']} images of the {facts['split']} split, "
        f"{facts['bootstrap']} resamples; Moiety {facts['versions']['moiety']} "
        f"({facts['versions']['commit']}), {facts['cpu']}. The planner's choices are bold."
    )
    yield (
        "| rounding | activation bits | weight bits | largest AUROC change | 95 % interval | of | "
        "logit error, rms | largest | overflows | MB | flights |"
    )
    yield "|---|--:|--:|--:|---|---|--:|--:|--:|--:|--:|"
    yield from (line(row) for row in made(rows))


def line(row: PlanRow) -> str:
    widths = f"{row.activation_bits:g} | {row.weight_bits:g}"
    if row.chosen:
        widths = f"**{row.activation_bits:g}** | **{row.weight_bits:g}**"
    return (
        f"| {row.rounding} | {widths} | {number(row.largest_change)} | "
        f"{interval(row.largest_change_low, row.largest_change_high)} | "
        f"{row.largest_label} | {number(row.error_rms)} | {number(row.error_max)} | "
        f"{row.overflows:,} | {row.bytes_total / 1e6:,.0f} | {row.flights} |"
    )


if __name__ == "__main__":
    command_line.run(main)
