"""Building a copy's compiled kernels."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.mutants.tree import Tree


def build(tree: Tree) -> None:
    """Build what has changed since the last time, and put it where the copy imports it from.

    Raises RuntimeError with the compiler's words where it does not compile: then nothing is broken.
    """
    folder = tree.folder / "build"
    if not folder.exists():
        tree.build(
            beside("cmake"),
            "-S",
            tree.folder,
            "-B",
            folder,
            "-DCMAKE_BUILD_TYPE=Release",
            "-DMOIETY_OPTIMIZE=-O0",  # a quarter of the time, for the same answers
            f"-DPython_EXECUTABLE={sys.executable}",
        )
    tree.build(beside("cmake"), "--build", folder, "--parallel")
    shutil.copy(next(folder.glob("_native*.so")), tree.module)


def beside(program: str) -> str:
    """The wheel's, where it is installed."""
    found = Path(sys.executable).with_name(program)
    return str(found) if found.exists() else program
