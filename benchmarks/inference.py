"""One image through vendor and hospital: `moiety serve` and `moiety infer`, two processes
over loopback TCP.

    python -m benchmarks.inference --runs 3 --json rows.json
    python -m benchmarks.inference --model model.onnx --image x-ray.png --compiled kept/

Compiles the model (or takes a compiled folder), runs the image once and verifies: exact rounding
must equal the cleartext executor bit for bit, stochastic rounding must lie within the executor's
distribution, and bytes and flights must be the declared ones. Then a second client runs the image
`--runs` times, each run verified as well; one JSON object per run. Times exclude compilation,
`prepare_s` (the server's start, with all hints) and `setup_s` (base transfers of one connection),
which are in the row too. With `--profile` each step kind's time at either party is split into
kernels, matrix products, Python, socket and waiting (benchmarks/support/profiled_command.py), in
the rows and as a table.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.support import command_line, harness, one_image, profile_tables
from benchmarks.support.harness import Row
from benchmarks.support.two_commands import PARTIES, TwoCommands
from moiety.runtime.program import Linear, Program, Relu


def parser() -> argparse.ArgumentParser:
    p = one_image.parser("inference", __doc__)
    p.add_argument("--profile", action="store_true", help="show what each party's time goes into")
    return p


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    harness.one_thread()
    with tempfile.TemporaryDirectory(prefix="moiety-benchmark-") as scratch:
        work = Path(scratch)
        subject = one_image.make_subject(options, work)
        commands = TwoCommands(work, not options.no_pin, options.profile, options.prepared)
        measured = one_image.measure(subject, commands, options, None)
        profiles = [
            profile_tables.load(commands.profile_file(party), options.runs)
            for party in PARTIES
            if options.profile
        ]
    common: Row = {
        "benchmark": "inference",
        **harness.environment(),
        "seed": options.seed,
        "model": options.model.name,
        "plan": plan_of(subject.program),
        "compile_s": subject.compile_s,
        "ot": options.ot,
    }
    rows = [common | row for row in one_image.rows(subject, measured)]
    report(rows)
    if options.profile:
        for row, server, client in zip(rows, *profiles, strict=True):
            row["profile"] = profile_tables.row(server, client)
        for party, found in zip(PARTIES, profiles, strict=True):
            harness.say("\n" + "\n".join(profile_tables.table(party, found)))
        harness.say("\n" + "\n".join(profile_tables.kernel_table(*profiles)))
    harness.write_rows(rows, options.json)
    return rows


def plan_of(program: Program) -> Row:
    """What was planned, in short."""
    linears = [step for step in program.steps if isinstance(step, Linear)]
    kinds = [step.kind for step in program.steps]
    bits = [step.bits for step in linears]
    return {
        "program": program.digest(),
        "steps": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "relu_bits": sorted(
            {program.steps[s.inputs[0]].bits for s in program.steps if isinstance(s, Relu)}
        ),
        "linear_bits": [min(bits), max(bits)] if bits else [],
        "weight_bits": sorted({step.weight_bits for step in linears}),
        "rlwe": sorted(
            {f"N={s.rlwe.degree}, {len(s.rlwe.primes)} primes, guard {s.guard}" for s in linears}
        ),
    }


def report(rows: Sequence[Row]) -> None:
    """Medians over the runs, to standard error."""

    def middle(name: str) -> Any:
        return median([row[name] for row in rows])

    kinds = rows[0]["seconds_by_step_kind"]
    for kind in sorted(kinds, key=lambda kind: -kinds[kind]):
        seconds = median([row["seconds_by_step_kind"][kind] for row in rows])
        harness.say(
            f"  {kind:10} {seconds:8.2f} s {rows[0]['bytes_by_step_kind'][kind] / 1e6:10.1f} MB"
        )
    harness.say(
        f"{rows[0]['rounding']}: {middle('total_s'):.2f} s (median of {len(rows)}), "
        f"{middle('bytes_total') / 1e9:.3f} GB, {rows[0]['rounds']} flights, "
        f"CPU {middle('server_cpu_s'):.1f} s server, {middle('client_cpu_s'):.1f} s client, "
        f"memory {middle('peak_rss_server') / 1e9:.2f} and "
        f"{middle('peak_rss_client') / 1e9:.2f} GB; "
        f"preparation {rows[0]['prepare_s']:.1f} s, set-up {rows[0]['setup_s']:.2f} s"
    )


if __name__ == "__main__":
    command_line.run(main)
