"""A server in a process of its own, forked off the test's, and a client that runs files through
it. So what a test has patched before is patched in the server, too.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from moiety.runtime.party.client import Client
from moiety.runtime.party.credentials import Credentials
from moiety.runtime.party.endpoints import Listener, connect
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import Limits
from moiety.runtime.party.server import Server, ServerOptions, Summary, processes
from moiety.runtime.party.server.loop import Loop
from moiety.runtime.party.server.processes import Line
from moiety.runtime.party.signals import Stopped
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Program
from moiety.runtime.results.inference import Cohort, infer_files
from moiety.runtime.results.outputs import Outputs, open_outputs
from moiety.runtime.results.record import ImageResult, Results

PATIENCE = 20.0
LIMITS = Limits(silence=5, patience=30, keepalive=0.5)


class Running:
    """A server that serves until `end` and logs to a file; and how to reach it. `prepare`: as that
    of `Server.run`; `kind` of server; `parts`: its other fields.
    """

    def __init__(
        self,
        executor: ServerExecutor,
        options: ServerOptions,
        prepare: Callable[[], None] | None = None,
        kind: type[Server] = Server,
        credentials: Credentials | None = None,
        limits: Limits = LIMITS,
        **parts: Any,
    ) -> None:
        self.listener = Listener.at("127.0.0.1", 0, limits, credentials)
        self._folder = tempfile.TemporaryDirectory(prefix="moiety-server-")
        self._log = Path(self._folder.name, "log")
        self._summary = Path(self._folder.name, "summary.json")
        self._server = kind(executor, self.listener, options, **parts)
        self._prepare = prepare
        self._process = processes.start(self._run, Loop())
        self.pid = self._process.pid
        self.listener.close()
        self._stopped = self._ended = False

    def _run(self, line: Line) -> None:
        logger = logging.getLogger("moiety")
        logger.handlers, logger.propagate = [logging.FileHandler(self._log)], False
        logger.setLevel(logging.INFO)
        try:
            self._server.run(self._prepare)
        except Stopped:
            pass
        finally:
            self._summary.write_bytes(msgspec.json.encode(self._server.summary))

    @property
    def log(self) -> str:
        """All that it has logged so far."""
        return self._log.read_text() if self._log.exists() else ""

    def wait_for(self, pattern: str, count: int = 1) -> list[str]:
        """Until its log has as many matches; all of them."""
        until = time.monotonic() + PATIENCE
        while len(found := re.findall(pattern, self.log)) < count:
            assert time.monotonic() < until, f"{pattern!r} is not in the log:\n{self.log}"
            time.sleep(0.02)
        return found

    def child_of(self, channel: TcpChannel) -> int:
        """The process that serves the client at this end."""
        sock = channel._sock
        assert isinstance(sock, socket.socket)
        host, port = sock.getsockname()[:2]
        (pid,) = self.wait_for(rf"{host}:{port}: connected.*, served by process (\d+)")
        return int(pid)

    def connect(self, keepalive: float = 0.5) -> TcpChannel:
        limits = Limits(silence=10, patience=60, keepalive=keepalive)
        return connect("127.0.0.1", self.listener.port, limits=limits)

    def stop(self) -> None:
        """Once: a second signal ends a process at once."""
        if not self._stopped:
            self._stopped = True
            self._process.signal(signal.SIGTERM)

    def kill(self) -> None:
        """As SIGKILL does, and so without a summary; the processes of its sessions are not hit."""
        self._process.signal(signal.SIGKILL)
        self._process.reap()
        self._stopped = self._ended = True
        self._summary.write_bytes(msgspec.json.encode(Summary()))

    def end(self) -> Summary:
        if not self._ended:
            self.stop()
            self.wait()
        return msgspec.json.decode(self._summary.read_bytes(), type=Summary)

    def wait(self) -> Summary:
        """Until it ends by itself."""
        until = time.monotonic() + PATIENCE
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            assert time.monotonic() < until, f"the server does not end:\n{self.log}"
            time.sleep(0.02)
        self._ended = True
        assert not self._process.reap(), self.log
        return self.end()


def infer(
    channel: TcpChannel,
    program: Program,
    files: Sequence[Path],
    output: Path,
    on_image: Callable[[ImageResult], None] = lambda result: None,
    **options: Any,
) -> Results:
    """All files through the server at the other end of `channel`; `options` are the Client's."""
    with Client(program, **options).join(channel) as connection:
        outputs = Outputs(open_outputs([str(output)]))
        return infer_files(connection, Cohort(files), outputs, on_image)
