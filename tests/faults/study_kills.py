"""A study whose two parties are killed at random moments (SIGKILL) and started again: `moiety
evaluate`, `moiety serve`, or both, each alone or with all of its processes. The report that stands
at the end is, file by file, that of a study that nobody disturbed, but for its section on resources
(report.html), its `resources` (report.json) and the tables of these; the journal has each image
once:

    python -m tests.faults.study_kills                      # what `make trust` runs
    python -m tests.faults.study_kills --kills 50 --images 500

Exit code 0 only if all of that holds; the last line says what was done.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.study.journal import NAME
from tests.support.command import COMMAND, ENVIRONMENT
from tests.support.studies import LABELS, SmallStudy, small_study, write_csv

KILLS = 5
IMAGES = 60
SESSIONS = 2
MOMENT = 0.1
"""Seconds in which an image is run."""
PATIENCE = 120.0
VICTIMS = ("evaluate", "serve", "both")
ENDED = (0, 8)
"""How a study may end by itself: well, or by the network, where the server was gone too long."""
OF_RESOURCES = ("resources.csv", "kinds-of-step.csv")
SECTION = re.compile(rb'<section id="resources".*?</section>', re.DOTALL)

Process = subprocess.Popen[bytes]


@dataclass
class Killed:
    """One study. `kills`: of whom; `bad`: all that should not be."""

    folder: Path
    images: int
    rng: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.small = small_study(self.folder, self.images)
        self.reference = reference(self.small, self.folder / "reference.csv")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.journal = self.folder / "killed" / NAME

    # --- parties ----------------------------------------------------------------------------------

    def serve(self) -> Process:
        """When it listens; where the one before did."""
        begun = self._begun("serve", self.small.compiled, "--listen", self._at, "--sessions", 3)
        said = self.folder / "serve.log"
        before = said.read_bytes().count(b"listening at")
        limit = time.monotonic() + PATIENCE
        while said.read_bytes().count(b"listening at") == before and begun.poll() is None:
            assert time.monotonic() < limit, said.read_text()
            time.sleep(0.01)
        return begun

    def evaluate(self, name: str) -> Process:
        """Into the folder of that name."""
        where = ("-o", self.folder / name, "--connect", self._at, "--sessions", SESSIONS)
        of_report = ("--reference", self.reference, "--bootstrap", 200)
        return self._begun("evaluate", self.small.public, self.small.list, *where, *of_report)

    @property
    def _at(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _begun(self, command: str, *arguments: object) -> Process:
        """A process in a group of its own, all that it says in a file."""
        with (self.folder / f"{command}.log").open("ab") as log:
            return subprocess.Popen(
                [*COMMAND, command, *map(str, arguments), "--insecure"],
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
                start_new_session=True,
            )

    # --- what is done to them, and what becomes of it ---------------------------------------------

    def run(self, kills: int) -> None:
        """Killed so often, to its end, and undisturbed; then looks."""
        server, study = self.serve(), self.evaluate("killed")
        try:
            for left in range(kills, 0, -1):
                self._wait_for_images(study, left)
                if study.poll() == 0:
                    self.bad.append(f"the study was finished before {left} of the kills")
                    break
                victim = self.rng.choice(VICTIMS)
                if victim != "serve":
                    self._kill(study)
                if victim != "evaluate":
                    self._kill(server)
                    time.sleep(self.rng.choice((0.0, 2.0)) * self.rng.random())
                    server = self.serve()
                self.kills[victim] += 1
                study = self._again(study)
            while study.wait(PATIENCE):
                study = self._again(study)
            if code := self.evaluate("whole").wait(PATIENCE):
                self.bad.append(f"the undisturbed study ended with {code}")
        finally:
            for process in (study, server):
                with_all(process, signal.SIGKILL)
        self.bad += faults(self.folder, self.images)

    def _wait_for_images(self, study: Process, kills: int) -> None:
        """So few that all kills find some left; then a moment more."""
        before = self.finished()
        most = max(1, (self.images - before) // (kills + 1))
        target, limit = before + self.rng.randint(1, most), time.monotonic() + PATIENCE
        while self.finished() < target and study.poll() is None:
            if time.monotonic() > limit:
                self.bad.append(f"the study stood still at {self.finished()} images")
                break
            time.sleep(0.002)
        time.sleep(self.rng.random() * MOMENT)

    def _kill(self, process: Process) -> None:
        if self.rng.random() < 0.5:
            process.kill()
        else:
            with_all(process, signal.SIGKILL)
        process.wait(PATIENCE)

    def _again(self, study: Process) -> Process:
        """The same command, where it has ended; that by itself in a way that may be."""
        code = study.poll()
        if code is None or code == 0:
            return study
        if code not in (*ENDED, -signal.SIGKILL):
            said = (self.folder / "evaluate.log").read_text()[-2000:]
            raise RuntimeError(f"the study ended with {code}:\n{said}")
        return self.evaluate("killed")

    def finished(self) -> int:
        return len(keys(self.journal))


def keys(journal: Path) -> list[str]:
    """Of its images; half a line at its end is none."""
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    words = [json.loads(line.split(b" ", 1)[1]) for line in lines]
    return [word["key"] for word in words if "key" in word]


def faults(folder: Path, images: int) -> list[str]:
    """Of a study of so many images that was killed, beside the same that was not."""
    counts = Counter(keys(folder / "killed" / NAME))
    bad = [f"image {key} is in the journal {n} times" for key, n in counts.items() if n > 1]
    if len(counts) != images:
        bad.append(f"{len(counts)} images of {images} are in the journal")
    one, other = (report(folder / name) for name in ("killed", "whole"))
    if not one:
        bad.append("there is no report")
    differ = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    return bad + [f"{name} differs" for name in sorted(differ)]


def with_all(process: Process, number: signal.Signals) -> None:
    """All of its processes, too; nothing where all are gone."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def reference(small: SmallStudy, path: Path) -> Path:
    """Scores of every image, near those of the model."""
    executor, rng = CleartextExecutor(small.program, small.weights), np.random.default_rng(3)
    rows = []
    for file in small.files:
        (values,) = executor.run(np.load(file)).values()
        rows.append([f"images/{file.name}", *(values.ravel() + rng.normal(0, 1e-3, len(LABELS)))])
    return write_csv(path, ["file", *LABELS], rows)


