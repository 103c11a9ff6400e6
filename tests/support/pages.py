"""Documents whose code is run: which they are, and the folder that they find themselves in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

from tests.support.blocks import ROOT, blocks_of
from tests.support.command import Compiled
from tests.support.nets import random_images
from tests.support.onnx_models import with_metadata
from tests.support.studies import write_csv

PICTURES = ("training-images", "held-out", "x-rays")
LABELS = ("cat", "dog", "owl")
COHORT = (
    ("x-rays/0.png", "north", "p1", 1, 0, 0),
    ("x-rays/1.png", "north", "p1", 0, 1, 0),
    ("x-rays/2.png", "north", "p2", 1, 0, 1),
    ("x-rays/3.png", "south", "p3", 0, 1, 1),
    ("x-rays/4.png", "south", "p4", 0, 0, ""),
    ("x-rays/5.png", "south", "p5", 1, 1, 0),
)


def documents() -> list[str]:
    """Those that have code: what is at the top of the tree, and docs."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def pages_to_run(slow: bool) -> list[str]:
    """Those that have a block to run; `slow`: those in which one is marked so, else the others."""
    marks = {page: {block.mark for block in blocks_of(page)} for page in documents()}
    if slow:
        return [page for page, found in marks.items() if "slow" in found]
    return [page for page, found in marks.items() if "" in found and "slow" not in found]


def stage(folder: Path, compiled: Compiled, page: str) -> None:
    """What a page may take for given: a small model, pictures for it, a cohort's list; and what the
    model is compiled to, if the page does not compile it.
    """
    model = onnx.load(compiled.model)
    onnx.save(with_metadata(model, labels=LABELS), folder / "model.onnx")
    for name in PICTURES:
        shutil.copytree(compiled.pictures, folder / name)
    write_csv(folder / "cohort.csv", ("file", "site", "patient", *LABELS), COHORT)
    if not any("moiety compile " in block.code for block in blocks_of(page)):
        shutil.copytree(compiled.folder, folder / "compiled")
        shutil.copy(compiled.public, folder)
    np.save(folder / "images.npy", random_images((3, 16, 16), n=8, seed=1))


def run_page(page: str, folder: Path, timeout: float = 200.0) -> None:
    """Raises AssertionError, with all that was printed, where a block fails."""
    paths = filter(None, (os.environ.get("PYTHONPATH"), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.blocks", page],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
