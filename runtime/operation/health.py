"""`/healthz` and `/metrics` for this machine: a small HTTP server in a process of its own.

The process is forked before any weights are read and before any thread begins: what speaks HTTP
holds nothing secret, and the process that serves clients can go on to fork, which a thread in it
would make unsafe. Events reach it through a pipe, a line of JSON each, shorter than what a pipe
takes at once, so that every descendant of the process may write to it. When the last writer is
gone, it ends.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.runtime.operation.events import AnyEvent, Deviated, Event, Left, Refused
from moiety.runtime.operation.metrics import Metrics

SECONDS_FOR_A_REQUEST = 5.0
_decoder = msgspec.json.Decoder(AnyEvent)


class _Pages(BaseHTTPRequestHandler):
    """GET and HEAD of two pages."""

    metrics: Metrics
    timeout = SECONDS_FOR_A_REQUEST
    server_version = "moiety"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path == "/healthz":
            state = self.metrics.state
            self._answer(200 if state == "ready" else 503, "text/plain", f"{state}\n".encode())
        elif self.path == "/metrics":
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", self.metrics.text())
        else:
            self._answer(404, "text/plain", b"there is /healthz and /metrics\n")

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: a scrape every few seconds is no event."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: who asks has gone."""


@dataclass
class Health:
    """The endpoint as its parent sees it: where it is, and how it is told what happens."""

    address: str
    process: int
    _pipe: int

    @classmethod
    def at(cls, host: str, port: int) -> Health:
        """Starts the process; port 0 takes any free one. Call it before threads are started. Raises
        `BadInput` for an address that others can reach, `NetworkFailure` for one that is taken.
        """
        http = _listen(host, port)
        receive, send = os.pipe()
        os.set_blocking(send, False)
        process = os.fork()
        if process == 0:
            os.close(send)
            _be_the_endpoint(http, receive)
        os.close(receive)
        http.socket.close()
        return cls(f"{host}:{http.server_port}", process, send)

    def record(self, event: Event) -> None:
        """Never waits and never fails: when the endpoint is behind or gone, the event is lost to
        the metrics.
        """
        with contextlib.suppress(OSError):
            os.write(self._pipe, msgspec.json.encode(_short(event)) + b"\n")

    def close(self) -> None:
        os.close(self._pipe)


def _short(event: Event) -> Event:
    """Without the words that no metric counts: a pipe takes 4096 bytes in one piece."""
    if isinstance(event, Refused):
        return msgspec.structs.replace(event, message="")
    if isinstance(event, Left | Deviated):
        return msgspec.structs.replace(event, reason="")
    return event


def _listen(host: str, port: int) -> _Http:
    try:
        local = host == "localhost" or ipaddress.IPv4Address(host).is_loopback
    except ipaddress.AddressValueError:
        local = False
    if not local:
        raise BadInput(
            f"--metrics {host}:{port} is not an address of this machine alone; use 127.0.0.1, and "
            "let what collects metrics for others reach it through a proxy that asks who they are"
        )
    try:
        return _Http((host, port), _Pages)
    except (OSError, OverflowError) as error:
        raise NetworkFailure(
            f"cannot listen at {host}:{port}: {error}; choose another --metrics address"
        ) from error


def _be_the_endpoint(http: _Http, events: int) -> None:
    """The child's whole life."""
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # it ends with its parent
        _Pages.metrics = metrics = Metrics()
        threading.Thread(target=http.serve_forever, daemon=True).start()
        with open(events, "rb") as lines:
            for line in lines:
                metrics.record(_decoder.decode(line))
        status = 0
    finally:
        os._exit(status)
