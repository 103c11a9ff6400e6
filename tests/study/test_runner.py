"""The runner with workers that fail as a test says: what is tried again, what is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from moiety.protocols.errors import BadInput, NetworkFailure, PeerMismatch
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.signals import Stopped
from moiety.runtime.results.record import ImageResult
from moiety.runtime.results.retry import Retries
from moiety.runtime.study.journal import Image, Journal, Part
from moiety.runtime.study.runner import Runner, Unwatched, tasks_of
from moiety.runtime.study.workers import NoWorkers, Task, WorkerLost
from tests.study.test_journal import HEAD, PART
from tests.support.results import an_image

IMAGES = 7


def key(number: int) -> str:
    return f"{number:064}"


@dataclass
class FakeWorker:
    """Answers, after `before` was asked, which raises what goes wrong."""

    name: str
    before: Callable[[Task], None]
    on_close: Callable[[], None] = lambda: None
    closed: bool = False

    def run(self, task: Task) -> Sequence[ImageResult]:
        self.before(task)
        return [self.result(number) for number in task.numbers]

    def result(self, number: int) -> ImageResult:
        result = an_image(f"{number}.npy")
        assert result.identity is not None
        result.identity = msgspec.structs.replace(result.identity, pixel_sha256=key(number))
        return result

    def close(self) -> None:
        self.closed = True
        self.on_close()


@dataclass
class FakeWorkers:
    """`left`: one of its workers was closed."""

    wanted: int = 1
    before: Callable[[Task], None] = lambda task: None
    on_start: Callable[[int], None] = lambda number: None
    started: list[FakeWorker] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)

    def start(self) -> FakeWorker:
        self.on_start(len(self.started))
        name = f"session {len(self.started) + 1}"
        self.started.append(FakeWorker(name, self.before, self.left.set))
        return self.started[-1]

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(tmp_path, HEAD, print)
    made.add(PART)
    yield made
    made.close()


def run(
    journal: Journal,
    workers: FakeWorkers,
    batch: int = 1,
    said: list[str] | None = None,
    watcher: Unwatched | None = None,
) -> None:
    images = [(number, Path(f"{number}.npy")) for number in range(IMAGES)]
    say = said.append if said is not None else print
    runner = Runner(
        workers,
        journal,
        [key(number) for number in range(IMAGES)],
        Retries(2, first=0.001, say=say),
        watcher or Unwatched(),
    )
    runner.run(tasks_of(images, batch))


def kept(journal: Journal) -> list[int]:
    return sorted(int(each) for each in journal.images)


class Failing:
    """Raises each of these errors once, at the runs of these numbers, counted from 0."""

    def __init__(self, errors: dict[int, Exception]) -> None:
        self.errors, self.runs, self.lock = errors, 0, threading.Lock()

    def __call__(self, task: Task) -> None:
        with self.lock:
            run, self.runs = self.runs, self.runs + 1
        if run in self.errors:
            raise self.errors[run]


@pytest.mark.parametrize(("wanted", "batch"), [(1, 1), (2, 1), (3, 2), (9, 64)])
def test_every_image_is_run_once(journal: Journal, wanted: int, batch: int) -> None:
    before = Failing({})
    workers = FakeWorkers(wanted, before)
    run(journal, workers, batch)
    assert kept(journal) == [*range(IMAGES)]
    assert before.runs == -(-IMAGES // batch)
    assert len(workers.started) <= wanted
    assert all(worker.closed for worker in workers.started)


def test_lost_workers_are_replaced(journal: Journal) -> None:
    """Their tasks are run again, by a new worker; the pause is said."""
    said: list[str] = []
    lost = {
        n: WorkerLost("the process of session 1 is gone (killed by SIGKILL)") for n in (1, 2, 5)
    }
    workers = FakeWorkers(1, Failing(dict(lost)))
    run(journal, workers, said=said)
    assert kept(journal) == [*range(IMAGES)]
    assert len(workers.started) == 4
    assert ["(1 of 2)" in said[0], "(2 of 2)" in said[1], "(1 of 2)" in said[2]] == [True] * 3


def test_without_what_starts_workers_it_ends_at_once(journal: Journal) -> None:
    """No other attempt is made, and no other session's is."""
    said: list[str] = []
    gone = {n: NoWorkers("the head of the cluster is gone") for n in (3, 4)}
    workers = FakeWorkers(2, Failing(dict(gone)))
    with pytest.raises(NoWorkers, match="is gone"):
        run(journal, workers, said=said)
    assert len(kept(journal)) >= 3
    assert len(workers.started) == 2
    assert said == []


