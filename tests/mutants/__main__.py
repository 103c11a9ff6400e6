"""Break the code on purpose, one break at a time, in a copy of the tree, and see that the named
tests notice:

    python -m tests.mutants                  # all, as many at once as there are processors
    python -m tests.mutants linear transfers # two areas
    python -m tests.mutants --name half_the_noise --show
    python -m tests.mutants --file F --old TEXT --new TEXT tests/protocols/test_linear.py::test_x

The last form tries a break that is in no list. Exit code 0 only if all tests pass on the whole code
and every mutant is caught; the last line says how many were.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import catalogue
from tests.mutants.mutant import Mutant
from tests.mutants.native import build
from tests.mutants.tree import Tree
from tests.support.children import run_command

FAILED = 1
"""pytest's exit code where tests ran and some failed; others mean that nothing was tried."""


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant."""

    area: str
    mutant: Mutant
    caught_by: str | None
    seconds: float
    printed: str

    def line(self) -> str:
        """For the terminal."""
        return (
            f"{'caught  ' if self.caught_by else 'SURVIVED'} {self.seconds:5.1f} s "
            f"{self.area}/{self.mutant.name}: {self.caught_by or self.mutant.breaks}"
        )

    def row(self) -> dict[str, str | float | None]:
        """For --json."""
        return {
            "area": self.area,
            "name": self.mutant.name,
            "breaks": self.mutant.breaks,
            "file": self.mutant.file,
            "caught_by": self.caught_by,
            "seconds": round(self.seconds, 1),
        }


def caught_by(code: int, printed: str, tests: Sequence[str]) -> str | None:
    """The test that failed; None where all passed, or none could be run."""
    if code == -1:
        return f"{tests[0]} (hung)"
    failed = [
        line.split()[1] for line in printed.splitlines() if line.startswith(("FAILED ", "ERROR "))
    ]
    return failed[0] if code == FAILED and failed else None


def tried(area: str, mutant: Mutant, tree: Tree) -> Outcome:
    """Break `tree`, run the mutant's tests, and make it whole again."""
    begun = time.monotonic()
    tree.write(mutant)
    try:
        if mutant.native:
            build(tree)
        code, printed = tree.run(mutant.tests)
    finally:
        tree.restore(mutant)
    caught = caught_by(code, printed, mutant.tests)
    return Outcome(area, mutant, caught, time.monotonic() - begun, printed)


def outcomes(
    chosen: Sequence[tuple[str, Mutant]], processes: int
) -> Generator[Outcome, None, None]:
    """Every mutant's, as they come; those of compiled kernels in a tree of their own."""
    python = [one for one in chosen if not one[1].native]
    native = [one for one in chosen if one[1].native]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(processes))
        trees: queue.SimpleQueue[Tree] = queue.SimpleQueue()  # closed before the pool waits
        for index in range(processes):
            trees.put(stack.enter_context(contextlib.closing(Tree(Path(folder) / str(index)))))

        def run(one: tuple[str, Mutant]) -> Outcome:
            tree = trees.get()
            try:
                return tried(*one, tree)
            finally:
                trees.put(tree)

        yield from pool.map(run, python)
        if native:
            tree = trees.get()
            build(tree)
            for one in native:
                yield tried(*one, tree)


def whole(chosen: Sequence[tuple[str, Mutant]], processes: int) -> str:
    """What fails on code that is not broken; empty where all tests pass."""
    tests = sorted({test for _, mutant in chosen for test in mutant.tests})
    parts = [tests[index::processes] for index in range(processes) if tests[index::processes]]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-")))
        pool = stack.enter_context(ThreadPoolExecutor(len(parts)))
        trees = [
            stack.enter_context(contextlib.closing(Tree(folder / str(index))))
            for index in range(len(parts))
        ]
        for code, printed in pool.map(lambda tree, part: tree.run(part), trees, parts):
            if code:
                return printed
    return ""


def writable(text: str) -> Path:
    """A file of the command line that can be written: known before the work is done."""
    path = Path(text)
    missing = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be written: {error.strerror}") from None
    if missing:
        path.unlink()
    return path


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description=str(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", help="areas; with --file, tests")
    parser.add_argument("--name", action="append", help="only these mutants")
    parser.add_argument("--file", help="try a break of this file")
    parser.add_argument("--old")
    parser.add_argument("--new")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", action="store_true", help="print what pytest printed")
    parser.add_argument("--json", type=writable, help="write a row a mutant to this file")
    options = parser.parse_args()
    own = (options.file, options.old, options.new)
    if any(each is not None for each in own) and (not options.old or None in own):
        parser.error("--file, --old and --new belong together")
    if options.processes < 1:
        parser.error("--processes: at least one")
    if options.file:
        one = Mutant("tried", "", options.file, options.old, options.new, tuple(options.what))
        chosen = [("tried", one)]
    else:
        areas = catalogue()
        if unknown := set(options.what) - set(areas):
            parser.error(f"no area {', '.join(sorted(unknown))}; there are {', '.join(areas)}")
        chosen = [
            (area, mutant)
            for area in options.what or areas
            for mutant in areas[area]
            if not options.name or mutant.name in options.name
        ]
    if not chosen:
        parser.error("no such mutant")
    faults = [f"{mutant.name}: {fault}" for _, mutant in chosen for fault in mutant.faults()]
    if faults:
        print("\n".join(faults))
        return 2
    if failed := whole(chosen, options.processes):
        print(failed, "tests fail on the whole code", sep="\n")
        return 2
    rows = []
    with contextlib.closing(outcomes(chosen, options.processes)) as found:
        for outcome in found:
            print(outcome.line(), flush=True)
            if options.show:
                print(outcome.printed)
            rows.append(outcome.row())
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    caught = sum(row["caught_by"] is not None for row in rows)
    print(f"{caught} of {len(rows)} mutants caught")
    return 0 if caught == len(rows) else 1


if __name__ == "__main__":
    run_command(main)
