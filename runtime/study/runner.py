"""Hands out a study's images and keeps what comes back: the only one that writes the journal.

Each of several lanes has a worker and one task at a time; its next is handed out when the results
of the one before are on the disk. So what an end at any moment costs is what was in flight then:
at most sessions x batch images, which are run again.

What is tried again, and when, is as for `moiety infer` (results/retry.py), for each lane by itself.
A lane that fails too often gives its task to the others; the last one ends the study. An error that
another attempt does not cure ends it, too, when the others' tasks in flight are finished and kept.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.runtime.intake.text import printable
from moiety.runtime.results.record import ImageResult
from moiety.runtime.results.retry import Retries, passing
from moiety.runtime.study.journal import Image, Journal, key_of
from moiety.runtime.study.workers import NoWorkers, Task, Worker, WorkerLost, Workers


class Watcher(Protocol):
    """Who follows a study."""

    def image(self, image: Image) -> None:
        """It is in the journal."""


class Unwatched:
    """Nobody."""

    def image(self, image: Image) -> None:
        pass


Flight = Future[Sequence[ImageResult]]


@dataclass(eq=False)
class Lane:
    """One worker after another. `open`: it has one; `met`: it had one before; `failures`: in a row,
    without a result between.
    """

    workers: Workers
    stopping: threading.Event
    worker: Worker | None = None
    met: bool = False
    failures: int = 0

    @property
    def open(self) -> bool:
        return self.worker is not None

    def run(self, task: Task, pause: float) -> Sequence[ImageResult]:
        """After so many seconds. Raises as the worker does."""
        if self.stopping.wait(pause):
            raise WorkerLost("the study is stopped")
        if self.worker is None:
            self.worker = self.workers.start()
            self.met = True
        return self.worker.run(task)

    def leave(self) -> None:
        """Without a worker from now on."""
        worker, self.worker = self.worker, None
        if worker is not None:
            with contextlib.suppress(NetworkFailure):
                worker.close()


@dataclass
class Runner:
    """keys: by an image's number in the cohort (journal.key_of), what its file was when it was
    checked.
    """

    workers: Workers
    journal: Journal
    keys: Sequence[str]
    retries: Retries = field(default_factory=Retries)
    watcher: Watcher = field(default_factory=Unwatched)
    _begun: float = 0.0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _waiting: deque[Task] = field(default_factory=deque)
    _flights: dict[Flight, tuple[Lane, Task]] = field(default_factory=dict)
    _failure: Exception | None = None

    def run(self, tasks: Sequence[Task]) -> None:
        """All of them. Raises what ends the study early, and `Stopped`; what is done is kept."""
        self._begun = time.monotonic()
        self._waiting.extend(tasks)
        count = min(self.workers.wanted, len(tasks))
        lanes = [Lane(self.workers, self._stopping) for _ in range(count)]
        with ThreadPoolExecutor(max(1, count), "moiety-lane") as pool:
            try:
                for lane in lanes:
                    self._next(pool, lane)
                while self._flights and self._worth_waiting():
                    landed, _ = wait(self._flights, return_when=FIRST_COMPLETED)
                    for flight in landed:
                        self._land(pool, flight)
                if self._failure is not None:
                    raise self._failure
            finally:
                self._stopping.set()
                self.workers.close()

    def _worth_waiting(self) -> bool:
        """After a failure, for results alone: not for sessions that are still to open."""
        return self._failure is None or any(lane.open for lane, _ in self._flights.values())

    def _next(self, pool: ThreadPoolExecutor, lane: Lane, pause: float = 0.0) -> None:
        """A lane's next task, or the end of its session: another may wait for the place."""
        if self._waiting and self._failure is None:
            ahead = sum(len(task.numbers) for task in self._waiting)
            task = replace(self._waiting.popleft(), ahead=ahead)
            self._flights[pool.submit(lane.run, task, pause)] = lane, task
        else:
            lane.leave()

    def _land(self, pool: ThreadPoolExecutor, flight: Flight) -> None:
        """Keeps its results, or decides what becomes of its task."""
        lane, task = self._flights.pop(flight)
        try:
            results = flight.result()
            self._keep(lane, task, results)
        except NetworkFailure as error:
            lane.leave()
            self._waiting.appendleft(task)
            self._again(pool, lane, error)
        except Exception as error:
            self._failure = self._failure or error
            lane.leave()
        else:
            lane.failures = 0
            self._next(pool, lane)

    def _again(self, pool: ThreadPoolExecutor, lane: Lane, error: NetworkFailure) -> None:
        """Another attempt of this lane, or its end."""
        lane.failures += 1
        others = bool(self._flights)
        met = lane.met or any(each.met for each, _ in self._flights.values()) or self._done
        hopeless = isinstance(error, NoWorkers)
        if hopeless or not passing(error, met or isinstance(error, WorkerLost)):
            self._failure = self._failure or error
        elif lane.failures <= self.retries.times:
            pause = self.retries.pause(error, lane.failures)
            self.retries.say(
                f"{error}; trying again in {pause:.0f} s ({lane.failures} of {self.retries.times})"
            )
            self._next(pool, lane, pause)
        elif others:
            self.retries.say(f"{error}; going on with {len(self._flights)} sessions")
        else:
            self._failure = self._failure or error

    @property
    def _done(self) -> bool:
        return bool(self.journal.images)

    def _keep(self, lane: Lane, task: Task, results: Sequence[ImageResult]) -> None:
        """In the journal, then before who watches."""
        elapsed = round(time.monotonic() - self._begun, 3)
        name = lane.worker.name if lane.worker else ""
        for number, file, result in zip(task.numbers, task.files, results, strict=True):
            if result.identity is None or key_of(result.identity) != self.keys[number]:
                raise BadInput(
                    f"{printable(file)}: was changed since it was checked; nothing of it is kept. "
                    "Start the study again"
                )
            image = Image(key=self.keys[number], elapsed=elapsed, worker=name, result=result)
            self.journal.add(image)
            self.watcher.image(image)


def tasks_of(images: Sequence[tuple[int, Path]], batch: int) -> list[Task]:
    """Images, number and file each, cut into runs of at most `batch`."""
    return [
        Task(tuple(number for number, _ in part), tuple(file for _, file in part))
        for part in (images[at : at + batch] for at in range(0, len(images), batch))
    ]