def test_too_many_failures_in_a_row_end_it(journal: Journal) -> None:
    broken = {n: NetworkFailure("the line broke") for n in (2, 3, 4)}
    with pytest.raises(NetworkFailure, match="the line broke"):
        run(journal, FakeWorkers(1, Failing(dict(broken))))
    assert kept(journal) == [0, 1]


def test_a_lane_that_finds_no_place_leaves_the_work_to_the_others(journal: Journal) -> None:
    """A server that serves one client at a time and lets nobody wait."""

    def one_place(number: int) -> None:
        if number:
            raise PeerRefused("the server is busy", "busy")

    def slow(task: Task) -> None:
        time.sleep(0.05)

    said: list[str] = []
    workers = FakeWorkers(2, slow, one_place)
    run(journal, workers, said=said)
    assert kept(journal) == [*range(IMAGES)]


@pytest.mark.parametrize(
    "error",
    [
        NetworkFailure("nobody listens there"),
        PeerMismatch("another Program"),
        PeerRefused("unknown client", "denied"),
    ],
)
def test_a_first_connection_that_cannot_be_is_the_end(journal: Journal, error: Exception) -> None:
    def refuse(number: int) -> None:
        raise error

    with pytest.raises(type(error)):
        run(journal, FakeWorkers(2, on_start=refuse))
    assert kept(journal) == []


def test_a_first_worker_that_is_lost_is_replaced(journal: Journal) -> None:
    """That says nothing of the server, which was not met yet."""
    lost = [WorkerLost("the process of session 1 is gone (killed by SIGKILL)")]

    def once(number: int) -> None:
        if lost:
            raise lost.pop()

    run(journal, FakeWorkers(1, on_start=once))
    assert kept(journal) == [*range(IMAGES)]


def test_what_is_in_flight_is_kept_when_another_fails(journal: Journal) -> None:
    """A quota ends while another session is in the middle of its run."""
    running, workers = threading.Event(), FakeWorkers(2)

    def before(task: Task) -> None:
        if task.numbers == (0,):
            running.set()
            assert workers.left.wait(10)
        else:
            assert running.wait(10)
            raise PeerRefused("the quota is used up", "denied")

    workers.before = before
    with pytest.raises(PeerRefused, match="quota"):
        run(journal, workers)
    assert kept(journal) == [0]


def test_a_file_that_changed_ends_it(journal: Journal) -> None:
    class Changing(FakeWorker):
        def result(self, number: int) -> ImageResult:
            return super().result(number + (number == 3))

    class ChangingWorkers(FakeWorkers):
        def start(self) -> FakeWorker:
            return Changing("session 1", self.before)

    with pytest.raises(BadInput, match=r"3\.npy: was changed since it was checked"):
        run(journal, ChangingWorkers())
    assert kept(journal) == [0, 1, 2]


def test_a_signal_ends_it_at_once(journal: Journal) -> None:
    """In the middle of the other images' runs, which end with their workers."""

    class Stopping(Unwatched):
        def image(self, image: Image) -> None:
            raise Stopped(15)

    workers = FakeWorkers(2)

    def before(task: Task) -> None:
        if task.numbers != (0,):
            assert workers.closed.wait(10)
            raise WorkerLost("the process is gone")

    workers.before = before
    with pytest.raises(Stopped):
        run(journal, workers, watcher=Stopping())
    assert kept(journal) == [0]


def test_nothing_is_handed_out_before_the_last_is_on_the_disk(journal: Journal) -> None:
    """One lane: when a task begins, all earlier ones are in the file."""
    seen: list[int] = []

    def before(task: Task) -> None:
        found = Journal.look(journal.path.parent)
        assert found is not None
        seen.append(len(found.images))

    run(journal, FakeWorkers(1, before), batch=2)
    assert seen == [0, 2, 4, 6]
    assert isinstance(journal.parts[0], Part)
