"""What TLS costs a connection: bytes a second, processor seconds a gigabyte, and a round trip,
over plain TCP and over TLS, between two processes of this machine.

    python -m benchmarks.tls
    python -m benchmarks.tls --megabytes 4000 --json tls.json

Each way the bytes are checked first. Processor seconds are of both ends together.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.support.command_line import parser, positive, run
from benchmarks.support.harness import Row, environment, require, say, write_rows
from moiety.runtime.party.credentials import Credentials
from moiety.runtime.party.endpoints import Listener, connect
from moiety.runtime.party.keystore import KeyStore
from moiety.runtime.party.transport import TcpChannel

MESSAGE = 4_000_000
SMALL = 100


def two_sides(folder: Path) -> tuple[Credentials, Credentials]:
    """Who trust each other."""
    server, client = KeyStore(folder / "server"), KeyStore(folder / "client")
    theirs, ours = server.new("server", 1), client.new("client", 1)
    server.trust("client", ours)
    client.trust("server", theirs)
    return Credentials.of_store(server.folder), Credentials.of_store(client.folder)


def pattern() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, MESSAGE, np.uint8)


def serve(listener: Listener, messages: int, trips: int) -> None:
    """The other end: it sends, then echoes, and at last says how long its processor worked."""
    channel = None
    while channel is None:
        channel = listener.accept()
    data = pattern()
    channel.recv(1)
    before = time.process_time()
    for _ in range(messages):
        channel.send(data)
    channel.flush()
    channel.recv(1)
    spent = time.process_time() - before
    for _ in range(trips):
        channel.send(channel.recv(SMALL))
    channel.send(np.array([spent]))
    channel.close()


def measure(name: str, channel: TcpChannel, messages: int, trips: int) -> Row:
    data = pattern()
    start, before = time.perf_counter(), time.process_time()
    channel.send(b"\1")
    require(np.array_equal(channel.recv(MESSAGE), data), "the bytes that were sent arrive")
    for _ in range(messages - 1):
        channel.recv(MESSAGE)
    seconds, spent = time.perf_counter() - start, time.process_time() - before
    channel.send(b"\1")
    start = time.perf_counter()
    for _ in range(trips):
        channel.send(data[:SMALL])
        channel.recv(SMALL)
    trip = (time.perf_counter() - start) / trips
    spent += float(channel.recv(8).view(np.float64)[0])
    gigabytes = messages * MESSAGE / 1e9
    return {
        "line": name,
        "gigabytes_per_second": gigabytes / seconds,
        "cpu_seconds_per_gigabyte": spent / gigabytes,
        "round_trip_us": 1e6 * trip,
    }


def both_ends(
    name: str, sides: tuple[Credentials | None, Credentials | None], messages: int, trips: int
) -> Row:
    """Two processes, so that neither waits for the other's interpreter."""
    listener = Listener.at("127.0.0.1", 0, credentials=sides[0])
    child = os.fork()
    if not child:
        serve(listener, messages, trips)
        os._exit(0)
    channel = connect("127.0.0.1", listener.port, credentials=sides[1])
    listener.close()
    row = measure(name, channel, messages, trips)
    channel.close()
    os.waitpid(child, 0)
    return row


def main() -> None:
    p = parser("tls", __doc__, "--json")
    p.add_argument("--megabytes", type=positive, default=1000, help="sent each time")
    p.add_argument("--trips", type=positive, default=3000, help="round trips")
    p.add_argument("--repeats", type=positive, default=3, help="the fastest counts")
    options = p.parse_args()
    messages = max(1, options.megabytes * 1_000_000 // MESSAGE)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        keys = two_sides(Path(folder))
        for name, sides in (("plain TCP", (None, None)), ("TLS 1.3", keys)):
            made = [both_ends(name, sides, messages, options.trips) for _ in range(options.repeats)]
            best = max(made, key=lambda row: row["gigabytes_per_second"])
            say(", ".join(f"{k} {v:.2f}" if isinstance(v, float) else v for k, v in best.items()))
            rows.append({**best, **environment()})
    write_rows(rows, options.json)


if __name__ == "__main__":
    run(main)
