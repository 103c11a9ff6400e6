"""The Program that a command is given."""

from __future__ import annotations

from pathlib import Path

from moiety.runtime.cost.memory import check_run_memory
from moiety.runtime.program import Program, artifacts


def open_program(place: Path) -> Program:
    """From its file, or the folder that it is in. Raises `BadArtifact`, also where an image's run
    of it would take more memory than is allowed.
    """
    program = artifacts.load_program(place)
    check_run_memory(program)
    return program
