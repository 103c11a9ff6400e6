"""Images through compiled plans by the cleartext executor, in several processes, and through the
float model.

No cryptography runs: with exact rounding the executor is equal to the secure run bit for bit, with
stochastic rounding in distribution.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moiety.compiler.simulate import FloatModel
from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadInput
from moiety.runtime.cli import ui
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program import Program
from moiety.runtime.program.artifacts import load_vendor
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.weights import Weights

CHUNK = 8
"""Images per unit of work."""

MOST_VALUES = 100_000_000
"""Results of all images that are kept in memory at a time."""


@dataclass(frozen=True)
class Ran:
    """Of some images: all results, float64 `(images, values)`, one after the other; how many values
    left their rings; processor seconds.
    """

    values: F64
    overflows: int
    seconds: float


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """That many, each with one thread. What has not begun when it is left is not done any more."""
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, spawn, ui.one_thread)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def started(
    pool: ProcessPoolExecutor, place: Path, files: Sequence[Path], reader: Reader, seed: int
) -> list[Future[Ran]]:
    """All images through the plan that is compiled at `place`, in order. What is drawn follows from
    the seed and the images' places, not from the processes.
    """
    return [
        pool.submit(run_chunk, place, files[start : start + CHUNK], reader, (seed, number))
        for number, start in enumerate(range(0, len(files), CHUNK))
    ]


def joined(parts: Sequence[Ran]) -> Ran:
    """As one."""
    return Ran(
        np.concatenate([part.values for part in parts]),
        sum(part.overflows for part in parts),
        sum(part.seconds for part in parts),
    )


@lru_cache(maxsize=1)
def _loaded(place: Path) -> tuple[Program, Weights]:
    return load_vendor(place)


def run_chunk(place: Path, files: Sequence[Path], reader: Reader, seed: Sequence[int]) -> Ran:
    """Some images, in this process."""
    program, weights = _loaded(place)
    # The executor's generator draws what stochastic rounding does; nothing of it is secret.
    executor = CleartextExecutor(program, weights, np.random.default_rng(list(seed)))
    before = time.process_time()
    values = [
        flat(program, program.compute(executor.run_integers(load(file, reader).case)))
        for file in files
    ]
    overflows = sum(executor.overflows.values())
    return Ran(np.stack(values), overflows, time.process_time() - before)


def flat(program: Program, results: Mapping[str, npt.ArrayLike]) -> F64:
    """All results of one image, in the Program's order."""
    return np.concatenate(
        [np.asarray(results[result.name], np.float64).ravel() for result in program.results()]
    )


def float_results(
    model: FloatModel, program: Program, files: Sequence[Path], reader: Reader
) -> F64:
    """The same of the float model, `(images, values)`. Raises `BadInput` where that is too much."""
    size = sum(result.size for result in program.results())
    if size * len(files) > MOST_VALUES:
        raise BadInput(
            f"{len(files)} images have {size * len(files):,} results; at most {MOST_VALUES:,} can "
            f"be compared, so take at most {max(1, MOST_VALUES // size)} images"
        )
    return np.stack([flat(program, model(load(file, reader).case)) for file in files])


def label_columns(program: Program, labels: Sequence[str]) -> list[int]:
    """Which of the values in `flat` are about these labels. Raises `BadInput` where none is."""
    start, found = 0, dict[str, int]()
    for result in program.results():
        if result.kind == "real" and result.places is None:
            for number, label in enumerate(result.labels):
                found.setdefault(label, start + number)
        start += result.size
    if missing := [label for label in labels if label not in found]:
        raise BadInput(f"no output of the model is named {', '.join(missing)}")
    return [found[label] for label in labels]
