"""A server that is kept over many sessions, and the command `moiety infer`, each a process forked
off this one: so that a session costs what it computes, and not a start of Python.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np

from moiety.runtime.cli import app
from moiety.runtime.cli.commands import infer
from moiety.runtime.party.credentials import Credentials
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import Limits
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.program.artifacts import file_name
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.results.record import Results
from tests.support.lines import two_stores
from tests.support.runnable import save_images, small
from tests.support.serving import Running

IMAGES = 16
PLACES = 24
DEADLINE = 90.0
"""Seconds after which a party that has not ended hangs: more than all of its limits together, on a
machine that has other things to do."""
RESTING = 25.0
"""Seconds in which the processes of sessions that are over must be gone, of such a machine."""


@dataclass(frozen=True)
class Clocks:
    """Seconds that the parties grant each other."""

    silence: float = 3.0
    patience: float = 6.0
    stage: float = 10.0

    def slower(self, times: float) -> Clocks:
        return Clocks(times * self.silence, times * self.patience, times * self.stage)

    def limits(self) -> Limits:
        return Limits(silence=self.silence, patience=self.patience, keepalive=self.silence / 3)

    def options(self) -> ServerOptions:
        """A vendor's who has no time to lose."""
        return ServerOptions(
            sessions=PLACES,
            waiting=PLACES,
            handshakes_per_address=PLACES,
            ot="softspoken",
            handshake_seconds=self.stage,
            setup_seconds=self.stage,
            idle_seconds=self.stage,
            run_seconds=self.stage,
            session_seconds=4 * self.stage,
            stall_seconds=self.silence,
        )


@dataclass(frozen=True)
class Health:
    """Of the server's own process: file handles, children, resident bytes."""

    handles: int
    children: int
    resident: int

    @classmethod
    def of(cls, pid: int) -> Health:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return cls(
            len(os.listdir(f"/proc/{pid}/fd")),
            len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()),
            resident * os.sysconf("SC_PAGE_SIZE"),
        )


@dataclass(frozen=True)
class Ended:
    """How a client's process did. `code`: minus the signal's number where one ended it; None where
    it had to be killed, because it hung.
    """

    code: int | None
    said: str


class House:
    """A vendor with a server and a hospital with images, with TLS and keys or without."""

    def __init__(self, folder: Path, tls: bool, clocks: Clocks | None = None) -> None:
        self.folder, self.tls, self.clocks = folder, tls, clocks or Clocks()
        program, weights = small()
        folder.mkdir(parents=True, exist_ok=True)
        self.program, self.public = program, folder / file_name(program)
        program.save(self.public)
        self.files = save_images(folder / "images", IMAGES)
        clear = CleartextExecutor(program, weights)
        self.expected = {
            str(file): next(iter(clear.run(np.load(file)).values())).tolist() for file in self.files
        }
        self.credentials: Credentials | None = None
        self.hospital = folder / "hospital"
        vendor = None
        if tls:
            vendor = Credentials.of_store(two_stores(folder)[0].folder)
            self.credentials = Credentials.of_store(self.hospital)
        executor = ServerExecutor(program, weights)
        executor.prepare()
        options, limits = self.clocks.options(), self.clocks.limits()
        self.server = Running(executor, options, credentials=vendor, limits=limits)

    @property
    def port(self) -> int:
        return self.server.listener.port

    def health(self) -> Health:
        return Health.of(self.server.pid)

    async def rest(self) -> Health:
        """Once the processes of all sessions are gone, or late."""
        until = time.monotonic() + RESTING
        while (found := self.health()).children and time.monotonic() < until:
            await asyncio.sleep(0.05)
        return found

    def infer(self, files: Sequence[Path], port: int, name: str) -> ClientProcess:
        """`moiety infer` of these files, at a port; its results are read by `results`."""
        listing, out = self.folder / f"{name}.csv", self.folder / f"{name}.json"
        listing.write_text("file\n" + "".join(f"{file}\n" for file in files))
        out.unlink(missing_ok=True)
        line = ["--keys", self.hospital] if self.tls else ["--insecure"]
        arguments = ["infer", self.public, listing, "--connect", f"127.0.0.1:{port}", *line]
        arguments += ["--retries", 0, "--timeout", self.clocks.silence, "--ot", "softspoken"]
        arguments += ["-o", out]
        log = self.folder / f"{name}.log"
        return ClientProcess.start([str(each) for each in arguments], log, self.clocks.limits())

    def results(self, name: str) -> Results | None:
        """What is in the file; None where no image was done."""
        path = self.folder / f"{name}.json"
        return msgspec.json.decode(path.read_bytes(), type=Results) if path.exists() else None

    def count(self, results: Results | None) -> tuple[int, int]:
        """(right results, other ones) of a file."""
        images = results.images if results else []
        right = sum(
            len(image.outputs) == 1 and image.outputs[0].values == self.expected[image.file]
            for image in images
        )
        return right, len(images) - right


@dataclass(frozen=True)
class ClientProcess:
    """A command that runs."""

    pid: int
    log: Path

    @classmethod
    def start(cls, arguments: Sequence[str], log: Path, limits: Limits) -> ClientProcess:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _live(lambda: _command(arguments, limits), log)
        return cls(pid, log)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    async def wait(self, seconds: float = DEADLINE) -> Ended:
        """Its end; it is killed where it takes longer than that."""
        loop, gone, hung = asyncio.get_running_loop(), asyncio.Event(), False
        handle = os.pidfd_open(self.pid)
        loop.add_reader(handle, gone.set)
        try:
            await asyncio.wait_for(gone.wait(), seconds)
        except TimeoutError:
            hung = True
            self.kill()
        finally:
            loop.remove_reader(handle)
            os.close(handle)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return Ended(None if hung else code, self.log.read_text(errors="replace"))


def _command(arguments: Sequence[str], limits: Limits) -> None:
    """As the console script does it; of the limits the command line sets the silence alone."""
    sys.argv = ["moiety", *arguments]
    vars(infer)["Limits"] = functools.partial(
        Limits, patience=limits.patience, keepalive=limits.keepalive
    )
    app.main()


def _live(work: Callable[[], None], log: Path) -> NoReturn:
    """A child's whole life, without a handle of the parent's."""
    code = 70
    try:
        os.closerange(3, 1 << 16)
        signal.set_wakeup_fd(-1)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        sys.stdout, sys.stderr = (os.fdopen(stream, "w") for stream in (1, 2))
        work()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
