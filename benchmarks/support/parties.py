"""Two OS processes over loopback TCP, one core each, that run protocol calls on request.

The parent, which verifies and reports, starts both. It names a *maker*, a module-level function
`(session, *arguments) -> call` that each party runs for itself: the children are started afresh and
share no memory, so inputs are made where they are needed. The call it returns is then run, and
measured, as often as wanted.
"""

from __future__ import annotations

import importlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.support.harness import high_water, one_thread, pin
from moiety.protocols import kernels
from moiety.protocols.errors import NetworkFailure
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.parallel import Workers
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from moiety.runtime.party.endpoints import Listener, connect
from moiety.runtime.party.memory import keep_freed
from moiety.runtime.party.transport import TcpChannel

Maker = Callable[..., Callable[[], Any]]


@dataclass(frozen=True)
class Side:
    """One party's view of one call. `start` and `end` are on the clock both processes share
    (CLOCK_MONOTONIC), seconds.
    """

    result: Any
    start: float
    end: float
    cpu_seconds: float
    sent: int
    received: int
    flights: int
    peak_rss: int


@dataclass(frozen=True)
class Call:
    """Both parties' views."""

    server: Side
    client: Side

    @property
    def seconds(self) -> float:
        """From the first party's start to the last one's end."""
        return max(self.server.end, self.client.end) - min(self.server.start, self.client.start)


@dataclass(frozen=True)
class Failure:
    """What a party raised; `network` when it was the connection."""

    text: str
    network: bool


@dataclass(frozen=True)
class Setting:
    """How the parties run: each on a core of its own or not, with how many threads; the narrowest
    choice that takes silent correlations; the network that comparisons are cut for; the kernels.
    """

    pinned: bool
    silent_from: int
    threads: int
    network: Network
    backend: kernels.Backend


class Pair:
    """Two parties with an open session."""

    def __init__(self, connections: tuple[Connection, Connection]) -> None:
        self._connections = connections

    def make(self, maker: str, *arguments: Any) -> tuple[float, float]:
        """Both parties make the call, `maker` being "package.module:name"; seconds this took
        (server, client).
        """
        return self._both(("make", maker, arguments))

    def run(self, results: bool = False) -> Call:
        """Both run the call made last. Results come back only when asked for (they
        may be large).
        """
        return Call(*self._both(("run", results)))

    def _both(self, request: tuple[Any, ...]) -> tuple[Any, Any]:
        """RuntimeError with what a party raised; afterwards the pair is of no more use."""
        for connection in self._connections:
            connection.send(request)
        server, client = (_answer(connection) for connection in self._connections)
        failures = [answer for answer in (server, client) if isinstance(answer, Failure)]
        if failures:
            # The party that failed first is the cause; the other one then only saw the
            # connection end.
            raise RuntimeError(min(failures, key=lambda failure: failure.network).text)
        return server, client


def _answer(connection: Connection) -> Any:
    try:
        return connection.recv()
    except EOFError:
        return Failure("a party's process ended without a word", network=False)


@contextmanager
def two_processes(
    pinned: bool = True,
    silent_from: int = NEVER_SILENT,
    threads: int = 1,
    network: Network = LAN,
) -> Iterator[Pair]:
    """Start both parties, connect them, run the base transfers; ends both on leaving. The
    parent's kernel back end holds in both, each has `threads` threads, and comparisons are cut
    for `network`.
    """
    one_thread()
    setting = Setting(pinned, silent_from, threads, network, kernels.backend_name())
    context = multiprocessing.get_context("spawn")
    server, client = context.Pipe(), context.Pipe()
    processes = [
        context.Process(target=_party, args=(role, far, setting), daemon=True)
        for role, far in ((Role.SERVER, server[1]), (Role.CLIENT, client[1]))
    ]
    for process in processes:
        process.start()
    for _, far in (server, client):
        far.close()
    try:
        port = _answer(server[0])
        if isinstance(port, Failure):
            raise RuntimeError(port.text)
        client[0].send(port)
        yield Pair((server[0], client[0]))
    finally:
        for near, _ in (server, client):
            near.close()
        for process in processes:
            process.join(timeout=5)
            if process.is_alive():
                process.terminate()


def _party(role: Role, parent: Connection, setting: Setting) -> None:
    """The life of one process: answers requests until the parent hangs up."""
    kernels.set_backend(setting.backend)
    one_thread()
    keep_freed()
    if setting.pinned:
        pin(role)
    channel = _connect(role, parent)
    try:
        session = open_session(
            role,
            channel,
            silent_from=setting.silent_from,
            workers=Workers(setting.threads),
            network=setting.network,
        )
        call: Callable[[], Any] = lambda: None  # noqa: E731
        while True:
            match parent.recv():
                case "make", maker, arguments:
                    started = time.monotonic()
                    call = _named(maker)(session, *arguments)
                    parent.send(time.monotonic() - started)
                case "run", wanted:
                    parent.send(_measured(session, call, wanted))
    except EOFError:
        channel.close()
    except Exception as error:  # the parent raises it; without this it would wait for an answer
        parent.send(
            Failure(
                f"{role.name.lower()}: {type(error).__name__}: {error}",
                isinstance(error, NetworkFailure),
            )
        )
        channel.abort()


def _named(name: str) -> Maker:
    module, _, attribute = name.partition(":")
    maker: Maker = getattr(importlib.import_module(module), attribute)
    return maker


def _connect(role: Role, parent: Connection) -> TcpChannel:
    if role is Role.CLIENT:
        return connect("127.0.0.1", parent.recv())
    listener = Listener.at("127.0.0.1", 0)
    parent.send(listener.port)
    while (channel := listener.accept()) is None:
        pass
    listener.close()
    return channel


def _measured(session: Session, call: Callable[[], Any], wanted: bool) -> Side:
    channel, traffic = session.channel, session.channel.meter.total
    # Both start together: a byte each way, outside the measurement, the server's last, so that a
    # first flight of the client's counts.
    if session.is_server:
        channel.recv(1)
    channel.send(b"\0")
    channel.flush()
    if not session.is_server:
        channel.recv(1)
    cpu, sent, received, flights = (
        time.process_time(),
        traffic.sent,
        traffic.received,
        traffic.flights,
    )
    start = time.monotonic()
    result = call()
    channel.flush()
    end = time.monotonic()
    return Side(
        result=result if wanted else None,
        start=start,
        end=end,
        cpu_seconds=time.process_time() - cpu,
        sent=traffic.sent - sent,
        received=traffic.received - received,
        flights=traffic.flights - flights,
        peak_rss=high_water(),
    )
