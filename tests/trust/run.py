"""Run one part, and say what became of it."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from moiety.runtime.party.signals import held
from tests.support.children import end
from tests.trust.parts import ROOT, Part

PASSED, FAILED, NOT_RUN, STOPPED = "passed", "FAILED", "not run", "stopped"
CANNOT = 3
"""Exit code of a part that could not be tried."""


@dataclass(frozen=True)
class Outcome:
    """summary: the last line that the part printed, or why it was not run or failed."""

    part: Part
    result: str
    seconds: float
    summary: str


def run(part: Part, folder: Path, left: float) -> Outcome:
    """Its command, from the checkout's root, with `left` seconds at most beside its own limit; what
    it prints goes to a file in `folder`.
    """
    if missing := part.missing():
        return Outcome(part, NOT_RUN, 0.0, missing)
    seconds = min(part.seconds, left)
    if seconds <= 0:
        return Outcome(part, FAILED, 0.0, "no time was left for it")
    begun = time.monotonic()
    log = folder / f"{part.name.replace(' ', '-')}.log"
    with log.open("wb") as file, tempfile.TemporaryFile() as out:
        try:
            code = finished(part, out.fileno(), file.fileno(), seconds)
        finally:
            out.seek(0)
            printed = out.read()
            file.write(printed)
    return judged(part, code, printed.decode(errors="replace"), time.monotonic() - begun)


def finished(part: Part, out: int, errors: int, seconds: float) -> int | None:
    """The command's exit code; None where it took too long, and was ended with all its children."""
    process = None
    try:
        with held():  # a process that is begun is known here
            process = subprocess.Popen(
                part.command, cwd=ROOT, stdout=out, stderr=errors, start_new_session=True
            )
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process is not None and process.poll() is None:
            end(process)


def judged(part: Part, code: int | None, printed: str, seconds: float) -> Outcome:
    """A part has passed if it ends well and says what it saw; silence is no evidence."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if last and part.counts:
        last = f"{part.counts}: {last}"
    if code is None:
        return Outcome(part, FAILED, seconds, f"not done after {seconds:.0f} s")
    if code == CANNOT:
        return Outcome(part, NOT_RUN, seconds, last or "it does not say why")
    if code:
        return Outcome(part, FAILED, seconds, f"exit code {code}: {last or 'it printed nothing'}")
    if not last:
        return Outcome(part, FAILED, seconds, "it printed no summary")
    return Outcome(part, PASSED, seconds, last)
