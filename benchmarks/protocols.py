"""Protocols one by one: ReLU, truncation, max-pool, convolution, correlations.
Two processes over loopback TCP.

    python -m benchmarks.protocols                       all, at the sizes at which the peers were measured
    python -m benchmarks.protocols --only relu --runs 5
    python -m benchmarks.protocols --elements 4096 --pool 4,16,16 --shrink 16        small, for a try

Every case is verified first: its result against the same function on open integers, its traffic
against the declared cost, byte for byte. Then it is timed. One JSON object per case; `seconds` is
the median over the runs of the time from the first party's start to the last one's end. Set-up
(base transfers) and `prepare_s` (inputs; for a convolution the hint, once per model) are not in it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import Row
from benchmarks.micro import Case, cases
from benchmarks.parties import Call, Pair, two_processes
from moiety.protocols.cost import Generator, Wire
from moiety.protocols.ot.generators import NEVER_SILENT, Mixed
from moiety.runtime.party.generators import ALWAYS_SILENT

OT = {"softspoken": NEVER_SILENT, "mixed": 4, "silent": ALWAYS_SILENT}
"""Name -> smallest choice that takes silent correlations; `mixed` is what
`auto` takes on a fast network.
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.protocols",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--elements",
        type=harness.positive,
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
        type=harness.positive,
        default=1,
        metavar="N",
        help="divide channels and filters of the convolutions (default 1)",
    )
    p.add_argument(
        "--only", nargs="+", metavar="WORD", help="only cases whose name contains one of the words"
    )
    p.add_argument(
        "--runs",
        type=harness.positive,
        default=3,
        metavar="N",
        help="timed runs per case after the verified one (default 3)",
    )
    p.add_argument("--seed", type=int, default=1, help="seed of inputs and weights (default 1)")
    p.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the rows there, as one list (default: one per line to standard output)",
    )
    p.add_argument(
        "--ot",
        choices=OT,
        default="softspoken",
        help="generator of correlations (default softspoken)",
    )
    p.add_argument(
        "--no-pin", action="store_true", help="do not bind each party to a core of its own"
    )
    return p


def _shape(text: str) -> tuple[int, int, int]:
    parts = tuple(map(harness.positive, text.split(",")))
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f"{text} is not C,H,W")
    return parts[0], parts[1], parts[2]


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    chosen = [
        case
        for case in cases(options.elements, options.pool, options.shrink, options.seed)
        if not options.only or any(word in case.name for word in options.only)
    ]
    if not chosen:
        parser().error(f"no case is named like {' or '.join(options.only)}")
    environment = {
        "benchmark": "protocols",
        **harness.environment(),
        "seed": options.seed,
        "pinned": not options.no_pin,
        "ot": options.ot,
    }
    rows: list[Row] = []
    started = time.monotonic()
    generator = Mixed(OT[options.ot])
    with two_processes(not options.no_pin, OT[options.ot]) as pair:
        pair.run()
        setup = time.monotonic() - started
        for case in chosen:
            row = environment | {"setup_s": setup} | measure(pair, generator, case, options.runs)
            rows.append(row)
            milliseconds, megabytes = 1e3 * row["seconds"], row["bytes_total"] / 1e6
            harness.say(
                f"{case.name:36} {milliseconds:10.1f} ms  {megabytes:10.2f} MB  {row['rounds']:3} flights"
            )
    harness.write_rows(rows, options.json)
    return rows


def measure(pair: Pair, generator: Generator, case: Case, runs: int) -> Row:
    """Verify, then time. Raises `VerificationFailed`. `generator` follows the
    pair's, from a fresh session on.
    """
    prepared = pair.make(case.maker, *case.arguments)
    first = pair.run(results=True)
    verify(case, first, generator)
    timed = [pair.run() for _ in range(runs)]
    for call in timed:
        verify_traffic(case, call, case.declared.on(generator))
    seconds = harness.median([call.seconds for call in timed])
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
        "server_cpu_s": harness.median([call.server.cpu_seconds for call in timed]),
        "client_cpu_s": harness.median([call.client.cpu_seconds for call in timed]),
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
        f"{case.name}: {sent[0]} bytes up, {sent[1]} down; declared: {declared.up}, {declared.down}",
    )
    harness.require(
        call.client.flights == declared.rounds,
        f"{case.name}: {call.client.flights} flights, declared are {declared.rounds}",
    )


if __name__ == "__main__":
    try:
        main()
    except harness.VerificationFailed as error:
        sys.exit(f"error: {error}")
