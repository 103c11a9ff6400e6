"""One image through vendor and hospital: `moiety serve` and `moiety infer`,
two processes over loopback TCP.

    python -m benchmarks.inference --rounding exact --runs 3 --json rows.json
    python -m benchmarks.inference --model model.onnx --image x-ray.png --compiled kept/

Compiles the model (or takes a compiled folder), runs the image once and verifies: exact
rounding must equal the cleartext executor bit for bit, stochastic rounding must lie within the
executor's distribution, and bytes and flights must be the declared ones. Then a second client
runs the image `--runs` times, each run verified as well; one JSON object per run. Times exclude
compilation, `prepare_s` (the server's start, with all hints) and `setup_s` (base transfers of
one connection), which are in the row too. With `--profile` each step kind's time at either
party is split into kernels, matrix products, Python, socket and waiting
(benchmarks/profiled.py), in the rows and as a table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks import harness, profile
from benchmarks.corpus import calibration_images, example_image
from benchmarks.harness import Row
from moiety.compiler.building import Pictures, build
from moiety.compiler.compile import CompileOptions
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.simulate import FloatModel
from moiety.models import demo_ranges_path
from moiety.protocols.cost import Mixed
from moiety.protocols.errors import MoietyError, NetworkFailure
from moiety.protocols.setup import NEVER_SILENT
from moiety.runtime import program as ir
from moiety.runtime.cost import traffic as costing
from moiety.runtime.intake import pictures as images
from moiety.runtime.party.client import ImageResult, Results
from moiety.runtime.party.generators import Ot
from moiety.runtime.program import folder as artifacts
from moiety.runtime.program.cleartext import Executor
from moiety.runtime.program.layers import kind_of
from moiety.runtime.program.weights import Weights

DEFAULT_MODEL = harness.ROOT / "models" / "chest-densenet121.onnx"
PARTIES = ("server", "client")
SIGMAS = 8.0
"""A stochastic result may be this many standard deviations from the simulated mean."""

F64 = npt.NDArray[np.float64]


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.inference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--model",
        type=Path,
        default=DEFAULT_MODEL,
        metavar="MODEL.onnx",
        help="default: the shipped one",
    )
    p.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="default: a real x-ray of the data folder, else a drawn one",
    )
    p.add_argument(
        "--rounding",
        choices=("exact", "stochastic"),
        default="stochastic",
        help="default: stochastic",
    )
    p.add_argument("--activation-bits", type=int, metavar="N", help="default: the planner's")
    p.add_argument("--weight-bits", type=int, metavar="N", help="default: the planner's")
    p.add_argument("--margin-bits", type=int, metavar="N", help="default: the planner's")
    p.add_argument(
        "--calibration",
        type=Path,
        nargs="+",
        metavar="IMAGES",
        help="default: the shipped model's ranges; else 32 training images of the data folder, else drawn ones",
    )
    p.add_argument(
        "--compiled",
        type=Path,
        metavar="DIR",
        help="use this compiled folder; compile into it if empty",
    )
    p.add_argument(
        "--runs", type=harness.positive, default=3, metavar="N", help="timed runs (default 3)"
    )
    p.add_argument(
        "--simulations",
        type=harness.positive,
        default=8,
        metavar="N",
        help="cleartext runs, if stochastic",
    )
    p.add_argument("--seed", type=int, default=1, help="of the simulated roundings (default 1)")
    p.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the rows there (default: one per line to stdout)",
    )
    p.add_argument(
        "--ot",
        choices=get_args(Ot),
        default="auto",
        help="generator of correlations (default auto)",
    )
    p.add_argument("--profile", action="store_true", help="show what each party's time goes into")
    p.add_argument(
        "--no-pin", action="store_true", help="do not bind each party to a core of its own"
    )
    return p


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    harness.one_thread()
    with tempfile.TemporaryDirectory(prefix="moiety-benchmark-") as scratch:
        work = Path(scratch)
        folder = options.compiled or work / "compiled"
        compile_s = compiled(folder, options, work)
        program, weights = artifacts.load_vendor(folder)
        harness.require(
            program.rounding == options.rounding,
            f"{folder} was compiled with {program.rounding} rounding",
        )
        image = options.image or example_image(work)
        tensor = images.load(image, program.input.shape, program.preprocessing)
        expected = simulate(program, weights, tensor, options.simulations, options.seed)
        floats = FloatModel(options.model, program)(tensor)
        with serving(folder, work, not options.no_pin, options.profile) as (
            address,
            prepare_s,
            memory,
        ):
            first, _ = infer(folder, [image], address, work, options)
            verify(program, expected, first)
            results, client_rss = infer(folder, [image] * options.runs, address, work, options)
            memories = {"peak_rss_server": memory.stop(), "peak_rss_client": client_rss}
        profiles = [
            profile.load(profile_file(work, party), options.runs)
            for party in PARTIES
            if options.profile
        ]
    environment: Row = {"benchmark": "inference", **harness.environment(), "seed": options.seed}
    environment |= {
        "model": options.model.name,
        "image": image.name,
        "plan": plan_of(program),
        "rounding": program.rounding,
    }
    environment |= {
        "compile_s": compile_s,
        "prepare_s": prepare_s,
        "setup_s": results.setup_seconds,
    }
    environment |= memories
    network = msgspec.to_builtins(results.network)
    environment |= {"ot": options.ot, "silent_from": results.silent_from, "network": network}
    differences = verify(program, expected, results)
    rows = [
        environment | row_of(number, results, result, expected, difference, floats)
        for number, (result, difference) in enumerate(zip(results.images, differences, strict=True))
    ]
    report(rows)
    if options.profile:
        for row, server, client in zip(rows, *profiles, strict=True):
            row["profile"] = profile.row(server, client)
        for party, found in zip(PARTIES, profiles, strict=True):
            harness.say("\n" + "\n".join(profile.table(party, found)))
        harness.say("\n" + "\n".join(profile.kernel_table(*profiles)))
    harness.write_rows(rows, options.json)
    return rows


def compiled(folder: Path, options: argparse.Namespace, work: Path) -> float | None:
    """Compile unless `folder` holds a compiled model; seconds, or None."""
    if (folder / artifacts.WEIGHTS).exists():
        return None
    started = time.perf_counter()
    widths = {
        name: getattr(options, name) for name in ("activation_bits", "weight_bits", "margin_bits")
    }
    shipped = [demo_ranges_path()] if options.model == DEFAULT_MODEL else None
    files = options.calibration or shipped or calibration_images(work)
    build(
        options.model,
        folder,
        Pictures(files),
        CompileOptions(PlanOptions.of_choices(rounding=options.rounding, **widths)),
    )
    return time.perf_counter() - started


def plan_of(program: ir.Program) -> Row:
    """What was planned, in short."""
    linears = [step for step in program.steps if isinstance(step, ir.Linear)]
    kinds = [kind_of(step) for step in program.steps]
    return {
        "program": program.digest(),
        "steps": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "relu_bits": sorted(
            {program.steps[s.inputs[0]].bits for s in program.steps if isinstance(s, ir.Relu)}
        ),
        "linear_bits": [min(s.bits for s in linears), max(s.bits for s in linears)]
        if linears
        else [],
        "weight_bits": sorted({s.weight_bits for s in linears}),
        "rlwe": sorted(
            {f"N={s.rlwe.degree}, {len(s.rlwe.primes)} primes, {s.rlwe.masking}" for s in linears}
        ),
    }


# --- verification ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What the cleartext executor says of each output, in order: mean logits, how far a secure one
    may be from them; and the overflows of one run.
    """

    mean: list[F64]
    tolerance: list[F64]
    overflows: int


