"""How well a compiled model does on labelled images: the options of the benchmarks that ask, and
one compiled folder's answer (compiler/sweep judges).
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec

from benchmarks.support.command_line import positive
from benchmarks.support.harness import Row
from moiety.compiler.simulate import FloatModel
from moiety.compiler.sweep import execution
from moiety.compiler.sweep.corpus import Corpus
from moiety.compiler.sweep.judgement import Judge
from moiety.models.xrays import HOW_TO_GIVE_DATA, data_folder
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.loader import Reader
from moiety.runtime.program.artifacts import load_program
from moiety.runtime.study.statistics.resampling import Bootstrap


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


def measured(
    pool: ProcessPoolExecutor,
    folder: Path,
    model: Path,
    corpus: Corpus,
    options: argparse.Namespace,
) -> Row:
    """Of a compiled folder: AUROC by label, errors of the results, overflows, seconds per image."""
    program = load_program(folder)
    reader = Reader.of(program)
    parts = execution.started(pool, folder, corpus.files, reader, options.seed)
    floats = execution.float_results(FloatModel(model, program), program, corpus.files, reader)
    ran = execution.joined([part.result() for part in parts])
    columns = execution.label_columns(program, corpus.labels)
    judge = Judge(corpus, Bootstrap(options.bootstrap, options.seed))
    return {
        **msgspec.to_builtins(judge.judged(ran.values, floats, columns)),
        "overflows": ran.overflows,
        "seconds_per_image": ran.seconds / len(corpus.files),
    }
