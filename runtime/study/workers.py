"""Who runs images: the contract between the runner, which hands out work and writes the journal,
and what runs it: a process of this machine, or one of a cluster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from moiety.protocols.errors import NetworkFailure
from moiety.runtime.results.record import ImageResult


class WorkerLost(NetworkFailure):
    """The process that ran a task, or its machine, is gone; another worker may take the task."""


class NoWorkers(NetworkFailure):
    """What starts workers is gone, and those that run with it: no other attempt helps."""


@dataclass(frozen=True)
class Task:
    """Images that go through one run together: `numbers`, their rows in the cohort, and `files`.
    `ahead`: how many images of the study are still to be handed out, these included: what a
    session compares with its quota before it sends the first.
    """

    numbers: tuple[int, ...]
    files: tuple[Path, ...]
    ahead: int = 0


class Worker(Protocol):
    """One connection to the server, in a process of its own. Used by one thread at a time. `name`:
    for people.
    """

    name: str

    def run(self, task: Task) -> Sequence[ImageResult]:
        """A result for each image, in order. Raises what `Connection.infer_batch` raises;
        `WorkerLost` where the process or its machine is gone, `NoWorkers` where all are.
        """

    def close(self) -> None:
        """Says goodbye to the server; nothing where the worker is lost."""


class Workers(Protocol):
    """Makes workers. `wanted`: how many at a time."""

    wanted: int

    def start(self) -> Worker:
        """A new worker with an open session. Raises `NetworkFailure` as `Client.connect`."""

    def close(self) -> None:
        """Ends all that it has started."""


class Endable(Protocol):
    """What can be ended from another thread."""

    def end(self) -> None:
        """At once, in the middle of a run where it is in one; again is no harm."""


W = TypeVar("W", bound=Endable)


@dataclass
class Roster(Generic[W]):
    """All workers that were ever started, named by their numbers, so that all can be ended."""

    started: list[W] = field(default_factory=list)
    _closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, make: Callable[[str], W], open_: Callable[[W], None]) -> W:
        """The next one, made by its name and opened. Raises what these raise, and `WorkerLost`
        after `close`.
        """
        with self._lock:
            if self._closed:
                raise WorkerLost("the study is stopped")
            worker = make(f"session {len(self.started) + 1}")
            self.started.append(worker)
        try:
            open_(worker)
        except BaseException:
            worker.end()
            raise
        return worker

    def close(self) -> None:
        """Ends them all, in the middle of a run where they are in one."""
        with self._lock:
            self._closed = True
            started = list(self.started)
        for worker in started:
            worker.end()
