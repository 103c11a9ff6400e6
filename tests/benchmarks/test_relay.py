"""The shaping relay: what it delivers is what came in, no sooner than the network
allows, and ends are passed on.

Lower bounds alone: a busy machine makes a link slower, never faster.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.support.relay import BUFFER, relay
from moiety.protocols.network import Network

FAST = Network(1e-3, 1e10, 1e10)


@contextmanager
def echo() -> Iterator[str]:
    """A server that returns what it gets, until the other side has ended its direction."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            while data := peer.recv(1 << 16):
                peer.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        thread.join(timeout=5)


def send(connection: socket.socket, data: bytes) -> None:
    """All of it, and the end of this direction."""
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def exchange(network: Network, data: bytes) -> tuple[bytes, float]:
    """Send all, end, read until the end; seconds from the first byte sent to the last one back."""
    with echo() as address, relay(network, address) as reached:
        host, _, port = reached.rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            started = time.perf_counter()
            writer = threading.Thread(target=send, args=(connection, data))
            writer.start()
            parts = []
            while part := connection.recv(1 << 16):
                parts.append(part)
            writer.join()
            return b"".join(parts), time.perf_counter() - started


def test_bytes_arrive_in_order_and_the_end_is_passed_on() -> None:
    data = np.random.default_rng(1).bytes(2 * BUFFER + 12345)
    back, _ = exchange(FAST, data)
    assert back == data


def test_a_byte_takes_a_round_trip() -> None:
    network = Network(60e-3, 1e10, 1e10)
    back, seconds = exchange(network, b"x")
    assert back == b"x"
    assert seconds >= network.rtt


def test_bytes_take_their_share_of_the_bandwidth() -> None:
    """Both directions carry them at the same time, so once is what there is to wait."""
    network, data = Network(1e-3, 40e6, 40e6), bytes(1 << 20)
    back, seconds = exchange(network, data)
    assert back == data
    assert seconds >= 8 * len(data) / network.up + network.rtt


def test_a_missing_server_ends_the_client_and_not_the_relay() -> None:
    """Nothing listens behind the relay: each client sees an end, not a wait."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with relay(FAST, f"127.0.0.1:{port}") as reached:
        host, _, port = reached.rpartition(":")
        for _ in range(2):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                assert connection.recv(1) == b""
