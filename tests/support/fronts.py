"""A front and its workers, each a process of its own, forked off the test's."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from moiety.runtime.party.client import Client, Connection
from moiety.runtime.party.credentials import Credentials
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import Limits
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.party.server.front import Front
from moiety.runtime.party.server.processes import Line
from moiety.runtime.party.server.reports import Down, Up
from moiety.runtime.party.server.worker import AtFront
from tests.support.serving import PATIENCE, Running


class Fronted:
    """A front, and so many workers, which are up; `parts`, `options`: the front's."""

    def __init__(
        self,
        executor: ServerExecutor,
        workers: int = 2,
        credentials: Credentials | None = None,
        options: ServerOptions | None = None,
        **parts: Any,
    ) -> None:
        reads, self._tells = os.pipe()

        def place(line: Line) -> None:
            with open(reads, encoding="utf-8") as told:
                for text in told:
                    what, worker = text.split()
                    line.send(Up(worker=worker) if what == "up" else Down(worker=worker, why="no"))
                time.sleep(60)

        self.executor = executor
        self._credentials = credentials
        believed = credentials.with_own() if credentials else None
        self.front = Running(
            executor,
            options or ServerOptions(),
            kind=Front,
            place=place,
            credentials=believed,
            **parts,
        )
        os.close(reads)
        self.workers: dict[str, Running] = {}
        for _ in range(workers):
            self.start_worker()

    def start_worker(self, credentials: Credentials | None = None) -> str:
        """Another one, with these credentials instead of the front's."""
        credentials = credentials or self._credentials
        port = self.front.listener.port
        worker = Running(
            self.executor,
            ServerOptions(),
            credentials=credentials,
            admission=AtFront(self.executor.program, "127.0.0.1", port, credentials),
        )
        address = worker.listener.address
        self.workers[address] = worker
        self.tell("up", address)
        return address

    def end_worker(self, address: str) -> None:
        self.tell("down", address)
        self.workers.pop(address).end()

    def tell(self, what: str, worker: str) -> None:
        os.write(self._tells, f"{what} {worker}\n".encode())

    def connect(self, credentials: Credentials | None = None, **options: Any) -> Connection:
        limits = Limits(silence=10, patience=60, keepalive=0.5)
        client = Client(self.executor.program, **options)
        return client.connect("127.0.0.1", self.front.listener.port, limits, credentials)

    def end(self) -> None:
        os.close(self._tells)
        self.front.end()
        for worker in self.workers.values():
            worker.end()


def worker_of(connection: Connection) -> str:
    """The address of the worker at its other end."""
    return connection.channel.peer.removeprefix("server ")


def audit_lines(file: Path, event: str, count: int = 0) -> list[str]:
    """Of one event, once there are at least `count`."""
    until = time.monotonic() + PATIENCE
    while True:
        lines = file.read_text().splitlines()
        found = [line for line in lines if f'"event":"{event}"' in line]
        if len(found) >= count or time.monotonic() > until:
            return found
        time.sleep(0.02)
