"""One target under atheris, until the time is over: the process that `python -m tests.fuzz` starts.

    python -m tests.fuzz.driver TARGET FOLDER SECONDS

FOLDER gets `corpus`, what the engine found worth keeping, and `findings`: an input and what is
wrong with it for every place where something is. It goes on after a finding in Python; what ends
the process (a crash of native code, a hang) the engine leaves in `findings`, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import random
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["moiety", "pydicom", "PIL"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.target import Target, judged

WALL = 60
"""Seconds that an input may take before the engine calls it a hang, other work of the machine
included; what it may take of a processor is target.SECONDS.
"""
RESIDENT = 4096
"""MiB of the process, after which the engine ends it; target.MEMORY is what one input may take."""


class Session:
    """What one run of the engine has found."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.findings = folder / "findings"
        self.seen: set[str] = set()

    def try_one(self, data: bytes) -> None:
        """Called by the engine for every input."""
        finding = judged(self.target, data)
        if finding is None or finding.place in self.seen:
            return
        self.seen.add(finding.place)
        path = self.findings / hashlib.sha256(data).hexdigest()[:16]
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(f"{finding.place}\n{finding.told}\n", encoding="utf-8")
        print(f"FINDING {self.target.name}: {finding.place}", file=sys.stderr, flush=True)

    def mutated(self, data: bytes, most: int, seed: int) -> bytes:
        """Half of the changes know the structure."""
        rng = random.Random(seed)
        if self.target.mutate is not None and rng.random() < 0.6:
            with contextlib.suppress(Exception):  # no input is too broken to be changed by bytes
                changed = self.target.mutate(data, rng)
                if len(changed) <= most:
                    return changed
        return bytes(atheris.Mutate(data, most))


def main() -> None:
    name, place, seconds = sys.argv[1:]
    target, folder = TARGETS[name], Path(place)
    corpus = folder / "corpus"
    for made in (corpus, folder / "findings"):
        made.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(target.seeds()):
        (corpus / f"seed-{index}").write_bytes(seed)
    for path in target.kept():
        (corpus / f"kept-{path.name}").write_bytes(path.read_bytes())
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.stdout = io.StringIO()
    session = Session(target, folder)
    options = [
        sys.argv[0],
        str(corpus),
        f"-max_total_time={seconds}",
        f"-max_len={target.longest}",
        f"-timeout={WALL}",
        f"-rss_limit_mb={RESIDENT}",
        f"-artifact_prefix={folder / 'findings'}/",
        "-print_final_stats=1",
        "-reload=0",
        "-verbosity=1",
    ]
    atheris.Setup(options, session.try_one, custom_mutator=session.mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
