"""What tools say about the compiled kernels:

    python -m tests.native                  # everything, in four minutes of two processors
    python -m tests.native constant-time    # secrets as undefined memory: valgrind's memcheck
    python -m tests.native wide             # the same beyond AVX2: clang's MemorySanitizer
    python -m tests.native timing           # dudect
    python -m tests.native sanitizers       # twin tests and wrong arguments: ASan, UBSan
    python -m tests.native fuzz --seconds 60     # libFuzzer, and wrong calls

Exit code 0 if all holds, 1 if something does not, 3 if a tool is missing: then its part has not run
and has not passed. The last line is the summary.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.native import constant_time, fuzz, sanitizers, timing
from tests.native.builds import Failed, Missing, Passed

PARTS: dict[str, Callable[[Path, int], Passed]] = {
    "constant-time": lambda folder, _: constant_time.narrow(folder),
    "wide": lambda folder, _: constant_time.wide(folder),
    "timing": lambda folder, _: timing.run(folder),
    "sanitizers": lambda folder, _: sanitizers.run(folder),
    "fuzz": fuzz.run,
}
SIDE_BY_SIDE = (("constant-time", "wide", "timing"), ("sanitizers",))
"""Each on one processor; fuzzing then takes both."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.native",
        description=str(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=int, default=20, help="of fuzzing, on two processors")
    parser.add_argument("--folder", type=Path, help="where to build; kept, and built on next time")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="native-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return report(options.parts or list(PARTS), folder, options.seconds)


def report(parts: Sequence[str], folder: Path, seconds: int) -> int:
    """Run these parts, print what each says, and the summary."""
    ends: dict[str, list[str]] = {"passed": [], "failed": [], "not run": []}

    def lane(own: Sequence[str]) -> None:
        for part in own:
            if part in parts:
                end, words = outcome(part, folder, seconds)
                ends[end].append(part)
                print(words, flush=True)

    with ThreadPoolExecutor(len(SIDE_BY_SIDE)) as pool:
        list(pool.map(lane, SIDE_BY_SIDE))
    lane(("fuzz",))
    print("; ".join(f"{end}: {', '.join(those)}" for end, those in ends.items() if those))
    return 1 if ends["failed"] else 3 if ends["not run"] else 0


def outcome(part: str, folder: Path, seconds: int) -> tuple[str, str]:
    """How a part ended, and what it says."""
    try:
        passed = PARTS[part](folder, seconds)
    except Missing as missing:
        return "not run", f"{part} not run: {missing}"
    except Failed as failed:
        return "failed", f"{part} FAILED: {failed}"
    return "passed", "\n  ".join((f"{part}: {passed.summary}", *passed.seen))


if __name__ == "__main__":
    sys.exit(main())
