"""Hand what a stranger could to the code that reads it, for a while, following its coverage:

    python -m tests.fuzz                                # every target, a minute each
    python -m tests.fuzz program onnx --seconds 600     # two of them, longer
    python -m tests.fuzz --list

An input may be taken, or refused by an error of protocols/errors in plain words, in 5 seconds of a
processor and 1 GiB of memory. Everything else is a finding: its input, and what is wrong, are
written to `--out`. To fix one, keep the input under tests/fuzz/corpus/TARGET: the ordinary suite
tries those that are kept (tests/fuzz/test_corpus), without atheris.

Exit code 0 only where there is no finding, 3 without atheris (`pip install 'moiety[trust]'`); the
last line says what was done.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.target import WITHOUT_THREADS
from tests.fuzz.targets import TARGETS
from tests.support.children import Children, end, run_command

MISSING = 3
GRACE = 240
"""Seconds beyond the time asked for after which a target's process is ended: it hangs."""


@dataclass(frozen=True)
class Outcome:
    """What became of one target."""

    name: str
    executions: int
    edges: int
    findings: tuple[Path, ...]
    seconds: float
    fault: str

    @property
    def sound(self) -> bool:
        return not self.findings and not self.fault and self.executions > 0

    def row(self) -> str:
        words = f"{len(self.findings)} findings" + (f"; {self.fault}" if self.fault else "")
        return (
            f"{self.name:10} {self.executions:9} executions {self.edges:6} edges "
            f"{self.seconds:5.0f} s  {words}"
        )


def fuzzed(name: str, folder: Path, seconds: int, children: Children) -> Outcome:
    """One target, in a process of its own."""
    command = [sys.executable, "-m", "tests.fuzz.driver", name, str(folder), str(seconds)]
    folder.mkdir(parents=True, exist_ok=True)
    log, begun = folder / "log.txt", time.monotonic()
    # The engine ends its process without a goodbye, so what that keeps for its time is put here.
    with log.open("wb") as file, tempfile.TemporaryDirectory(dir=folder) as scratch:
        process = children.begin(
            command,
            file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **WITHOUT_THREADS, "TMPDIR": scratch},
        )
        try:
            code: int | None = process.wait(seconds + GRACE)
        except subprocess.TimeoutExpired:
            end(process, grace=0)
            code = None
    told = log.read_text(encoding="utf-8", errors="replace")
    executions = re.findall(r"stat::number_of_executed_units:\s*(\d+)", told)
    edges = re.findall(r"cov: (\d+)", told)
    found = sorted(p for p in (folder / "findings").glob("*") if p.suffix != ".txt")
    if code is None:
        fault = f"it went on {GRACE} s beyond its time: {log}"
    else:
        fault = "" if code == 0 else f"its process ended with {code}: {log}"
    return Outcome(
        name,
        int(executions[-1]) if executions else 0,
        int(edges[-1]) if edges else 0,
        tuple(found),
        time.monotonic() - begun,
        fault,
    )


@contextmanager
def place(out: Path | None, outcomes: Sequence[Outcome]) -> Iterator[Path]:
    """Where findings, corpora and logs go: `out`, else a temporary folder, which stays where there
    is something to look at.
    """
    if out is not None:
        yield out
        return
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        yield folder
    finally:
        if all(outcome.sound for outcome in outcomes) and not [*folder.glob("*/findings/*")]:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"kept: {folder}", file=sys.stderr)


def chosen(names: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    return list(names or TARGETS)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=str(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", nargs="*", help="which; all of them where none is named")
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--out",
        type=Path,
        help="where findings, corpora and logs go; else a temporary folder, which is named where "
        "there are findings, and removed where there are none",
    )
    parser.add_argument("--list", action="store_true", help="name the targets, and end")
    options = parser.parse_args()
    names = chosen(options.target, parser)
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        parser.error(f"--out {options.out}: is no folder")
    if options.seconds < 1 or options.processes < 1:
        parser.error("--seconds, --processes: at least one")
    if options.list:
        print("\n".join(names))
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("nothing was tried: atheris is not installed; pip install 'moiety[trust]'")
        return MISSING
    outcomes: list[Outcome] = []
    with (
        place(options.out, outcomes) as out,
        ThreadPoolExecutor(options.processes) as pool,
        Children(grace=0) as children,
    ):
        for outcome in pool.map(
            lambda name: fuzzed(name, out / name, options.seconds, children), names
        ):
            print(outcome.row(), flush=True)
            for path in outcome.findings:
                print(f"    {path}: {_told(path)}", flush=True)
            outcomes.append(outcome)
    findings = sum(len(outcome.findings) for outcome in outcomes)
    sound = sum(outcome.sound for outcome in outcomes)
    executions = sum(outcome.executions for outcome in outcomes)
    print(
        f"{sound} of {len(outcomes)} targets without a finding, {findings} findings in "
        f"{executions} executions"
    )
    return 0 if sound == len(outcomes) else 1


def _told(path: Path) -> str:
    """The first words about a finding."""
    said = path.with_suffix(".txt")
    if not said.exists():
        return "the process ended by it"
    lines = said.read_text(encoding="utf-8").strip().splitlines()
    return f"{lines[0]}: {lines[-1][:200]}"


if __name__ == "__main__":
    run_command(main)
