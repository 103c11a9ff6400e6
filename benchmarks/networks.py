"""One image over different networks: loopback as it is, and made into a LAN (3 Gbit/s, 0.8 ms), a
WAN (400 Mbit/s, 40 ms) or any other by a shaping relay between the two processes.

    python -m benchmarks.networks --runs 3 --json rows.json
    python -m benchmarks.networks --links wan 20ms,1Gbit/s
    python -m benchmarks.networks --links lan wan --batch 16

As benchmarks.inference (verify first, then time; the same fields and one JSON object per run), plus
`link`: name, round-trip time and bandwidth asked for. `network` is what the two parties measured,
and `silent_from` what they chose.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.support import command_line, harness, one_image
from benchmarks.support.harness import Row
from benchmarks.support.one_image import Subject
from benchmarks.support.two_commands import TwoCommands
from moiety.protocols.network import LOOPBACK, parse_network


def parser() -> argparse.ArgumentParser:
    p = one_image.parser("networks", __doc__)
    p.add_argument(
        "--links",
        nargs="+",
        default=["loopback", "lan", "wan"],
        metavar="fast|lan|wan|loopback|RTT,BANDWIDTH",
        help="default: loopback lan wan",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    harness.one_thread()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="moiety-networks-") as scratch:
        subject = one_image.make_subject(options, Path(scratch))
        commands = TwoCommands(Path(scratch), not options.no_pin, prepared=options.prepared)
        for link in options.links:
            rows += measure(subject, commands, link, options)
    harness.write_rows(rows, options.json)
    return rows


def measure(
    subject: Subject, commands: TwoCommands, link: str, options: argparse.Namespace
) -> list[Row]:
    """The rows of one network; its words are those of `moiety inspect --network`."""
    network = parse_network(link)
    relayed = None if network == LOOPBACK else network
    measured = one_image.measure(subject, commands, options, relayed)
    common: Row = {
        "benchmark": "networks",
        **harness.environment(),
        "model": options.model.name,
        "link": {"name": link, "rtt": network.rtt, "bandwidth": network.up} if relayed else link,
    }
    rows = [common | row for row in one_image.rows(subject, measured)]
    seconds = median([row["total_s"] for row in rows])
    harness.say(
        f"{link:9} {seconds:7.2f} s (median of {len(rows)}), "
        f"{rows[0]['bytes_total'] / 1e9:.3f} GB, {rows[0]['rounds']} flights, "
        f"silent correlations from {measured.results.silent_from} bits"
    )
    return rows


if __name__ == "__main__":
    command_line.run(main)
