"""One image over different networks: loopback as it is, and made into a LAN (3 Gbit/s, 0.8 ms) and
a WAN (400 Mbit/s, 40 ms) by a shaping relay between the two processes.

    python -m benchmarks.networks --rounding stochastic --runs 3 --json rows.json

As benchmarks.inference (verify first, then time; the same fields and one JSON object per run), plus
`link`: name, round-trip time and bandwidth asked for. `network` is what the two parties measured,
and `silent_from` what they chose.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import msgspec

from benchmarks import harness, inference
from benchmarks.corpus import example_image
from benchmarks.harness import Row
from benchmarks.relay import LAN, WAN, Link, relay
from moiety.compiler.simulate import FloatModel
from moiety.protocols.errors import MoietyError
from moiety.runtime.intake import pictures as images
from moiety.runtime.program import folder as artifacts

LINKS: dict[str, Link | None] = {"loopback": None, "lan": LAN, "wan": WAN}


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    parser = inference.parser()
    parser.prog, parser.description = "python -m benchmarks.networks", __doc__
    parser.add_argument(
        "--links",
        nargs="+",
        choices=sorted(LINKS),
        default=list(LINKS),
        help="default: all, loopback first",
    )
    options = parser.parse_args(arguments)
    if options.profile:
        parser.error("--profile is an option of benchmarks.inference alone")
    harness.one_thread()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="moiety-networks-") as scratch:
        work = Path(scratch)
        folder = options.compiled or work / "compiled"
        inference.compiled(folder, options, work)
        program, weights = artifacts.load_vendor(folder)
        harness.require(
            program.rounding == options.rounding,
            f"{folder} was compiled with {program.rounding} rounding",
        )
        image = options.image or example_image(work)
        tensor = images.load(image, program.input.shape, program.preprocessing)
        expected = inference.simulate(program, weights, tensor, options.simulations, options.seed)
        floats = FloatModel(options.model, program)(tensor)
        for name in options.links:
            link = LINKS[name]
            with inference.serving(folder, work, not options.no_pin) as (address, _, memory):
                with nullcontext(address) if link is None else relay(link, address) as reached:
                    first, _ = inference.infer(folder, [image], reached, work, options)
                    inference.verify(program, expected, first)
                    results, client_rss = inference.infer(
                        folder, [image] * options.runs, reached, work, options
                    )
                differences = inference.verify(program, expected, results)
                common: Row = {
                    "benchmark": "networks",
                    **harness.environment(),
                    "link": asdict(link) if link else name,
                }
                common |= {
                    "rounding": program.rounding,
                    "model": options.model.name,
                    "setup_s": results.setup_seconds,
                }
                common |= {
                    "silent_from": results.silent_from,
                    "network": msgspec.to_builtins(results.network),
                }
                common |= {"peak_rss_server": memory.stop(), "peak_rss_client": client_rss}
            found = [
                common | inference.row_of(number, results, result, expected, difference, floats)
                for number, (result, difference) in enumerate(
                    zip(results.images, differences, strict=True)
                )
            ]
            seconds = harness.median([row["total_s"] for row in found])
            harness.say(
                f"{name:9} {seconds:7.2f} s (median of {len(found)}), {found[0]['bytes_total'] / 1e9:.3f} GB, "
                f"{found[0]['rounds']} flights, silent correlations from {results.silent_from} bits"
            )
            rows += found
    harness.write_rows(rows, options.json)
    return rows


if __name__ == "__main__":
    try:
        main()
    except MoietyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
