"""A check's command that is stopped: one line, its exit code, what it has found so far, and nothing
left behind.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.trust.parts import ROOT

WITH_ATHERIS = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed"
)
PARTS = """
import sys
from tests.support.children import run_command
from tests.trust.__main__ import main
from tests.trust.parts import Part

CHILD = "import time; time.sleep(600)"
WAITING = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"

def part(name, code):
    return Part(name, "It holds.", (sys.executable, "-c", code), "README.md", 600)

run_command(lambda: main([part("first", "print('12 of 12')"), part("second", WAITING),
                          part("third", "print('never')")]))
"""


def begun(command: Sequence[str], scratch: Path) -> subprocess.Popen[str]:
    """A command. `scratch` is its folder of temporary files, by which what it began is known."""
    scratch.mkdir()
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def of(scratch: Path) -> list[int]:
    """The processes that have this folder for their temporary files."""
    mark, found = f"TMPDIR={scratch}".encode(), []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (place / "environ").read_bytes():
                found.append(int(place.name))
        except OSError:
            pass  # it has ended, or is another's
    return found


def left(scratch: Path) -> list[str]:
    """What is in it, but for hidden files, which are of libraries."""
    return [path.name for path in scratch.iterdir() if not path.name.startswith(".")]


def wait(until: Callable[[], object], process: subprocess.Popen[str]) -> None:
    def reached() -> bool:
        if until():
            return True
        assert process.poll() is None, process.communicate()
        return False

    wait_for(reached)


def wait_for(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stopped(process: subprocess.Popen[str], number: signal.Signals, scratch: Path) -> str:
    """What the command printed; it ends as it should."""
    process.send_signal(number)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}" in printed + said
    assert "Traceback" not in printed + said
    wait_for(lambda: not of(scratch))  # who is killed needs a moment to be gone
    assert left(scratch) == []
    return printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_trust_tells_of_the_parts_that_are_done(number: signal.Signals, tmp_path: Path) -> None:
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    process = begun(["-c", PARTS, "-o", str(out)], scratch)
    wait(lambda: len(of(scratch)) == 3, process)  # the command, the second part and its child
    printed = stopped(process, number, scratch)
    assert "1 passed, 2 stopped, of 3 parts" in printed
    rows = json.loads((out / "trust.json").read_text())["parts"]
    assert [row["result"] for row in rows] == ["passed", "stopped", "stopped"]
    assert {row["summary"] for row in rows[1:]} == {f"stopped by {number.name}"}
    assert "1 passed, 2 stopped, of 3 parts" in (out / "trust.md").read_text()


def test_mutants_end_with_their_tests_and_trees(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    process = begun(["-m", "tests.mutants", "deviations", "--processes", "2"], scratch)
    wait(lambda: len(of(scratch)) >= 4, process)  # two run tests, and a fork of one does
    stopped(process, signal.SIGTERM, scratch)


@WITH_ATHERIS
def test_fuzzing_ends_with_its_engines(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    process = begun(["-m", "tests.fuzz", "keys", "audit", "--processes", "1"], scratch)
    wait(lambda: [*scratch.glob("fuzz-*/keys/corpus")], process)
    stopped(process, signal.SIGINT, scratch)


@WITH_ATHERIS
def test_fuzzing_that_finds_nothing_leaves_nothing(tmp_path: Path) -> None:
    process = begun(["-m", "tests.fuzz", "keys", "--seconds", "1"], tmp_path / "scratch")
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 0, printed + said
    assert left(tmp_path / "scratch") == []
