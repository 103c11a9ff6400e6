"""Correlations alone: what one costs either party, in processor time and on the wire. Two processes
over loopback TCP.

    python -m benchmarks.correlations
    python -m benchmarks.correlations --only silent --pieces 16

For every generator and width, correlations server -> client are drawn in pieces as large as a layer
asks for, and dropped. The first piece is verified (`w = v + u*delta`), and all bytes against the
declared ones. Then `--runs` times `--pieces` pieces are timed: processor seconds of the whole
process, its buffers and its side of the channel included, in millions a second at either party.
Refills fall where they fall; with the default pieces a run has many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from benchmarks.support import command_line, harness
from benchmarks.support.command_line import positive
from benchmarks.support.harness import Row
from benchmarks.support.parties import Call, Pair, two_processes
from benchmarks.support.protocol_cases import check_correlations
from moiety.protocols.cost import Cost, Draw, Generator
from moiety.protocols.ot.generators import ALWAYS_SILENT, NEVER_SILENT, Mixed
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.prices import WIDTHS
from moiety.protocols.session import Session

GENERATORS = {"softspoken": NEVER_SILENT, "silent": ALWAYS_SILENT}
MAKER = f"{__name__ if __name__ != '__main__' else 'benchmarks.correlations'}:make"


def parser() -> Any:
    p = command_line.parser("correlations", __doc__, "--only", "--runs", "--no-pin", "--json")
    for option, default, what in (
        ("--piece", 1 << 17, "correlations drawn at once"),
        ("--pieces", 96, "pieces in a run"),
    ):
        p.add_argument(
            option, type=positive, default=default, metavar="N", help=f"{what} (default {default})"
        )
    return p


def make(session: Session, n: int, width: int, pieces: int) -> Callable[[], Any]:
    """Draws `pieces` times n correlations of `width` bits, server -> client; returns the last:
    (delta, w) at the server, (u, v) at the client.
    """
    if session.is_server:
        assert isinstance(session.sender, TransferSender)
        sender = session.sender._vole
        return lambda: (sender.delta, [sender.extend(n, width) for _ in range(pieces)][-1])
    assert isinstance(session.receiver, TransferReceiver)
    receiver = session.receiver._vole

    def receive() -> Any:
        for _ in range(pieces):
            made = receiver.extend(n, width)
        return made

    return receive


def measure(pair: Pair, generator: Generator, width: int, options: Any) -> Row:
    """Verify, then time. Raises `VerificationFailed`. `generator` follows the pair's."""

    def run(pieces: int, results: bool = False) -> Call:
        pair.make(MAKER, options.piece, width, pieces)
        call = pair.run(results)
        wire = Cost((Draw("C", options.piece, width),) * pieces).on(generator)
        harness.require(
            (call.client.sent, call.server.sent) == (wire.up, wire.down),
            f"{width} bits: {call.client.sent} and {call.server.sent} bytes were sent, "
            f"{wire.up} and {wire.down} declared",
        )
        return call

    first = run(1, results=True)
    complaint = check_correlations(first.server.result, first.client.result)
    harness.require(complaint is None, f"{width} bits: {complaint}")
    calls = [run(options.pieces) for _ in range(options.runs)]
    n = options.piece * options.pieces
    server, client = (
        median(1e9 * getattr(call, side).cpu_seconds / n for call in calls)
        for side in ("server", "client")
    )
    sent = sum(call.client.sent + call.server.sent for call in calls)
    return {
        "width": width,
        "verified": True,
        "runs": options.runs,
        "correlations": n,
        "sender_ns": server,
        "receiver_ns": client,
        "elapsed_ns": median(1e9 * call.seconds / n for call in calls),
        "bits": 8 * sent / (n * options.runs),
        "rounds": calls[-1].client.flights,
        "peak_rss_server": calls[-1].server.peak_rss,
        "peak_rss_client": calls[-1].client.peak_rss,
    }


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    rows: list[Row] = []
    for name in command_line.chosen([*GENERATORS], options.only):
        generator = Mixed(GENERATORS[name])
        with two_processes(not options.no_pin, GENERATORS[name]) as pair:
            for width in WIDTHS:
                row = {
                    "benchmark": "correlations",
                    **harness.environment(),
                    "pinned": not options.no_pin,
                    "generator": name,
                    **measure(pair, generator, width, options),
                }
                rows.append(row)
                harness.say(line(row))
    harness.write_rows(rows, options.json)
    return rows


def line(row: Row) -> str:
    sender, receiver = (1e3 / row[f"{party}_ns"] for party in ("sender", "receiver"))
    return (
        f"{row['generator']:10} {row['width']} bits: {sender:6.1f} M per CPU second at the sender, "
        f"{receiver:6.1f} at the receiver; {row['bits']:6.2f} bits on the wire, "
        f"{row['elapsed_ns']:.1f} ns by the clock"
    )


if __name__ == "__main__":
    command_line.run(main)
