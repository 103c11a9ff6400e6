"""Protocols one by one: ReLU, truncation, max-pool, convolution, correlations. Two processes
over loopback TCP.

    python -m benchmarks.protocols                       all, as large as the peers were measured
    python -m benchmarks.protocols --only relu --runs 5
    python -m benchmarks.protocols --elements 4096 --pool 4,16,16 --shrink 16         small, a try

Every case is verified first: its result against the same function on open integers, its traffic
against the declared cost, byte for byte. Then it is timed. One JSON object per case; `seconds` is
the median over the runs of the time from the first party's start to the last one's end. Set-up
(base transfers) and `prepare_s` (inputs; for a convolution the hint, once per model) are not in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median

from benchmarks.support import command_line, harness
from benchmarks.support.command_line import positive
from benchmarks.support.generators import OT
from benchmarks.support.harness import Row
from benchmarks.support.parties import Call, Pair, two_processes
from benchmarks.support.protocol_cases import Case, cases
from moiety.protocols.cost import Generator, Wire
from moiety.protocols.ot.generators import Mixed


def parser() -> argparse.ArgumentParser:
    shared = ("--only", "--runs", "--seed", "--no-pin", "--json")
    p = command_line.parser("protocols", __doc__, *shared)
    p.add_argument(
        "--elements",
        type=positive,
        default=1 << 20,
        metavar="N",
        help="values of the element-wise cases (default 2^20)",
    )
    p.add_argument(
        "--pool",
        type=_shape,
        default=(64, 112, 112),
        metavar="C,H,W",
        help="input of max-pool (default 64,112,112)",
    )
    p.add_argument(
        "--shrink",
        type=positive,
        default=1,
        metavar="N",
        help="divide channels and filters of the convolutions (default 1)",
    )
    p.add_argument(
        "--ot",
        choices=OT,
        default="softspoken",
        help="generator of correlations (default softspoken)",
    )
    return p


def _shape(text: str) -> tuple[int, int, int]:
    parts = tuple(map(positive, text.split(",")))
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f"{text} is not C,H,W")
    return parts[0], parts[1], parts[2]


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    found = {
        case.name: case
        for case in cases(options.elements, options.pool, options.shrink, options.seed)
    }
    names = command_line.chosen([*found], options.only)
    if not names:
        parser().error(f"no case is named like {' or '.join(options.only)}")
    started = time.monotonic()
    rows: list[Row] = []
    generator = Mixed(OT[options.ot])  # it follows the session's: one for all cases
    with two_processes(not options.no_pin, OT[options.ot]) as pair:
        pair.run()
        setup_s = time.monotonic() - started
        common: Row = {
            "benchmark": "protocols",
            **harness.environment(),
            "seed": options.seed,
            "pinned": not options.no_pin,
            "ot": options.ot,
            "setup_s": setup_s,
        }
        for name in names:
            row = common | measure(pair, generator, found[name], options.runs)
            rows.append(row)
            harness.say(
                f"{name:36} {1e3 * row['seconds']:10.1f} ms  {row['bytes_total'] / 1e6:10.2f} MB  "
                f"{row['rounds']:3} flights"
            )
    harness.write_rows(rows, options.json)
    return rows


def measure(pair: Pair, generator: Generator, case: Case, runs: int) -> Row:
    """Verify, then time. Raises `VerificationFailed`. `generator` follows the pair's, from a
    fresh session on.
    """
    prepared = pair.make(case.maker, *case.arguments)
    first = pair.run(results=True)
    verify(case, first, generator)
    timed = [pair.run() for _ in range(runs)]
    for call in timed:
        verify_traffic(case, call, case.declared.on(generator))
    seconds = median([call.seconds for call in timed])
    # Silent correlations are made in batches: their bytes fall on some calls and not on others.
    up, down = (
        round(sum(getattr(call, side).sent for call in timed) / runs)
        for side in ("client", "server")
    )
    return {
        "case": case.name,
        "arguments": [str(argument) for argument in case.arguments],
        "verified": True,
        "runs": runs,
        "seconds": seconds,
        "seconds_each": [call.seconds for call in timed],
        "prepare_s": max(prepared),
        "server_cpu_s": median([call.server.cpu_seconds for call in timed]),
        "client_cpu_s": median([call.client.cpu_seconds for call in timed]),
        "bytes_client_to_server": up,
        "bytes_server_to_client": down,
        "bytes_total": up + down,
        "rounds": max(call.client.flights for call in timed),
        "work": case.work,
        "unit": case.unit,
        "work_per_second": case.work / seconds,
        "peak_rss_server": first.server.peak_rss,
        "peak_rss_client": first.client.peak_rss,
    }


def verify(case: Case, call: Call, generator: Generator) -> None:
    """The result is right, and the traffic is the declared one."""
    wrong = case.check(call.server.result, call.client.result)
    harness.require(wrong is None, f"{case.name}: {wrong}")
    verify_traffic(case, call, case.declared.on(generator))


def verify_traffic(case: Case, call: Call, declared: Wire) -> None:
    sent, received = (
        (call.client.sent, call.server.sent),
        (call.server.received, call.client.received),
    )
    harness.require(
        sent == received == (declared.up, declared.down),
        f"{case.name}: {sent[0]} bytes up, {sent[1]} down; declared: {declared.up}, "
        f"{declared.down}",
    )
    harness.require(
        call.client.flights == len(declared.flights),
        f"{case.name}: {call.client.flights} flights, declared are {len(declared.flights)}",
    )


if __name__ == "__main__":
    command_line.run(main)
