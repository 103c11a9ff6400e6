"""The vendor's side: workers of a front (party/server/front.py), each a `moiety serve --front` that
an actor has started on its node and looks after. Ray carries arguments and addresses; weights, keys
and hints are files of the node.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.runtime.cluster.joining import Head, actors, address_of_node, joined, why_lost
from moiety.runtime.cluster.placement import Servers
from moiety.runtime.party.server.processes import Line
from moiety.runtime.party.server.reports import Down, Up

log = logging.getLogger("moiety.server")

LISTENING = "listening "
"""What `moiety serve` prints before its address."""
TICK = 0.5
PAUSE = 10.0
"""Seconds before a worker is placed again that did not come up."""
ANYWHERE = ("0.0.0.0", "::")


class ServerProcess:
    """A `moiety serve` on this node: what an actor is made of. It ends when the actor does."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._last: deque[str] = deque(maxlen=5)

    def start(self, arguments: Sequence[str], ports: str) -> tuple[str, str]:
        """Where it listens, and ""; or "", and why it does not."""
        command = [sys.executable, "-m", "moiety.runtime.cli", "serve", *arguments]
        listen = ["--listen", f"{address_of_node()}:{ports}", "--stop-with-stdin"]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self._process = subprocess.Popen([*command, *listen], text=True, **pipes)
        reader = threading.Thread(target=self._read_log, name="moiety-log", daemon=True)
        reader.start()
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if said.startswith(LISTENING):
            return said.removeprefix(LISTENING).strip(), ""
        reader.join(timeout=5.0)
        return "", self.wait()

    def wait(self) -> str:
        """Until it ends: how."""
        assert self._process is not None
        code = self._process.wait()
        return f"exit code {code}: {' / '.join(self._last) or 'it said nothing'}"

    def _read_log(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._last.append(line.strip())
            print(line, end="", file=sys.stderr, flush=True)


def place(servers: Servers, line: Line) -> None:
    """Places workers and keeps as many as wanted up until the process is stopped; the front hears
    of each on `line`. Raises as `joined`, `BadInput` where not one comes up, and `NetworkFailure`
    where the cluster's head is gone.
    """
    with joined(servers.room) as head:
        stopping = threading.Event()
        # Raised within Ray's calls, `Stopped` would break them.
        signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
        Placing(servers, line, head).run(stopping)


@dataclass
class Placing:
    """The workers of one front. `_pending`: what is waited for, and of which actor: its address,
    then its end.
    """

    servers: Servers
    line: Line
    head: Head
    _pending: dict[Any, tuple[Any, str]] = field(default_factory=dict)
    _due: deque[float] = field(default_factory=deque)
    _ever_up: bool = False

    def run(self, stopping: threading.Event) -> None:
        """Until then."""
        self._due.extend([0.0] * self.servers.room.workers)
        try:
            while not stopping.is_set():
                if why := self.head.why_gone():
                    raise NetworkFailure(why)
                self._start_due()
                if not self._pending:
                    time.sleep(TICK)
                    continue
                for reference in ray.wait(list(self._pending), timeout=TICK)[0]:
                    self._look_at(reference)
        finally:
            for actor, _ in self._pending.values():
                ray.kill(actor)

    def _start_due(self) -> None:
        while self._due and self._due[0] <= time.monotonic():
            self._due.popleft()
            actor = actors(ServerProcess, self.servers.room).remote()
            started = actor.start.remote(self._arguments(), self.servers.ports)
            self._pending[started] = actor, ""

    def _arguments(self) -> tuple[str, ...]:
        host, port = self.servers.front
        host = address_of_node() if host in ANYWHERE else host
        return (
            *self.servers.arguments,
            "--front",
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        )

    def _look_at(self, reference: Any) -> None:
        """At a worker that has come up, or has not, or has ended."""
        actor, address = self._pending.pop(reference)
        up, why = "", ""
        try:
            answer = ray.get(reference)
            up, why = answer if not address else ("", answer)
        except RayError as error:
            why = why_lost(error)
        if up:
            self._ever_up = True
            self._pending[actor.wait.remote()] = actor, up
            self.line.send(Up(worker=up))
            return
        with contextlib.suppress(RayError):
            ray.kill(actor)
        if address:
            self.line.send(Down(worker=address, why=why))
        elif not self._ever_up:
            raise BadInput(f"no worker comes up in the cluster: {why}")
        else:
            log.warning("a worker does not come up: %s", why)
        self._due.append(time.monotonic() + (0.0 if address else PAUSE))
