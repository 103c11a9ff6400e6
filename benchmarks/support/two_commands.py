"""The product's two commands as processes to measure: each on a core of its own, its memory
followed, with stop-watches if wanted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.harness import PeakMemory, Row, pin
from moiety.models.processes import MOIETY, ended, listening, read_results
from moiety.protocols.errors import NetworkFailure
from moiety.runtime.party.generator_choice import Ot
from moiety.runtime.program.artifacts import program_file
from moiety.runtime.results.record import Results

PARTIES = ("server", "client")


@dataclass(frozen=True)
class Vendor:
    """A `moiety serve` that listens: where, how many seconds after its start, and its memory."""

    address: str
    prepare_s: float
    memory: PeakMemory


@dataclass(frozen=True)
class TwoCommands:
    """How the two are started: the folder they write to, on cores of their own or not, with
    stop-watches or not. `prepared`: runs are prepared ahead, and taken from a store.
    """

    work: Path
    pinned: bool = True
    profiled: bool = False
    prepared: bool = False

    def profile_file(self, party: str) -> Path:
        """Where a party with stop-watches writes what they showed."""
        return self.work / f"profile-{party}.json"

    def _begin(self, party: str) -> list[str]:
        if not self.profiled:
            return [*MOIETY]
        module = "benchmarks.support.profiled_command"
        return [sys.executable, "-m", module, str(self.profile_file(party))]

    def _pin(self, process: subprocess.Popen[str], party: str) -> None:
        if self.pinned:
            pin(PARTIES.index(party), process.pid)

    @contextmanager
    def serving(self, folder: Path, clients: int = 2, batch: int = 1) -> Iterator[Vendor]:
        """A vendor's process for some clients, prepared for runs of `batch` images. Raises
        `NetworkFailure` when it does not start.
        """
        log = self.work / "server.log"
        started = time.perf_counter()
        with log.open("w") as stderr:
            arguments = ["serve", str(folder), "--listen", "127.0.0.1:0", "--batch", str(batch)]
            if self.prepared:
                arguments += ["--prepared", str(self.work / "server-store")]
            server = subprocess.Popen(
                [*self._begin("server"), *arguments, "--max-clients", str(clients)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._pin(server, "server")
        memory = PeakMemory(server.pid)
        with ended(server):
            yield Vendor(listening(server, log), time.perf_counter() - started, memory)

    def _store(self) -> list[str]:
        return ["--store", str(self.work / "client-store")]

    def prepare(self, folder: Path, count: int, address: str, ot: Ot, batch: int) -> Row:
        """So many items; what `moiety prepare --json` says. Raises `NetworkFailure`."""
        arguments = ["prepare", str(program_file(folder)), "--count", str(count), "--json"]
        arguments += ["--connect", address, "--ot", ot, "--batch", str(batch), *self._store()]
        client = subprocess.Popen(
            [*MOIETY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._pin(client, "client")
        said, errors = client.communicate()
        if client.returncode:
            raise NetworkFailure(
                f"preparing ended with exit code {client.returncode}:\n{errors[-2000:]}"
            )
        took: Row = json.loads(said)
        return took

    def infer(
        self, folder: Path, files: Sequence[Path], address: str, ot: Ot = "auto", batch: int = 1
    ) -> tuple[Results, int]:
        """A hospital's process with the Program alone; its results file and its peak memory
        in bytes. Raises `NetworkFailure` when it fails.
        """
        output = self.work / "results.json"
        arguments = ["infer", str(program_file(folder)), *map(str, files)]
        arguments += ["--connect", address, "--ot", ot, "--batch", str(batch), "-o", str(output)]
        arguments += self._store() if self.prepared else ["--on-demand"]
        client = subprocess.Popen(
            [*self._begin("client"), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._pin(client, "client")
        memory = PeakMemory(client.pid)
        _, errors = client.communicate()
        if client.returncode:
            raise NetworkFailure(
                f"the client ended with exit code {client.returncode}:\n{errors[-2000:]}"
            )
        return read_results(output), memory.stop()
