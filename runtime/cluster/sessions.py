"""The hospital's side: sessions of a study (study/local.py), each in a process that an actor has
started on its node. Ray carries the plan, the names of files, and results; pictures and keys are
files of the node, and no pixel passes through Ray.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from moiety.protocols.errors import BadInput, ContractViolation, MoietyError
from moiety.runtime.cluster.joining import TICK, Head, actors, address_of_node, joined, why_lost
from moiety.runtime.cluster.placement import Room
from moiety.runtime.results.record import ImageResult
from moiety.runtime.study import wire
from moiety.runtime.study.local import LocalWorker
from moiety.runtime.study.session import SessionPlan
from moiety.runtime.study.workers import NoWorkers, Roster, Task, WorkerLost

ROOM_SECONDS = 120.0
"""In which the cluster must have room for one more actor."""
GOODBYE_SECONDS = 20.0


class SessionProcess:
    """A session on this node: what an actor is made of. Its process ends when the actor does."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._worker: LocalWorker | None = None

    def node(self) -> str:
        return address_of_node()

    def open(self, folder: str, plan: bytes) -> bytes:
        """In `folder`, which names of files are relative to: `wire.Opened`, or what failed."""

        def opened() -> wire.Answer:
            _enter(Path(folder))
            self._worker = LocalWorker(self._name)
            self._worker.open(wire.word_of(plan, SessionPlan), lambda name, ahead: None)
            return wire.Opened()

        return _answer(opened)

    def run(self, task: bytes) -> bytes:
        """`wire.Done`, or what failed."""

        def done() -> wire.Answer:
            assert self._worker is not None
            return wire.Done(list(self._worker.run(wire.word_of(task, Task))))

        return _answer(done)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()


def _enter(folder: Path) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise BadInput(
            f"{folder}: the node {address_of_node()} of the cluster cannot enter it "
            f"({error.strerror}); every node must have the study's files and keys where this "
            "machine has them"
        ) from error


def _answer(work: Callable[[], wire.Answer]) -> bytes:
    try:
        return wire.line_of(work())
    except MoietyError as error:
        return wire.line_of(wire.failed(error))


@dataclass(eq=False)
class ClusterWorker:
    """A session somewhere in the cluster (workers.Worker). Its `name` says where, once open."""

    name: str
    actor: Any
    head: Head

    def run(self, task: Task) -> Sequence[ImageResult]:
        answer = self._answer(self.actor.run.remote(wire.line_of(task)))
        if not isinstance(answer, wire.Done):
            raise ContractViolation(f"{self.name} answered {type(answer).__name__}")
        return answer.results

    def open(self, plan: SessionPlan) -> None:
        """Raises as `Client.connect`, `WorkerLost` and `NoWorkers`."""
        self._answer(self.actor.open.remote(str(Path.cwd()), wire.line_of(plan)))

    def node(self, seconds: float) -> str:
        """The address of its node, once it has one. Raises `WorkerLost` and `NoWorkers`."""
        found = self._got(self.actor.node.remote(), time.monotonic() + seconds)
        if found is None:
            raise WorkerLost(f"the cluster has no room for {self.name}")
        return str(found)

    def _answer(self, promised: Any) -> wire.AnyAnswer:
        """Raises what it says has failed; `WorkerLost` where its actor or its node is gone,
        `NoWorkers` where the head is.
        """
        answer: wire.AnyAnswer = wire.answer_of(self._got(promised))
        if isinstance(answer, wire.Failed):
            raise wire.error_of(answer)
        return answer

    def _got(self, promised: Any, until: float = math.inf) -> Any:
        """None where it is not there by then. A look at the head now and then: an actor that is
        lost with it is not missed by Ray.
        """
        while time.monotonic() < until:
            if why := self.head.why_gone():
                raise NoWorkers(f"{why}, or go on without --cluster")
            try:
                return ray.get(promised, timeout=TICK)
            except GetTimeoutError:
                continue
            except RayError as error:
                raise self._lost(error) from error
        return None

    def _lost(self, error: RayError) -> WorkerLost:
        return WorkerLost(f"{self.name} is lost: {why_lost(error)}")

    def close(self) -> None:
        with contextlib.suppress(RayError):
            ray.get(self.actor.close.remote(), timeout=GOODBYE_SECONDS)
        self.end()

    def end(self) -> None:
        """Whatever it does; with the head its actors end, and Ray would wait for it."""
        if self.head.why_gone() is None:
            with contextlib.suppress(RayError):
                ray.kill(self.actor)


@dataclass
class ClusterWorkers:
    """As many sessions as `room` has workers, all by one plan (workers.Workers). `roster`: those
    that were started.
    """

    plan: SessionPlan
    room: Room
    head: Head
    wanted: int = field(init=False)
    roster: Roster[ClusterWorker] = field(default_factory=Roster)

    def __post_init__(self) -> None:
        self.wanted = self.room.workers
        # Once: what Ray has to know of the class is written to the head, and waits for it.
        self._kind = actors(SessionProcess, self.room)

    def start(self) -> ClusterWorker:
        """Raises as `Client.connect`, `WorkerLost` where there is no room, and `NoWorkers`."""
        return self.roster.begin(self._made, self._open)

    def _made(self, name: str) -> ClusterWorker:
        return ClusterWorker(name, self._kind.remote(name), self.head)

    def _open(self, worker: ClusterWorker) -> None:
        worker.name += f" on {worker.node(ROOM_SECONDS)}"
        worker.open(self.plan)

    def close(self) -> None:
        """Ends them all, in the middle of a run where they are in one."""
        self.roster.close()


@contextmanager
def cluster_workers(plan: SessionPlan, room: Room) -> Iterator[ClusterWorkers]:
    """Sessions in the cluster of `room`, for as long as this process is in it. Raises as
    `joined`.
    """
    with joined(room) as head:
        yield ClusterWorkers(plan, room, head)
