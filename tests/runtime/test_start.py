"""Signals while the command is still being imported."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib

import pytest

from tests.mutants.mutant import ROOT

SCRIPT = """
import importlib, signal, sys

class Signalling:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            signal.raise_signal({number})

sys.meta_path.insert(0, Signalling())
sys.argv = ["moiety", "--version"]
module, _, name = {begin!r}.partition(":")
getattr(importlib.import_module(module), name)()
"""


def begin() -> str:
    """Where the installed command begins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["scripts"]["moiety"])


def started(module: str, number: int) -> subprocess.CompletedProcess[str]:
    """`moiety --version`, signalled as soon as it imports `module`."""
    script = SCRIPT.format(module=module, number=number, begin=begin())
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("module", ["moiety.runtime.cli.app", "typer", "rich.console"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_it_is_imported_is_one_line(
    module: str, number: signal.Signals, code: int
) -> None:
    done = started(module, number)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"stopped by {number.name}\n")


def test_a_start_without_signals_is_one() -> None:
    done = started("none", signal.SIGINT)
    assert done.returncode == 0
    assert done.stdout.startswith("moiety ")


def test_the_command_and_its_module_begin_alike() -> None:
    module = begin().partition(":")[0]
    text = (ROOT / "runtime" / "cli" / "__main__.py").read_text()
    assert f"from {module} import main" in text
