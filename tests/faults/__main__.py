"""Sessions over a line that fails on purpose, half of them with TLS and keys, half without; then
many small inferences by several clients at once, of whom some are killed:

    python -m tests.faults                                # what `make trust` runs
    python -m tests.faults --sessions 500 --soak 2000     # in full
    python -m tests.faults --soak 2000 --clients 8 --sessions 0

Each session has one fault, drawn by hypothesis from `--seed`, at a byte of either direction. Its
client must end in time, with the exact results or with one clear error of its exit code; the
server must serve the next one, and keep no handle, no process and no memory of it. Without TLS,
bytes that are changed after the set-up make results noise (docs/security.md); those are counted
as such, and nothing else is.

Exit code 0 only if all of that holds; 3 where nothing was wrong, and too few sessions came through
to tell. The last line says what was done.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.faults.fault import KINDS
from tests.faults.parties import Clocks
from tests.faults.parts import Part, faulty, soaked
from tests.faults.sessions import BAD, GOOD
from tests.trust.run import CANNOT

SESSIONS = 300
IMAGES = 1000
CLIENTS = 8


def show(part: Part) -> None:
    """A row for each kind of fault; then, in full, all that should not be."""
    print(f"{part.words}, in {part.seconds:.0f} s; {part.health()}")
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for outcome in part.outcomes:
        kinds[outcome.fault.kind][outcome.verdict] += 1
    for kind in filter(kinds.__contains__, KINDS):
        row = ", ".join(f"{kinds[kind][v]} {v}" for v in (*GOOD, *BAD) if kinds[kind][v])
        print(f"    {kind:10} {row}")
    for line in part.bad:
        print(f"  {line}")
    if part.too_few:
        print(f"  {part.too_few}")
    sys.stdout.flush()


def summary(parts: Sequence[Part], soak: bool) -> str:
    counts = sum((part.counts for part in parts), Counter[str]())
    words = []
    if total := counts.total():
        told = f"{counts['right']} right, {counts['refused']} refused"
        if counts["noise"]:
            told += f", {counts['noise']} noise (plain lines, bytes changed after the set-up)"
        words.append(f"{total} sessions: {told}, " + ", ".join(f"{counts[v]} {v}" for v in BAD))
    if soak:
        words.append(f"soak {sum(part.right for part in parts)} right")
    words += [part.health() for part in parts]
    if bad := sum(len(part.bad) for part in parts):
        words.append(f"{bad} things that should not be")
    words += [part.too_few for part in parts if part.too_few]
    return "; ".join(words)


def exit_code(parts: Sequence[Part]) -> int:
    if any(part.bad for part in parts):
        return 1
    return CANNOT if any(part.too_few for part in parts) else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=str(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="with a fault each")
    parser.add_argument("--soak", type=int, default=IMAGES, metavar="IMAGES")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="at once, of the soak")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--slower", type=float, default=1.0, help="so many times the time for everything"
    )
    options = parser.parse_args()
    if options.sessions < 0 or options.soak < 0:
        parser.error("--sessions, --soak: 0 or more")
    if options.clients < 1 or options.processes < 1 or options.slower <= 0:
        parser.error("--clients, --processes: at least one; --slower: more than 0")
    if not options.sessions and not options.soak:
        parser.error("nothing to do: --sessions 0 and --soak 0")
    clocks = Clocks().slower(options.slower)
    with tempfile.TemporaryDirectory(prefix="faults-") as made:
        folder = Path(made)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
            half = options.sessions // 2
            halves = ((True, options.sessions - half), (False, half))
            futures = [
                pool.submit(faulty, folder / str(tls), tls, count, options.seed, clocks)
                for tls, count in halves
                if count
            ]
            parts = [future.result() for future in futures]
            if options.soak:
                task = pool.submit(
                    soaked, folder / "soak", options.soak, options.clients, options.seed, clocks
                )
                parts.append(task.result())
        for part in parts:
            show(part)
    print(summary(parts, bool(options.soak)))
    return exit_code(parts)


if __name__ == "__main__":
    sys.exit(main())
