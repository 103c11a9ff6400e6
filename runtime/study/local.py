"""Sessions on this machine: a process for each, because a session computes, and Python computes one
thing at a time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from moiety.protocols.errors import ContractViolation
from moiety.runtime.results.record import ImageResult
from moiety.runtime.study import wire
from moiety.runtime.study.session import SessionPlan
from moiety.runtime.study.workers import Roster, Task, WorkerLost

COMMAND = (sys.executable, "-m", "moiety.runtime.study.session_process")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Of BLAS; the kernels' threads are the plan's."""
GRACE = 10.0
"""Seconds that a process has to end before it is killed."""


class LocalWorker:
    """A process with one session (workers.Worker)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for the study's process, which ends this one
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, plan: SessionPlan, on_wait: Callable[[str, int], None]) -> None:
        """Raises as `Client.connect`, and `WorkerLost`."""
        self._tell(plan)
        while isinstance(answer := self._answer(), wire.Waits):
            on_wait(self.name, answer.ahead)
        if not isinstance(answer, wire.Opened):
            raise ContractViolation(f"{self.name} answered {type(answer).__name__}")

    def run(self, task: Task) -> Sequence[ImageResult]:
        self._tell(task)
        answer = self._answer()
        if not isinstance(answer, wire.Done):
            raise ContractViolation(f"{self.name} answered {type(answer).__name__}")
        return answer.results

    def close(self) -> None:
        """Lets it say goodbye; ends it where it does not."""
        _shut(self._process.stdin)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        self.end()

    def end(self) -> None:
        """Whatever it does."""
        self._process.terminate()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _shut(self._process.stdin)
        _shut(self._process.stdout)

    def _tell(self, word: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # the answer will say that it is gone
            self._process.stdin.write(wire.line_of(word))
            self._process.stdin.flush()

    def _answer(self) -> wire.AnyAnswer:
        """Raises what it says has failed; `WorkerLost` where it says nothing any more."""
        assert self._process.stdout is not None
        try:
            line = self._process.stdout.readline()
        except ValueError:  # closed, because the study has ended it
            line = b""
        if not line.endswith(b"\n"):
            raise WorkerLost(f"the process of {self.name} is gone ({self._how_it_ended()})")
        answer: wire.AnyAnswer = wire.answer_of(line)
        if isinstance(answer, wire.Failed):
            raise wire.error_of(answer)
        return answer

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _shut(pipe: IO[bytes] | None) -> None:
    assert pipe is not None
    with contextlib.suppress(OSError):
        pipe.close()


@dataclass
class LocalWorkers:
    """As many sessions as `wanted`, all by one plan (workers.Workers). `on_wait(name, ahead)`: a
    session waits for its turn at the server. `roster`: those that were started.
    """

    plan: SessionPlan
    wanted: int = 1
    on_wait: Callable[[str, int], None] = lambda name, ahead: None
    roster: Roster[LocalWorker] = field(default_factory=Roster)

    def start(self) -> LocalWorker:
        """Raises as `LocalWorker.open`."""
        return self.roster.begin(LocalWorker, lambda worker: worker.open(self.plan, self.on_wait))

    def close(self) -> None:
        """Ends them all, in the middle of a run where they are in one."""
        self.roster.close()
