"""Fuzzing under ASan and UBSan: libFuzzer over bit streams and residues (`cpp/fuzz_*.cpp`), and
calls of all kernels with several wrong arguments at once.

    python -m tests.native.fuzz SECONDS SEED      calls alone, with the kernels in use
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from moiety.protocols import kernels
from tests.mutants.tree import Tree
from tests.native import sanitizers
from tests.native.builds import FUZZED, Failed, Passed, built
from tests.protocols.kernel_calls import Cases
from tests.protocols.wrong_calls import Call, variants

CORPUS = Path(__file__).with_name("corpus")


def run(folder: Path, seconds: int) -> Passed:
    """So many seconds of two processors. Raises Missing or Failed."""
    programs = built(FUZZED, folder)
    tree = sanitizers.instrumented(folder)
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(fuzz_calls, tree, seconds)
        streams, residues = (
            fuzz_inputs(programs, name, folder, seconds // 2) for name in ("streams", "residues")
        )
        made = calling.result()
    return Passed(
        f"{made} wrong calls, {streams} streams, {residues} arrays of residues: no report"
    )


def fuzz_inputs(programs: Path, name: str, folder: Path, seconds: int) -> int:
    """How many inputs were tried. New ones go to a copy of the corpus."""
    corpus = folder / f"corpus-{name}"
    shutil.copytree(CORPUS / name, corpus, dirs_exist_ok=True)
    options = [f"-max_total_time={max(1, seconds)}", "-max_len=9000", "-print_final_stats=1"]
    found = f"-artifact_prefix={folder}/{name}-"
    command = [str(programs / f"fuzz_{name}"), *options, found, str(corpus)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    tried = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    if done.returncode or not tried:
        raise Failed(f"{done.stderr[-4000:]}\nfuzz_{name} failed; --folder keeps its input")
    return int(tried[1])


def fuzz_calls(tree: Tree, seconds: int) -> int:
    """How many calls were tried."""
    seed = int.from_bytes(os.urandom(4), "little")
    command = [sys.executable, "-m", "tests.native.fuzz", str(seconds), str(seed)]
    code, printed = sanitizers.python(tree, command)
    if code:
        raise Failed(f"seed {seed}: {printed[-6000:]}")
    return int(printed.split()[-1])


def wrong_call(rng: random.Random, call: Call) -> Call:
    """One to three arguments changed, each in one of the ways of `wrong_calls`."""
    changed = dict(call)
    for name in rng.sample(list(call), min(len(call), rng.randint(1, 3))):
        ways = [other for _, other in variants(name, call[name])]
        changed[name] = rng.choice(ways) if ways else changed[name]
    return changed


def calls(seconds: float, seed: int) -> int:
    """Call kernels for so long; whatever is refused is refused by an error of Python."""
    rng, tried, end = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        shape = rng.choice((0, 1, 7, 64, 65, 130)), rng.randint(1, 4), rng.randint(1, 60)
        for name, call in Cases(*shape, rng.getrandbits(32)).all().items():
            for _ in range(20):
                with contextlib.suppress(TypeError, ValueError, MemoryError):
                    kernels.twin("native", name)(**wrong_call(rng, call))
                tried += 1
    return tried


if __name__ == "__main__":
    print(calls(float(sys.argv[1]), int(sys.argv[2])))
