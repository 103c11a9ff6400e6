"""What an image costs when several go through one run: seconds, bytes and rounds per image against
the batch size.

    python -m benchmarks.batches compiled/ --batches 1 2 4 8 --json rows.json
    python -m benchmarks.batches compiled/ --batches 1 2 4 8 16 32 --declared

Each size runs in two processes over loopback TCP, one core each; every run is verified before its
figures are kept: the first and the last image against the cleartext executor, bytes and flights
against the declared ones. `--declared` runs nothing and gives the declared bytes and flights alone,
which are exact.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support import command_line, harness
from benchmarks.support.command_line import positive
from benchmarks.support.harness import Row
from benchmarks.support.oracle import Expected, simulate
from benchmarks.support.parties import Call, two_processes
from moiety.protocols.arrays import F32
from moiety.protocols.ot.generators import Mixed
from moiety.protocols.session import Session
from moiety.runtime.cost import traffic
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.program import Program
from moiety.runtime.program.artifacts import load_program, load_vendor, weights_file

MAKER = "benchmarks.batches:make"


def parser() -> argparse.ArgumentParser:
    shared = ("--runs", "--simulations", "--silent-from", "--seed", "--json")
    p = command_line.parser("batches", __doc__, *shared)
    p.set_defaults(runs=1, simulations=4)
    p.add_argument(
        "folder", type=Path, metavar="DIR", help="a compiled folder; hints are kept in it"
    )
    p.add_argument(
        "--batches",
        type=positive,
        nargs="+",
        default=[1, 2, 4, 8],
        metavar="B",
        help="images per run (default 1 2 4 8)",
    )
    p.add_argument(
        "--declared", action="store_true", help="run nothing: declared bytes and flights"
    )
    return p


def images(program: Program, seed: int, count: int) -> F32:
    """Noise that fills the input's range."""
    step = program.input
    spread = step.scale * 2.0 ** ((step.value_bits or step.bits) - 3)
    return (
        np.random.default_rng(seed)
        .normal(scale=spread, size=(count, *step.shape))
        .astype(np.float32)
    )


def make(session: Session, folder: Path, count: int, seed: int) -> Callable[[], Any]:
    """A party's call: one run of `count` images; the client's returns all outputs' logits."""
    if session.is_server:
        program, weights = load_vendor(folder)
        server = ServerExecutor(program, weights, tuple(sorted({1, count})))
        server.prepare(keep_beside=weights_file(folder))
        return lambda: server.run(session, images=count) and None
    client = ClientExecutor(program := load_program(folder))
    client.layout(count)
    tensors = list(images(program, seed, count))
    return lambda: [
        [o.values for o in outputs] for outputs in client.run_batch(session, tensors)[0]
    ]


def declared(program: Program, count: int, generator: Mixed) -> Row:
    """Bytes up, down and flights of one run, from a session's state of the generators on."""
    wire = traffic.run_cost(program, count).on(generator)
    return {"up": wire.up, "down": wire.down, "flights": len(wire.flights)}


def measure(program: Program, options: argparse.Namespace, count: int) -> list[Row]:
    weights = load_vendor(options.folder)[1]
    tensors = images(program, options.seed, count)
    expected = {
        i: simulate(program, weights, tensors[i], options.simulations, options.seed)
        for i in {0, count - 1}
    }
    generator = Mixed(options.silent_from)
    rows = []
    with two_processes(silent_from=options.silent_from) as pair:
        prepare_s, _ = pair.make(MAKER, options.folder, count, options.seed)
        for number in range(options.runs):
            call = pair.run(results=True)
            verify(call, declared(program, count, generator), expected)
            rows.append(row(call, count) | {"run": number, "prepare_s": prepare_s})
    return rows


def verify(call: Call, wire: Row, expected: dict[int, Expected]) -> None:
    metered = {"up": call.client.sent, "down": call.client.received, "flights": call.client.flights}
    harness.require(metered == wire, f"metered {metered}, declared {wire}")
    for i, one in expected.items():
        one.require(call.client.result[i], f"image {i} of the batch")


def row(call: Call, count: int) -> Row:
    """Everything but `flights` and memory is per image."""
    return {
        "batch": count,
        "seconds": call.seconds / count,
        "server_cpu_s": call.server.cpu_seconds / count,
        "client_cpu_s": call.client.cpu_seconds / count,
        "up": call.client.sent / count,
        "down": call.client.received / count,
        "flights_per_run": call.client.flights,
        "flights": call.client.flights / count,
        "peak_rss_server": call.server.peak_rss,
        "peak_rss_client": call.client.peak_rss,
    }


def report(rows: Sequence[Row]) -> None:
    """A table in Markdown, to standard error."""
    harness.say(
        "| images per run | up, MB | down, MB | flights | server CPU, s | client CPU, s | memory, "
        "GB |"
    )
    harness.say("|--:|--:|--:|--:|--:|--:|--:|")
    for r in rows:
        timed = "seconds" in r
        memory = (
            f"{r['peak_rss_server'] / 1e9:.2f} / {r['peak_rss_client'] / 1e9:.2f}" if timed else ""
        )
        cpu = [f"{r[name]:.2f}" if timed else "" for name in ("server_cpu_s", "client_cpu_s")]
        harness.say(
            f"| {r['batch']} | {r['up'] / 1e6:.1f} | {r['down'] / 1e6:.1f} | {r['flights']:.1f} | "
            f"{cpu[0]} | {cpu[1]} | {memory} |"
        )


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    harness.one_thread()
    program = load_program(options.folder)
    rows: list[Row] = []
    common: Row = {
        "benchmark": "batches",
        "program": program.digest(),
        "silent_from": options.silent_from,
    }
    common |= harness.environment()
    for count in options.batches:
        if options.declared:
            wire = declared(program, count, Mixed(options.silent_from))
            rows.append(common | {"batch": count} | {name: wire[name] / count for name in wire})
        else:
            rows += [common | r for r in measure(program, options, count)]
        harness.say(f"{count} images in a run: done")
        if options.json is not None:  # whatever comes of the larger sizes
            harness.write_rows(rows, options.json)
    report(rows)
    if options.json is None:
        harness.write_rows(rows, None)
    return rows


if __name__ == "__main__":
    command_line.run(main)
