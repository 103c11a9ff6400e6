"""A small cohort of a small Program, with labels, sites and patients; all of it on disk."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from moiety.runtime.program import Program, artifacts
from moiety.runtime.program.expression.expression import Expression, Result
from moiety.runtime.program.policy import ALL_SCORES, Policy
from moiety.runtime.program.weights import Weights, commit
from tests.support.programs import random_weights, small_program
from tests.support.runnable import runnable, save, save_images

LABELS = ("Effusion", "Edema", "Mass")


@dataclass(frozen=True)
class SmallStudy:
    """compiled: the vendor's folder; list: the cohort's CSV, with `files` beside it."""

    program: Program
    weights: Weights
    compiled: Path
    list: Path
    files: Sequence[Path]

    @property
    def public(self) -> Path:
        return artifacts.program_file(self.compiled)


def labelled(policy: Policy = ALL_SCORES) -> tuple[Program, Weights]:
    """The small Program, its three values named."""
    result = Result(name="findings", value=0, labels=LABELS)
    program = msgspec.structs.replace(
        runnable(small_program()),
        name="small",
        expression=Expression(results=(result,)),
        policy=policy,
    )
    return commit(program, random_weights(program, np.random.default_rng(5)).tensors)


def small_study(folder: Path, images: int, policy: Policy = ALL_SCORES) -> SmallStudy:
    """Truths drawn; two sites; a patient has two images; some truths unknown."""
    program, weights = labelled(policy)
    save(folder / "compiled", program, weights)
    files = save_images(folder / "images", images)
    rng = np.random.default_rng(7)
    path = folder / "cohort.csv"
    rows = [
        [f"images/{file.name}", f"site{n % 2}", f"p{n // 2}", *_truths(rng, n)]
        for n, file in enumerate(files)
    ]
    write_csv(path, ["file", "site", "patient", *LABELS], rows)
    return SmallStudy(program, weights, folder / "compiled", path, files)


def _truths(rng: np.random.Generator, number: int) -> list[str]:
    drawn = [str(value) for value in rng.integers(0, 2, len(LABELS))]
    if number < 2:  # both classes of every label are there, however few images are
        drawn = [str(number)] * len(LABELS)
    return drawn if number % 5 != 4 else ["", *drawn[1:]]


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path
