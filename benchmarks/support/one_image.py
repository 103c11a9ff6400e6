"""One image through vendor and hospital, verified, then timed: what benchmarks.inference does over
loopback and benchmarks.networks over others.
"""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np

from benchmarks.support import command_line, harness, oracle
from benchmarks.support.harness import Row
from benchmarks.support.oracle import Expected
from benchmarks.support.relay import relay
from benchmarks.support.two_commands import TwoCommands
from moiety.compiler.compile import CompileOptions
from moiety.compiler.compile_files import Pictures, compile_files
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.simulate import FloatModel
from moiety.models import demo_model_path, demo_ranges_path
from moiety.models.xrays import calibration_images, example_image
from moiety.protocols.arrays import F64
from moiety.protocols.network import Network
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.party.generator_choice import Ot
from moiety.runtime.program import Program
from moiety.runtime.program.artifacts import load_vendor, weights_file
from moiety.runtime.results.record import ImageResult, Results


def parser(name: str, usage: str | None) -> argparse.ArgumentParser:
    """The options of both benchmarks."""
    shared = ("--model", "--rounding", "--runs", "--simulations", "--seed", "--json", "--no-pin")
    p = command_line.parser(name, usage, *shared)
    p.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="default: a real x-ray of the data folder, else a drawn one",
    )
    add_plan(p)
    add_generator(p)
    p.add_argument(
        "--prepared",
        action="store_true",
        help="prepare all runs ahead (moiety prepare), and time them apart from that",
    )
    p.add_argument(
        "--batch",
        type=command_line.positive,
        default=1,
        metavar="B",
        help="the image so many times in every run; all figures but flights and memory are per "
        "image (default 1)",
    )
    return p


def add_plan(p: argparse.ArgumentParser) -> None:
    """What is compiled, if anything is (`compiled`)."""
    command_line.add_widths(p)
    p.add_argument(
        "--calibration",
        type=Path,
        nargs="+",
        metavar="IMAGES",
        help="default: the shipped model's ranges; else 32 training images of the data folder, "
        "else drawn ones",
    )
    p.add_argument(
        "--compiled",
        type=Path,
        metavar="DIR",
        help="use this compiled folder; compile into it if empty",
    )


def add_generator(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--ot",
        choices=get_args(Ot),
        default="auto",
        help="generator of correlations (default auto)",
    )


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured: a compiled model and an image, and what must come out. `floats`: the float
    model's values by output step; `compile_s`: None where it was compiled before.
    """

    folder: Path
    program: Program
    image: Path
    expected: Expected
    floats: dict[str, F64]
    compile_s: float | None


def make_subject(options: argparse.Namespace, work: Path) -> Subject:
    """Compile (unless a compiled folder is given), choose the image, run it in the clear."""
    folder = options.compiled or work / "compiled"
    compile_s = compiled(folder, options, work)
    program, weights = load_vendor(folder)
    harness.require(
        program.rounding == options.rounding,
        f"{folder} was compiled with {program.rounding} rounding",
    )
    image = options.image or example_image(work)
    tensor = load(image, Reader.of(program)).tensor
    expected = oracle.simulate(program, weights, tensor, options.simulations, options.seed)
    floats = FloatModel(options.model, program)(tensor)
    return Subject(folder, program, image, expected, floats, compile_s)


def compiled(folder: Path, options: argparse.Namespace, work: Path) -> float | None:
    """Compile unless `folder` holds a compiled model; seconds, or None."""
    if weights_file(folder).exists():
        return None
    started = time.perf_counter()
    shipped = [demo_ranges_path()] if options.model == demo_model_path() else None
    files = options.calibration or shipped or calibration_images(work)
    plan = PlanOptions.of_choices(rounding=options.rounding, **command_line.widths(options))
    compile_files(options.model, folder, Pictures(files), CompileOptions(plan))
    return time.perf_counter() - started


@dataclass(frozen=True)
class Measured:
    """Verified runs of one connection. `differences`: per image, of a logit from the executor's;
    `memory`: peaks of both processes; `offline`: what preparing the timed runs took, if it was.
    """

    results: Results
    differences: list[float]
    prepare_s: float
    memory: Row
    offline: Row


def measure(
    subject: Subject, commands: TwoCommands, options: argparse.Namespace, network: Network | None
) -> Measured:
    """One verified run, then a second client with `options.runs` timed ones; over a network, or
    where there is none over loopback as it is. Raises `VerificationFailed`.
    """
    folder, batch = subject.folder, options.batch
    together = [subject.image] * batch
    offline: Row = {}
    clients = 4 if options.prepared else 2
    with commands.serving(folder, clients, batch=batch) as vendor:
        way = relay(network, vendor.address) if network else nullcontext(vendor.address)
        with way as address:
            if options.prepared:
                commands.prepare(folder, 1, address, options.ot, batch)
                offline = commands.prepare(folder, options.runs, address, options.ot, batch)
            first, _ = commands.infer(folder, together, address, options.ot, batch)
            _verify(subject, first, options.prepared)
            results, client_rss = commands.infer(
                folder, together * options.runs, address, options.ot, batch
            )
        # A session is a process of its own, beside the one that listens.
        sessions = [image.server.peak_rss for image in results.images]
        server_rss = max(vendor.memory.stop(), *sessions)
        memory = {"peak_rss_server": server_rss, "peak_rss_client": client_rss}
    differences = _verify(subject, results, options.prepared)
    return Measured(results, differences, vendor.prepare_s, memory, offline)


def _verify(subject: Subject, results: Results, prepared: bool) -> list[float]:
    for image in results.images:
        taken = image.prepared_item is not None
        harness.require(taken == prepared, f"{image.file}: prepared is {taken}, not {prepared}")
    expected = [subject.expected] * len(results.images)
    return oracle.verify(subject.program, expected, results)


def rows(subject: Subject, measured: Measured) -> list[Row]:
    """One per run."""
    results = measured.results
    common = {
        "image": subject.image.name,
        "rounding": subject.program.rounding,
        "prepare_s": measured.prepare_s,
        "setup_s": results.setup_seconds,
        "silent_from": results.silent_from,
        "network": msgspec.to_builtins(results.network),
        "kernels_backend": results.kernels["client"],
        "kernels_backend_server": results.kernels["server"],
        "overflows": subject.expected.overflows,
        **measured.memory,
        **{f"offline_{name}": value for name, value in measured.offline.items()},
    }
    differences = iter(measured.differences)
    return [
        common
        | {
            "run": number,
            "batch": len(run),
            "max_diff_cleartext": max(islice(differences, len(run))),
        }
        | _row(run[0], subject.floats)
        for number, run in enumerate(oracle.runs(results))
    ]


def _row(image: ImageResult, floats: dict[str, F64]) -> Row:
    """Of a run, by its first image: each is charged its part of everything but the flights."""
    kinds = image.by_step_kind
    secure = [np.asarray(output.values) for output in image.outputs]
    return {
        "verified": True,
        "total_s": image.seconds,
        "client_cpu_s": image.cpu_seconds,
        "server_cpu_s": image.server.cpu_seconds,
        "bytes_client_to_server": image.bytes_sent,
        "bytes_server_to_client": image.bytes_received,
        "bytes_total": image.bytes_sent + image.bytes_received,
        "bytes_by_step_kind": {kind: cost.sent + cost.received for kind, cost in kinds.items()},
        "seconds_by_step_kind": {kind: cost.seconds for kind, cost in kinds.items()},
        "rounds": image.flights,
        "max_diff_float": max(
            float(np.abs(a - b).max()) for a, b in zip(secure, floats.values(), strict=True)
        ),
    }
