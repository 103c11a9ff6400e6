"""How well a compiled model does on labelled images, by the cleartext executor in several
processes: AUROC of each label with its change against the float model, errors of the logits,
overflows.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.support.command_line import positive
from benchmarks.support.corpus import Corpus
from benchmarks.support.harness import Row
from benchmarks.support.roc import delong, paired_change
from moiety.compiler.simulate import FloatModel
from moiety.models.xrays import HOW_TO_GIVE_DATA, data_folder
from moiety.protocols.arrays import BOOL, F64
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program import Program
from moiety.runtime.program.artifacts import load_vendor
from moiety.runtime.program.cleartext import CleartextExecutor

CHUNK = 8
"""Images per unit of work."""


def add_options(p: argparse.ArgumentParser, images: int) -> None:
    """Which images, how they are judged, and by how many processes; by default `images` of them, 0
    for all.
    """
    p.add_argument(
        "--data", type=Path, metavar="DIR", help="folder with labels.csv (default: MOIETY_DATA)"
    )
    p.add_argument("--split", default="test", help="default: test")
    p.add_argument(
        "--images",
        type=int,
        default=images,
        metavar="N",
        help=f"evenly spaced, 0 for all (default {images})",
    )
    for option, default, what in (
        ("--bootstrap", 1000, "resamples"),
        ("--processes", 2, "that run images"),
    ):
        what = f"{what} (default {default})"
        p.add_argument(option, type=positive, default=default, metavar="N", help=what)


def labelled_folder(options: argparse.Namespace) -> Path:
    """BadInput where there is none."""
    folder: Path | None = options.data or data_folder()
    if folder is None:
        raise BadInput(f"no labelled images: {HOW_TO_GIVE_DATA}, or give --data DIR")
    return folder


def float_logits(model: Path, program: Program, corpus: Corpus) -> F64:
    """The float model's outputs, `(images, labels)`."""
    reference = FloatModel(model, program)
    (result,) = program.results()
    return np.stack(
        [reference(load(file, Reader.of(program)).tensor)[result.name] for file in corpus.files]
    )


def swept(pool: ProcessPoolExecutor, place: Path, corpus: Corpus, seed: int) -> tuple[F64, int]:
    """Logits of all images, `(images, labels)`, and the number of values that overflowed."""
    chunks = [corpus.files[start : start + CHUNK] for start in range(0, len(corpus.files), CHUNK)]
    seeds = [[seed, number] for number in range(len(chunks))]
    parts = list(pool.map(run_chunk, itertools.repeat(place), chunks, seeds))
    return np.concatenate([logits for logits, _ in parts]), sum(overflows for _, overflows in parts)


@lru_cache(maxsize=1)
def loaded(place: Path) -> tuple[Program, Any]:
    return load_vendor(place)


def run_chunk(place: Path, files: Sequence[Path], seed: Sequence[int]) -> tuple[F64, int]:
    """Some images through the executor. The seed belongs to the chunk: results do not depend on
    the processes.
    """
    program, weights = loaded(place)
    rng = np.random.default_rng(list(seed)) if program.rounding == "stochastic" else None
    executor = CleartextExecutor(program, weights, rng)
    ((index, step),) = program.outputs.items()
    tensors = (load(file, Reader.of(program)).tensor for file in files)
    logits = np.stack(
        [executor.run_integers(tensor)[index].ravel() * step.scale for tensor in tensors]
    )
    return logits, sum(executor.overflows.values())


def judged(corpus: Corpus, logits: F64, reference: F64, options: argparse.Namespace) -> Row:
    """AUROC by label, and the error of the logits, `(images, labels)`."""
    error = np.abs(logits - reference)
    by_label: dict[str, Row] = {}
    for column, label in enumerate(corpus.labels):
        known = np.isfinite(corpus.truth[:, column])
        by_label[label] = judged_label(
            logits[known, column],
            reference[known, column],
            corpus.truth[known, column] > 0.5,
            corpus.groups[known],
            options.bootstrap,
            np.random.default_rng([options.seed, column]),
        )
    changes = [abs(entry["change"]) for entry in by_label.values() if np.isfinite(entry["change"])]
    return {
        "largest_change": max(changes, default=float("nan")),
        "logit_error_max": float(error.max()),
        "logit_error_mean": float(error.mean()),
        "logit_error_rms": float(np.sqrt(np.mean(error**2))),
        "labels": by_label,
    }


def judged_label(
    fixed: F64,
    floats: F64,
    truth: BOOL,
    groups: npt.NDArray[np.str_],
    resamples: int,
    rng: np.random.Generator,
) -> Row:
    """AUROC of one label with its interval, and its change against the float model with its own."""
    found = delong(fixed, truth)
    change = paired_change(fixed, floats, truth, groups, resamples, rng)
    return {
        "n": truth.size,
        "positives": int(truth.sum()),
        "auroc": found.value,
        "auroc_low": found.low,
        "auroc_high": found.high,
        "auroc_float": found.value - change.value,
        "change": change.value,
        "change_low": change.low,
        "change_high": change.high,
    }
