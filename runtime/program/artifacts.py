"""The artifacts of a compilation, in the folder that `moiety compile` writes.

DIR/public/program.json     the Program: both parties
DIR/weights.safetensors     the Weights: the vendor alone
DIR/hints*.safetensors      what a server derives from them and keeps (runtime/party/hints), as
                            secret as they are
"""

from __future__ import annotations

from pathlib import Path

from moiety.protocols.errors import BadArtifact
from moiety.runtime.program.program import Program
from moiety.runtime.program.weights import Weights

PUBLIC = "public"
PROGRAM = "program.json"
WEIGHTS = "weights.safetensors"


def load_program(place: Path) -> Program:
    """From the compiled folder, its `public` folder, or the Program file itself. Raises
    `BadArtifact`.
    """
    candidates = [place / PUBLIC / PROGRAM, place / PROGRAM, place]
    file = next((path for path in candidates if path.is_file()), None)
    if file is None:
        what = (
            "no such folder"
            if not place.exists()
            else f"no {PROGRAM} and no {PUBLIC}/{PROGRAM} in it"
        )
        raise BadArtifact(
            f"{place}: {what}; "
            "give the folder that `moiety compile -o` wrote, or the public part of it"
        )
    return Program.load(file)


def load_vendor(folder: Path) -> tuple[Program, Weights]:
    """Both artifacts of a compiled folder. Raises `BadArtifact`."""
    program = load_program(folder)
    if not (folder / WEIGHTS).is_file():
        raise BadArtifact(
            f"{folder}: no {WEIGHTS} in it; "
            "the server needs the whole folder that `moiety compile -o` wrote"
        )
    return program, Weights.load(folder / WEIGHTS, program)