def simulate(
    program: ir.Program, weights: Weights, tensor: npt.ArrayLike, simulations: int, seed: int
) -> Expected:
    """One run of the executor for an exact Program (tolerance 0), several for a stochastic one."""
    exact = program.rounding == "exact"
    executor = Executor(program, weights, None if exact else np.random.default_rng(seed))
    runs = [executor.run_integers(tensor) for _ in range(1 if exact else max(2, simulations))]
    mean, tolerance = [], []
    for index, step in program.outputs.items():
        logits = np.stack([run[index].ravel() * step.scale for run in runs])
        mean.append(logits.mean(axis=0))
        # Outputs of one layer have much the same spread, and together they say more
        # about it than a few runs of one.
        spread = (
            0.0
            if exact
            else SIGMAS * float(np.sqrt(logits.var(axis=0, ddof=1).mean())) + 2 * step.scale
        )
        tolerance.append(np.full(logits.shape[1], spread))
    return Expected(mean, tolerance, sum(executor.overflows.values()) // len(runs))


def verify(program: ir.Program, expected: Expected, results: Results) -> list[float]:
    """All images of one connection. Raises `VerificationFailed`; returns, per image, the largest
    difference of a logit from the executor's (mean).
    """
    differences = []
    generator = Mixed(NEVER_SILENT if results.silent_from is None else results.silent_from)
    for result in results.images:
        differences.append(verify_outputs(program, expected, result))
        declared = costing.image_cost(program).on(generator)
        metered = (result.bytes_sent, result.bytes_received)
        harness.require(
            metered == (declared.up, declared.down),
            f"{metered[0]} bytes up and {metered[1]} down, declared are {declared.up} and {declared.down}",
        )
    return differences


def verify_outputs(program: ir.Program, expected: Expected, result: ImageResult) -> float:
    worst = 0.0
    for output, mean, tolerance in zip(
        result.outputs, expected.mean, expected.tolerance, strict=True
    ):
        difference = np.abs(np.asarray(output.logits) - mean)
        wrong = int(np.count_nonzero(~(difference <= tolerance)))
        harness.require(
            wrong == 0,
            f"output {output.name}: {wrong} of {mean.size} logits differ from the cleartext executor, by up to "
            f"{difference.max():.3g} where {tolerance.max():.3g} is allowed ({program.rounding} rounding)",
        )
        worst = max(worst, float(difference.max()))
    return worst


# --- the two processes ----------------------------------------------------------------------------


def profile_file(work: Path, party: str) -> Path:
    return work / f"profile-{party}.json"


def command(work: Path, party: str, profiled: bool) -> list[str]:
    """How a party's process begins: the `moiety` command, or the same with stop-watches."""
    if profiled:
        return [sys.executable, "-m", "benchmarks.profiled", str(profile_file(work, party))]
    return [sys.executable, "-m", "moiety.runtime.cli"]


@contextmanager
def serving(
    folder: Path, work: Path, pinned: bool, profiled: bool = False
) -> Iterator[tuple[str, float, harness.PeakMemory]]:
    """A vendor's process for two clients; gives its address, seconds
    until it listened, and its memory.
    """
    log = work / "server.log"
    started = time.perf_counter()
    with log.open("w") as stderr:
        arguments = ["serve", str(folder), "--listen", "127.0.0.1:0", "--max-clients", "2"]
        argv = [*command(work, "server", profiled), *arguments]
        server = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=stderr, text=True)
    bind(server.pid, 0, pinned)
    memory = harness.PeakMemory(server.pid)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line.startswith("listening "):
            raise NetworkFailure(
                f"the server ended with exit code {server.wait()}:\n{log.read_text()[-2000:]}"
            )
        yield line.removeprefix("listening ").strip(), time.perf_counter() - started, memory
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait(timeout=30)


