"""A server in a thread of the test's process, and a client that runs files through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moiety.runtime.party.client import Client
from moiety.runtime.party.endpoints import Listener, connect
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import Limits
from moiety.runtime.party.server import Server, ServerOptions, Summary
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Program
from moiety.runtime.results.inference import Cohort, infer_files
from moiety.runtime.results.outputs import Outputs, open_outputs
from moiety.runtime.results.record import ImageResult, Results


class Running:
    """A server that serves until `end`, and how to reach it."""

    def __init__(self, executor: ServerExecutor, options: ServerOptions) -> None:
        self.listener = Listener.at("127.0.0.1", 0, Limits(silence=5, patience=30, keepalive=0.5))
        self.server = Server(executor, self.listener, options)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self.server:
            self.server.run()

    def connect(self) -> TcpChannel:
        limits = Limits(silence=10, patience=60, keepalive=0.5)
        return connect("127.0.0.1", self.listener.port, limits=limits)

    def end(self) -> Summary:
        self.server.stop()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        return self.server.summary


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
