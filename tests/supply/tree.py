"""The source files of this checkout, without what is built or installed in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.supply.declared import ROOT

PACKAGE = ("compiler", "runtime", "protocols", "models", "native")
FILES = ("pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE")
MADE = ("__pycache__", "*.pyc", "*.so", ".*")


def copy(folder: Path, modified: int) -> None:
    """What the package is built from, to a new `folder`; each file changed last at `modified`."""
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    for name in PACKAGE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*MADE))
    for path in folder.rglob("*"):
        os.utime(path, (modified, modified))


def epoch() -> int:
    """The time that all files of a wheel have: that of the commit; without git the earliest one
    that a zip file can say.
    """
    earliest = 315532800
    done = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else earliest
