"""Run every check of what this project claims about itself, and write one table of them:

    python -m tests.trust                    # all parts (make trust)
    python -m tests.trust mutants wheel      # some
    python -m tests.trust --list

The table goes to the terminal, to out/trust/trust.md and to out/trust/trust.json; what a part
printed is in out/trust/PART.log. Exit code 0 if all parts passed; 1 if one failed; 3 if none failed
and one was not run, since a check that was not made is not one that passed. A signal ends the part
that runs, and the table says of what was not finished that it was stopped; exit code 130 or 143.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from moiety.runtime.cli import ui
from moiety.runtime.party.signals import Stopped
from tests.support.children import run_command
from tests.trust.parts import PARTS, Part
from tests.trust.run import FAILED, NOT_RUN, STOPPED, Outcome, run
from tests.trust.table import as_json, as_markdown, as_table

LIMIT = 30 * 60
"""Seconds of all parts together: what is left when it is over fails for want of time."""


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Of the whole: the worst of its parts."""
    results = {outcome.result for outcome in outcomes}
    if FAILED in results or not outcomes:
        return 1
    return 3 if NOT_RUN in results else 0


def run_all(
    parts: Sequence[Part], folder: Path, console: Console, limit: float
) -> tuple[list[Outcome], Stopped | None]:
    """In order; `limit` seconds in all. Where a signal stops it, that, and what became of each part
    all the same.
    """
    outcomes: list[Outcome] = []
    try:
        for part in parts:
            console.print(f"[bold]{part.name}[/bold]: {part.claim}", highlight=False)
            left = limit - sum(outcome.seconds for outcome in outcomes)
            outcomes.append(run(part, folder, left))
            last = outcomes[-1]
            console.print(f"  {last.result} in {last.seconds:.0f} s: {last.summary}", markup=False)
    except Stopped as stopped:
        left_over = parts[len(outcomes) :]
        outcomes += [Outcome(part, STOPPED, 0.0, str(stopped)) for part in left_over]
        return outcomes, stopped
    return outcomes, None


def main(parts: Sequence[Part] = PARTS) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.trust",
        description=str(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="*", help="all, if none is named")
    parser.add_argument("--list", action="store_true", help="the parts and what they claim")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/trust"))
    options = parser.parse_args()
    if options.list:
        for part in parts:
            print(f"{part.name}: {part.claim}")
        return 0
    if unknown := set(options.part) - {part.name for part in parts}:
        parser.error(f"no part {', '.join(sorted(unknown))}; see --list")
    chosen = [part for part in parts if not options.part or part.name in options.part]
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output {options.output}: cannot be made: {error.strerror}")
    console = ui.console()
    outcomes, stopped = run_all(chosen, options.output, console, LIMIT)
    (options.output / "trust.md").write_text(as_markdown(outcomes), encoding="utf-8")
    (options.output / "trust.json").write_text(as_json(outcomes), encoding="utf-8")
    console.print(as_table(outcomes))
    return stopped.exit_code if stopped else exit_code(outcomes)


if __name__ == "__main__":
    run_command(main)
