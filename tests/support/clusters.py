"""A Ray cluster on this machine, and a party that uses it; this process itself has no Ray."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.command import COMMAND, ENVIRONMENT

CPUS = 0.5
"""Of a worker, so that two pairs fit into two processors."""
PATIENCE = 240.0


@dataclass(frozen=True)
class Cluster:
    """environment: of whoever joins; Ray lets in who has the token."""

    address: str
    environment: dict[str, str]

    def options(self, pairs: int) -> list[str]:
        return ["--cluster", self.address, "--pairs", str(pairs), "--worker-cpus", str(CPUS)]

    def start(
        self, file: Path, *arguments: object, command: Sequence[str] = COMMAND
    ) -> subprocess.Popen[bytes]:
        """`moiety`, with all that it says in `file`."""
        with file.open("wb") as log:
            return subprocess.Popen(
                [*command, *map(str, arguments)], stdout=log, stderr=log, env=self.environment
            )

    def actors(self, kind: str) -> list[int]:
        """The processes of those that are at work."""
        return self._running(lambda line: line.startswith(b"ray::" + kind.encode()))

    def head(self) -> int:
        """The process that knows of all the others."""
        (pid,) = self._running(lambda line: b"gcs_server" in line.split(b"\0")[0])
        return pid

    def _running(self, is_it: Callable[[bytes], bool]) -> list[int]:
        pids = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line, owner = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            except OSError:
                continue
            if is_it(line) and self.token.encode() in owner:
                pids.append(int(folder.name))
        return pids

    @property
    def token(self) -> str:
        return self.environment["RAY_AUTH_TOKEN"]


@contextmanager
def local_cluster() -> Iterator[Cluster]:
    """Of two processors, with 80 MB for objects; no dashboard, no telemetry."""
    ray = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    environment = {**ENVIRONMENT, **ray}
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        port, log = free_port(), Path(folder, "log")
        options = {"include-dashboard": "false", "temp-dir": folder, "port": port}
        with _started(log, environment, "--head", num_cpus=2, **options) as head:
            try:
                found = wait_for(log, rf"address=\S*?([0-9a-f.:]+:{port})")
                yield Cluster(found[0], environment)
            finally:
                head.terminate()
                head.wait(PATIENCE)


@contextmanager
def another_node(cluster: Cluster, cpus: int, log: Path) -> Iterator[int]:
    """Of so many processors; the process group of all that runs on it."""
    with _started(log, cluster.environment, num_cpus=cpus, address=cluster.address) as node:
        try:
            wait_for(log, "Ray runtime started")
            yield node.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
            node.wait(PATIENCE)


def _started(
    log: Path, environment: dict[str, str], *words: str, **options: object
) -> subprocess.Popen[bytes]:
    """`ray start`, in a group of its own."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *words]
    options = {"object-store-memory": 80 << 20, **options}
    named = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, *named],
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )


def free_port() -> int:
    with socket.create_server(("", 0)) as sock:
        return int(sock.getsockname()[1])


def wait_for(file: Path, pattern: str, count: int = 1) -> list[str]:
    """Until the file has as many matches; all of them."""
    text = ""

    def there() -> bool:
        nonlocal text
        text = file.read_text(errors="replace") if file.exists() else ""
        return len(re.findall(pattern, text)) >= count

    wait_until(there, lambda: f"{pattern!r} is not in {file}:\n{text}")
    return re.findall(pattern, text)


def wait_until(there: Callable[[], bool], why: Callable[[], str]) -> None:
    until = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < until, why()
        time.sleep(0.05)


@contextmanager
def serving_from(
    cluster: Cluster, compiled: Path, log: Path, pairs: int, *options: object
) -> Iterator[str]:
    """The address of a front that has all of its workers."""
    where = ("--listen", "127.0.0.1:0")
    server = cluster.start(log, "serve", compiled, *where, *cluster.options(pairs), *options)
    try:
        (address,) = wait_for(log, r"(?m)^listening (\S+)")
        wait_for(log, "is up", pairs)
        yield address
    finally:
        server.terminate()
        server.wait(PATIENCE)


def kill_an_actor(cluster: Cluster, kind: str) -> None:
    """One of those at work, as happens when a machine runs out of memory."""
    os.kill(cluster.actors(kind)[0], signal.SIGKILL)
