"""A TCP relay that gives a connection a round-trip time and a bandwidth: loopback made into
a LAN or a WAN.

Bytes of each direction leave the relay no faster than the bandwidth, and half a round trip after
they came. What waits is bounded by the bandwidth-delay product plus a buffer, so a sender feels the
narrow link as it would feel a real one. Shaping in the kernel (netem) would need root and a module
that containers often lack; the relay needs neither.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from moiety.protocols.network import Network

CHUNK = 256 * 1024
BUFFER = 4 * 1024 * 1024


class _Direction:
    """One way: a thread that reads and stamps, a thread that waits and writes."""

    def __init__(
        self, rtt: float, bandwidth: float, source: socket.socket, target: socket.socket
    ) -> None:
        self._rtt, self._bandwidth = rtt, bandwidth
        self._source, self._target = source, target
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._limit = BUFFER + int(bandwidth * rtt / 8)
        self._changed = threading.Condition()
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        line_free = 0.0
        with contextlib.suppress(OSError):
            while data := self._source.recv(CHUNK):
                now = time.perf_counter()
                # The line transmits one chunk after the other; propagation comes on top.
                line_free = max(line_free, now) + 8 * len(data) / self._bandwidth
                with self._changed:
                    self._changed.wait_for(lambda: self._size < self._limit)
                    self._waiting.append((line_free + self._rtt / 2, data))
                    self._size += len(data)
                    self._changed.notify_all()
        with self._changed:
            self._waiting.append((time.perf_counter() + self._rtt / 2, b""))
            self._changed.notify_all()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                due, data = self._waiting[0]
            pause = due - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            try:
                if data:
                    self._target.sendall(data)
                else:
                    self._target.shutdown(socket.SHUT_WR)
            except OSError:
                data = b""
            with self._changed:
                self._waiting.popleft()
                self._size -= len(data)
                self._changed.notify_all()
            if not data:
                return


@contextmanager
def relay(network: Network, address: str) -> Iterator[str]:
    """Listens on a free port of this machine and relays every connection to `address` as over the
    network, whose client is who connects; gives its own address.
    """
    host, _, port = address.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection((host, int(port)))
                except OSError:
                    client.close()
                    continue
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Direction(network.rtt, network.up, client, server)
                _Direction(network.rtt, network.down, server, client)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # Closing alone would leave the thread in its accept.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
