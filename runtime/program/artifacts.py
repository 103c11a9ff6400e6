"""The artifacts of a compilation, in the folder that `moiety compile` writes.

DIR/NAME.moiety                  the Program: the one file that goes to the hospital
DIR/vendor/                      everything else, its owner's alone (0700, files 0600):
    weights.safetensors              the Weights
    plan.json, ranges.safetensors    how the compiler came to it
    hints*.safetensors               what a server derives from them and keeps
                                     (runtime/party/hints)
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.program.program import Program
from moiety.runtime.program.weights import Weights

SUFFIX = ".moiety"
VENDOR = "vendor"
WEIGHTS = "weights.safetensors"
PLAN = "plan.json"
RANGES = "ranges.safetensors"

_LONGEST_NAME = 80
_OF_EARLIER_RELEASES = ("public/program.json", "program.json", "weights.safetensors")


def file_name(program: Program) -> str:
    """Of a Program's file: the model's name in characters that every system takes."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", program.name).strip("-.")[:_LONGEST_NAME]
    return (plain or "model") + SUFFIX


def weights_file(folder: Path) -> Path:
    """Where a compiled folder has its Weights."""
    return folder / VENDOR / WEIGHTS


def present(folder: Path) -> list[Path]:
    """The artifacts that lie in a folder, of this or an earlier release; empty if there are none,
    or no such folder.
    """
    earlier = (folder / name for name in _OF_EARLIER_RELEASES)
    found = [*sorted(folder.glob(f"*{SUFFIX}")), weights_file(folder), *earlier]
    return [path for path in found if path.exists()]


def check_free(folder: Path) -> None:
    """Raises `BadInput` where a compilation would take the place of another one."""
    if found := present(folder):
        names = ", ".join(str(path.relative_to(folder)) for path in found)
        raise BadInput(
            f"{folder} holds a compiled model already ({names}); write to another folder, or "
            "replace it with --force: who has its Program then needs the new one"
        )


def program_file(folder: Path) -> Path:
    """The one Program file in a folder. Raises `BadArtifact`."""
    if not folder.is_dir():
        raise BadArtifact(
            f"{folder}: no such file or folder; give the .moiety file that `moiety compile` "
            "wrote, or the folder it is in"
        )
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise BadArtifact(f"{folder}: {len(found)} Programs in it ({names}); name one of them")
    if weights_file(folder.resolve().parent) == folder.resolve() / WEIGHTS:
        raise BadArtifact(
            f"{folder}: the vendor's part of a compiled folder; give the folder that it is in"
        )
    if any((folder / name).exists() for name in _OF_EARLIER_RELEASES):
        raise BadArtifact(
            f"{folder}: of an earlier release; compile the model again (the Program is now one "
            f"file, NAME{SUFFIX})"
        )
    raise BadArtifact(
        f"{folder}: no {SUFFIX} file in it; give the file that `moiety compile` wrote for the "
        "hospital, or the folder it is in"
    )


def load_program(place: Path) -> Program:
    """From a Program file, or the folder that it is in. Raises `BadArtifact`."""
    return Program.load(place if place.is_file() else program_file(place))


def load_vendor(folder: Path) -> tuple[Program, Weights]:
    """Both artifacts of a compiled folder; the Weights are those that the Program commits to.
    Raises `BadArtifact`.
    """
    program = load_program(folder)
    if not weights_file(folder).is_file():
        raise BadArtifact(
            f"{folder}: no {VENDOR}/{WEIGHTS} in it; "
            "the server needs the whole folder that `moiety compile -o` wrote"
        )
    weights = Weights.load(weights_file(folder), program)
    return program, weights


@contextmanager
def replacing_compiled(folder: Path) -> Iterator[Path]:
    """An empty folder to write a compilation's artifacts to, as they shall lie in `folder`; at the
    end they take the place of the ones there, which stay as they are where an exception passes.
    Files that are no artifacts are not touched; hints of the weights before go with them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=".compiling-", dir=folder))
    try:
        (staged / VENDOR).mkdir(mode=0o700)
        yield staged
        _exchange(folder, staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _exchange(folder: Path, staged: Path) -> None:
    """The artifacts in `staged` come to `folder`, those of `folder` into a corner of `staged`."""
    old = staged / "old"
    old.mkdir()
    aside = [path for path in folder.glob(f"*{SUFFIX}") if path.is_file()]
    aside += [folder / VENDOR] if (folder / VENDOR).exists() else []
    done: list[tuple[Path, Path]] = []
    fresh = [path for path in staged.iterdir() if path != old]
    try:
        for path, target in [(path, old / path.name) for path in aside] + [
            (path, folder / path.name) for path in fresh
        ]:
            path.rename(target)
            done.append((path, target))
    except BaseException:
        for path, target in reversed(done):
            target.rename(path)
        raise
