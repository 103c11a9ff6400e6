"""How well compiled models do on a labelled split: AUROC of every label, and its change against the
float model.

    python -m benchmarks.accuracy compiled/
    python -m benchmarks.accuracy compiled/ --images 100 --split val --json rows.json

Each folder is what `moiety compile` wrote, the very Program that is served. By default all images
of the split run through the cleartext executor, which with exact rounding is the secure run bit for
bit and with stochastic rounding in distribution (`benchmarks.inference` and `benchmarks.sites` hold
that): 0.3 s of processor time per image of DenseNet-121. Per label: AUROC and its change, with
intervals by bootstrap over patients. What widths do is in
`benchmarks.accuracy_vs_bits`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.support import command_line, harness, judgement
from benchmarks.support.corpus import read_corpus
from benchmarks.support.harness import Row
from moiety.compiler.sweep import execution
from moiety.compiler.sweep.table import interval, number
from moiety.protocols.errors import BadInput
from moiety.runtime.program.artifacts import load_program


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("accuracy", __doc__, "--model", "--seed", "--json")
    p.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="compiled folders")
    judgement.add_options(p, images=0)
    return p


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    harness.one_thread()
    rows = [measured(folder, options) for folder in options.folders]
    for row in rows:
        harness.say("\n".join(table(row)))
    harness.write_rows(rows, options.json)
    return rows


def measured(folder: Path, options: argparse.Namespace) -> Row:
    """One compiled model. Raises `BadInput` where its output has no labels, or without data."""
    program = load_program(folder)
    (output,) = program.results()
    if not output.labels:
        raise BadInput(f"{folder} does not name its outputs, so they cannot be compared")
    data = judgement.labelled_folder(options)
    corpus = read_corpus(data, options.split, output.labels, options.images or None)
    with execution.processes(options.processes) as pool:
        judged = judgement.measured(pool, folder, options.model, corpus, options)
    return {
        "benchmark": "accuracy",
        **harness.environment(),
        "model": options.model.name,
        "program": program.digest(),
        "rounding": program.rounding,
        "split": options.split,
        "seed": options.seed,
        "images": len(corpus.files),
        **judged,
    }


def table(row: Row) -> Iterator[str]:
    """In Markdown. A label with one class alone has no AUROC."""
    yield f"{row['rounding']}, {row['images']} images of {row['split']}: {summary(row)}"
    yield "| label | positives | AUROC | float | change | 95 % interval of the change |"
    yield "|---|--:|--:|--:|--:|---|"
    for label, entry in row["labels"].items():
        counts = f"{entry['positives']} of {entry['images']}"
        if entry["auroc"] is None:
            yield f"| {label} | {counts} | one class | | | |"
            continue
        yield (
            f"| {label} | {counts} | {entry['auroc']:.4f} | {entry['auroc_float']:.4f} | "
            f"{entry['change']:+.4f} | {interval(entry['change_low'], entry['change_high'])} |"
        )


def summary(row: Row) -> str:
    return (
        f"largest AUROC change {number(row['largest_change'])}; error of a logit at most "
        f"{number(row['error_max'])}, mean {number(row['error_mean'])}, root mean square "
        f"{number(row['error_rms'])}; {row['overflows']} overflows"
    )


if __name__ == "__main__":
    command_line.run(main)
