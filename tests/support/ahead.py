"""Two parties with folders of stores, a server in a process of its own, and commands of the client
in processes forked off the test's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moiety.runtime.party.client import Client, Connection
from moiety.runtime.party.credentials import Credentials
from moiety.runtime.party.endpoints import connect
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.party.sides import Revealed
from moiety.runtime.party.stock import Cellar, NewStore
from moiety.runtime.program import Program
from moiety.runtime.program.artifacts import file_name
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.store.care import Status, status
from moiety.runtime.store.key import StoreKey
from moiety.runtime.store.limits import UNLIMITED, Limits
from tests.faults.parties import ClientProcess
from tests.support.command import Done
from tests.support.serving import LIMITS, Running
from tests.support.stores import NAMES, Name


@dataclass
class Ahead:
    """Whose folders lie in one; `credentials` of the vendor and the hospital, None over plain
    TCP.
    """

    folder: Path
    executor: ServerExecutor
    credentials: tuple[Credentials | None, Credentials | None] = (None, None)
    running: list[Running] = field(default_factory=list)

    @property
    def program(self) -> Program:
        return self.executor.program

    def keys(self, role: Name) -> Path:
        return self.folder / f"{role}-keys"

    def cellar(self, role: Name, limits: Limits = UNLIMITED) -> Cellar:
        return Cellar(self.folder / f"{role}-store", StoreKey.at(self.keys(role)), limits)

    def stores(self, role: Name) -> list[Path]:
        """Folders of its stores."""
        return sorted(path.parent for path in self.cellar(role).root.glob("*/ledger"))

    def serve(self, limits: Limits = UNLIMITED, offers: bool = True, **parts: Any) -> Running:
        """A server, ended with this; `offers`: whether it has stores."""
        options = ServerOptions(ot="softspoken", **parts.pop("options", {}))
        cellar = self.cellar("server", limits) if offers else None
        own = self.credentials[0]
        server = Running(self.executor, options, credentials=own, cellar=cellar, **parts)
        self.running.append(server)
        return server

    def join(self, server: Running, batch: int = 1, **options: Any) -> Connection:
        """A client's connection."""
        port, own = server.listener.port, self.credentials[1]
        channel = connect("127.0.0.1", port, limits=LIMITS, credentials=own)
        return Client(self.program, batch=batch, ot="softspoken", **options).join(channel)

    def met(
        self,
        server: Running,
        images: int = 1,
        new: NewStore = NewStore.IF_NOTHING_IS_LOST,
        **options: Any,
    ) -> AbstractContextManager[Connection]:
        """A connection whose two sides have compared their stores."""
        connection = self.join(server, images, **options)
        try:
            connection.meet_stock(self.cellar("client"), images, new)
        except BaseException as error:
            connection.close(error)
            raise
        return closing(connection)

    def prepare(self, server: Running, count: int, images: int = 1) -> None:
        """So many items, on a connection of their own."""
        with self.met(server, images) as connection:
            for _ in range(count):
                connection.prepare(images)

    def command(self, name: str, *arguments: object) -> Done:
        """A client's, with its keys and store; both of its streams are `stderr`."""
        return self.started(name, *arguments).done()

    def started(self, name: str, *arguments: object) -> Command:
        public = self.folder / file_name(self.program)
        if not public.exists():
            self.program.save(public)
        given = [name, public, *arguments, "--keys", self.keys("client")]
        given += ["--store", self.cellar("client").root, "--ot", "softspoken", "--insecure"]
        return Command.start([str(each) for each in given], self.folder / f"{name}.log")

    def end(self) -> None:
        for server in self.running:
            server.end()


@dataclass(frozen=True)
class Command:
    """One that runs."""

    process: ClientProcess

    @classmethod
    def start(cls, arguments: Sequence[str], log: Path) -> Command:
        return cls(ClientProcess.start(arguments, log, LIMITS))

    def done(self) -> Done:
        """When it has ended."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.process.pid, 0)[1])
        return Done(code, "", self.process.log.read_text(errors="replace"))


def is_exact(executor: ServerExecutor, cases: Sequence[Any], found: list[list[Revealed]]) -> bool:
    """Whether these are the integers of the cleartext executor."""
    clear = CleartextExecutor(executor.program, executor.weights)
    return all(
        [each.integers.tolist() for each in outputs]
        == [values.tolist() for values in clear.run_integers(case).values()]
        for case, outputs in zip(cases, found, strict=True)
    )


def run(connection: Connection, executor: ServerExecutor, images: int = 1) -> None:
    """That many, which must be exact."""
    cases = cases_of(images)
    assert is_exact(executor, cases, connection.infer_batch(cases)[0])


def state(ahead: Ahead, images: int = 1) -> tuple[Status, Status]:
    """Of the client's and the server's store for runs of so many images."""
    found = []
    for role in NAMES:
        cellar = ahead.cellar(role)
        (folder,) = (
            each
            for each in ahead.stores(role)
            if each.name.endswith(f"-{images}") or (images == 1 and "-" not in each.name)
        )
        found.append(status(folder, cellar.key))
    return found[0], found[1]


def cases_of(count: int) -> list[Any]:
    """Images of the small Programs."""
    rng = np.random.default_rng(count)
    return [rng.normal(size=(2, 8, 8)).astype(np.float32) for _ in range(count)]
