"""This commit against another one: the same image, the same benchmark, in turns.

    python -m benchmarks.paired --other ../before/.venv-test/bin/python --keep plans/
    python -m benchmarks.paired --other "env PYTHONPATH=/packages/before python" --links lan wan
    python -m benchmarks.paired --other ../before/.venv-test/bin/python --batch 16 --links lan wan

`--other` is the command that starts a Python in which the other commit is installed. Both sides run
this checkout's `benchmarks.networks` (or the other its own, with `--other-folder`): each compiles
the model with its own default plan, once, and every run is verified before its figures are kept.
Runs alternate, this commit and the other, so that what else the machine does falls on both. The
table has the medians, and their quotients; the rows are those of `benchmarks.networks`, with `side`
and the commit.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import get_args

from benchmarks.support import command_line, harness
from benchmarks.support.command_line import positive
from benchmarks.support.harness import ROOT, Row
from moiety.protocols.errors import BadInput
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.runtime.party.generator_choice import Ot
from moiety.runtime.program import Rounding

SIDES = ("other", "this")


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("paired", __doc__, "--model", "--runs", "--seed", "--json", "--no-pin")
    p.add_argument(
        "--other",
        required=True,
        metavar="COMMAND",
        help="starts a Python in which the other commit is installed",
    )
    p.add_argument(
        "--other-folder",
        type=Path,
        default=ROOT,
        metavar="DIR",
        help="a checkout whose benchmarks the other side runs (default: this one)",
    )
    p.add_argument(
        "--roundings",
        nargs="+",
        choices=get_args(Rounding),
        default=["exact", "stochastic"],
        help="default: both",
    )
    p.add_argument(
        "--links",
        nargs="+",
        default=["loopback"],
        metavar="fast|lan|wan|loopback|RTT,BANDWIDTH",
        help="default: loopback",
    )
    p.add_argument(
        "--image", type=Path, metavar="FILE", help="default: a real x-ray, else a drawn one"
    )
    p.add_argument(
        "--ot", choices=get_args(Ot), default="auto", help="generator (default auto, as measured)"
    )
    p.add_argument(
        "--batch",
        type=positive,
        default=1,
        metavar="B",
        help="images per run; figures but flights and memory are per image (default 1)",
    )
    p.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="compiled folders, DIR/SIDE-ROUNDING: made there, or taken from there",
    )
    return p


@dataclass(frozen=True)
class Side:
    """One of the two commits: its name, the command of its Python, and the folder that its
    benchmarks are run from.
    """

    name: str
    python: Sequence[str]
    folder: Path

    def run(self, *arguments: str) -> str:
        """Its standard output. BadInput where it fails, with the end of what it said."""
        done = subprocess.run(
            [*self.python, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BadInput(
                f"the {self.name} side ended with exit code {done.returncode}:\n"
                f"{done.stderr[-2000:]}"
            )
        return done.stdout

    def package(self) -> Path:
        """Where its package lies."""
        found = self.run("-c", "import moiety.protocols as p; print(list(p.__path__)[0])")
        return Path(found.strip()).resolve()


def sides(options: argparse.Namespace) -> list[Side]:
    return [
        Side("other", shlex.split(options.other), options.other_folder.resolve()),
        Side("this", [sys.executable], ROOT),
    ]


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    both = sides(options)
    packages = {side.name: side.package() for side in both}
    if len(set(packages.values())) < len(packages):
        raise BadInput(f"both sides are the package in {packages['this']}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="moiety-paired-") as scratch:
        work = Path(scratch)
        for rounding in options.roundings:
            for turn in range(options.runs):
                for side in both:
                    harness.say(f"{rounding}, run {turn + 1} of {options.runs}: {side.name}")
                    commit = harness.commit_of(packages[side.name])
                    found = measured(side, rounding, options, work)
                    rows += [
                        {**row, "side": side.name, "commit": commit, "turn": turn} for row in found
                    ]
    for line in table(rows):
        harness.say(line)
    harness.write_rows(rows, options.json)
    return rows


def measured(side: Side, rounding: str, options: argparse.Namespace, work: Path) -> list[Row]:
    """One verified and timed run over each link, as rows of `benchmarks.networks`."""
    compiled = (options.keep or work).resolve() / f"{side.name}-{rounding}"
    out = work / "rows.json"
    given = ["--rounding", rounding, "--runs", "1", "--links", *options.links, "--ot", options.ot]
    given += ["--compiled", str(compiled), "--model", str(options.model.resolve())]
    given += ["--seed", str(options.seed), "--json", str(out)]
    if options.batch > 1:
        given += ["--batch", str(options.batch)]
    if options.image is not None:
        given += ["--image", str(options.image.resolve())]
    if options.no_pin:
        given += ["--no-pin"]
    side.run("-m", "benchmarks.networks", *given)
    found: list[Row] = json.loads(out.read_text())
    return found


# --- the table ------------------------------------------------------------------------------------

Figure = Callable[[Row], float]

COLUMNS: dict[str, tuple[Figure, str]] = {
    "total, s": (lambda row: row["total_s"], ".2f"),
    "server CPU, s": (lambda row: row["server_cpu_s"], ".2f"),
    "client CPU, s": (lambda row: row["client_cpu_s"], ".2f"),
    "up, MB": (lambda row: row["bytes_client_to_server"] / 1e6, ".1f"),
    "down, MB": (lambda row: row["bytes_server_to_client"] / 1e6, ".1f"),
    "flights": (lambda row: row["rounds"], ".0f"),
    "server memory, GB": (lambda row: row["peak_rss_server"] / 1e9, ".2f"),
    "client memory, GB": (lambda row: row["peak_rss_client"] / 1e9, ".2f"),
}
"""By title, how a row gives the figure, and how it is written."""


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Medians by rounding, link and side, and this commit over the other, in Markdown."""
    yield f"| rounding | link | side | generator | {' | '.join(COLUMNS)} |"
    yield "|---|---|---|---|" + "--:|" * len(COLUMNS)
    for rounding, link in dict.fromkeys((row["rounding"], link_of(row)) for row in rows):
        medians: dict[str, list[float]] = {}
        for side in SIDES:
            chosen = [
                row
                for row in rows
                if (row["rounding"], link_of(row), row["side"]) == (rounding, link, side)
            ]
            values = [median(map(figure, chosen)) for figure, _ in COLUMNS.values()]
            medians[side] = values
            cells = [format(v, form) for v, (_, form) in zip(values, COLUMNS.values(), strict=True)]
            named = f"{side}, {chosen[0]['commit'] or 'no commit'}"
            yield f"| {rounding} | {link} | {named} | {generator(chosen)} | {' | '.join(cells)} |"
        quotients = [
            f"{new / old:.2f}x" if old else ""
            for old, new in zip(medians["other"], medians["this"], strict=True)
        ]
        yield f"| | | this / other | | {' | '.join(quotients)} |"


def link_of(row: Row) -> str:
    link = row["link"]
    return str(link if isinstance(link, str) else link["name"])


def generator(rows: Sequence[Row]) -> str:
    """Which correlations were silent, in all runs."""
    return ", ".join(
        "softspoken" if bits == NEVER_SILENT else f"silent from {bits} bits"
        for bits in sorted({row["silent_from"] for row in rows})
    )


if __name__ == "__main__":
    command_line.run(main)