def infer(
    folder: Path, files: Sequence[Path], address: str, work: Path, options: argparse.Namespace
) -> tuple[Results, int]:
    """A hospital's process with the public folder alone; its results file and its peak memory."""
    output = work / "results.json"
    public = folder / artifacts.PUBLIC
    arguments = [
        "infer",
        str(public),
        *map(str, files),
        "--connect",
        address,
        "--ot",
        options.ot,
        "-o",
        str(output),
    ]
    argv = [*command(work, "client", options.profile), *arguments]
    client = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    bind(client.pid, 1, not options.no_pin)
    memory = harness.PeakMemory(client.pid)
    _, errors = client.communicate()
    if client.returncode:
        raise NetworkFailure(
            f"the client ended with exit code {client.returncode}:\n{errors[-2000:]}"
        )
    return msgspec.json.decode(output.read_bytes(), type=Results), memory.stop()


def bind(pid: int, party: int, pinned: bool) -> None:
    """One core for each party, before its process has started threads."""
    cores = harness.cores()
    if pinned and len(cores) > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {cores[party % len(cores)]})


# --- rows -----------------------------------------------------------------------------------------


def row_of(
    number: int,
    results: Results,
    result: ImageResult,
    expected: Expected,
    difference: float,
    floats: dict[int, F64],
) -> Row:
    kinds = result.by_step_kind
    secure = [np.asarray(output.values) for output in result.outputs]
    return {
        "run": number,
        "kernels_backend": results.kernels["client"],
        "kernels_backend_server": results.kernels["server"],
        "total_s": result.seconds,
        "client_cpu_s": result.cpu_seconds,
        "server_cpu_s": result.server.cpu_seconds,
        "bytes_client_to_server": result.bytes_sent,
        "bytes_server_to_client": result.bytes_received,
        "bytes_total": result.bytes_sent + result.bytes_received,
        "bytes_by_step_kind": {kind: cost.sent + cost.received for kind, cost in kinds.items()},
        "seconds_by_step_kind": {kind: cost.seconds for kind, cost in kinds.items()},
        "rounds": result.flights,
        "verified": True,
        "max_diff_cleartext": difference,
        "max_diff_float": max(
            float(np.abs(a - b).max()) for a, b in zip(secure, floats.values(), strict=True)
        ),
        "overflows": expected.overflows,
    }


def report(rows: Sequence[Row]) -> None:
    def middle(name: str) -> Any:
        return harness.median([row[name] for row in rows])

    kinds = rows[0]["seconds_by_step_kind"]
    for kind in sorted(kinds, key=lambda kind: -kinds[kind]):
        seconds = harness.median([row["seconds_by_step_kind"][kind] for row in rows])
        harness.say(
            f"  {kind:10} {seconds:8.2f} s {rows[0]['bytes_by_step_kind'][kind] / 1e6:10.1f} MB"
        )
    harness.say(
        f"{rows[0]['rounding']}: {middle('total_s'):.2f} s (median of {len(rows)}), "
        f"{middle('bytes_total') / 1e9:.3f} GB, {rows[0]['rounds']} flights, "
        f"CPU {middle('server_cpu_s'):.1f} s server, {middle('client_cpu_s'):.1f} s client, "
        f"memory {middle('peak_rss_server') / 1e9:.2f} and {middle('peak_rss_client') / 1e9:.2f} GB; "
        f"preparation {rows[0]['prepare_s']:.1f} s, set-up {rows[0]['setup_s']:.2f} s"
    )


if __name__ == "__main__":
    try:
        main()
    except MoietyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
