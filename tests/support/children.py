"""Commands of the tests (`python -m tests...`) that begin processes of their own, and how they end:
a signal is one line and an exit code, and leaves no process behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Any, NoReturn

from moiety.runtime.party.signals import Stopped, held, raise_stopped

GRACE = 15.0
"""Seconds that a process has to end its own and to remove what it has made."""


def run_command(main: Callable[[], int]) -> NoReturn:
    """The whole of a command. SIGINT and SIGTERM are `Stopped`, raised in `main`."""
    raise_stopped()
    try:
        code = main()
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        code = stopped.exit_code
    sys.exit(code)


def end(process: subprocess.Popen[Any], grace: float = GRACE) -> None:
    """Ends a process that leads a group, and all of the group: by SIGINT, on which pytest and our
    commands clean up, then by SIGKILL.
    """
    _signal(process, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


class Children:
    """Processes, each the leader of a group of its own, to which no signal of the terminal comes;
    they are ended where the block is left, with as many seconds of `grace`. For several threads.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._lock = threading.Lock()
        self._begun: list[subprocess.Popen[Any]] | None = []

    def begin(
        self, command: Sequence[str], stdout: int | IO[bytes], **options: Any
    ) -> subprocess.Popen[Any]:
        """Raises RuntimeError where the block is being left."""
        with held(), self._lock:
            if self._begun is None:
                raise RuntimeError("the command is being ended; it begins no process")
            process = subprocess.Popen(command, stdout=stdout, start_new_session=True, **options)
            self._begun.append(process)
            return process

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """As at the end of the block."""
        with self._lock:
            begun, self._begun = self._begun or [], None
        for process in begun:
            if process.poll() is None:
                end(process, self._grace)