def report(folder: Path) -> dict[str, bytes]:
    """Every file of it, by name, without what it says of resources."""
    found = {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in (NAME, *OF_RESOURCES)
    }
    if "report.json" in found:
        numbers = json.loads(found["report.json"])
        del numbers["analysis"]["resources"]
        found["report.json"] = json.dumps(numbers).encode()
        found["report.html"], cut = SECTION.subn(b"", found["report.html"])
        assert cut == 1, "the section on resources is not found"
    return found


def killed(folder: Path, kills: int, images: int, seed: int) -> Killed:
    """A study of so many images, killed so often."""
    made = Killed(folder, images, random.Random(seed))
    made.run(kills)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.study_kills",
        description=str(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.kills < 1 or options.images < 4 * options.kills:
        parser.error("--kills, --images: at least one, and four times as many images")
    with tempfile.TemporaryDirectory(prefix="study-kills-") as made:
        done = killed(Path(made), options.kills, options.images, options.seed)
    for line in done.bad:
        print(line)
    whom = ", ".join(f"{done.kills[victim]} of {victim}" for victim in VICTIMS)
    bad = f"{len(done.bad)} things that should not be" if done.bad else "the same report"
    print(f"{options.images} images, {done.kills.total()} kills ({whom}): {bad}")
    return 1 if done.bad else 0


if __name__ == "__main__":
    sys.exit(main())
