"""A cohort over a line that breaks: what is tried again, what is not, and that nothing is lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moiety.protocols.errors import NetworkFailure, PeerMismatch
from moiety.runtime.intake.loader import Reader
from moiety.runtime.operation.audit import AuditLog, verify
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party.client import Client, Connection
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.results.inference import Cohort
from moiety.runtime.results.outputs import Outputs, open_outputs
from moiety.runtime.results.record import ImageResult, Results, empty_results
from moiety.runtime.results.retry import Attempts, Retries
from tests.support.runnable import save_images, small
from tests.support.serving import Running


@pytest.fixture
def running(executor: ServerExecutor) -> Iterator[Running]:
    started = Running(executor, ServerOptions())
    yield started
    started.end()


@dataclass
class Line:
    """Connections to a server that break when the test says so, and what the client did of it."""

    running: Running
    executor: ServerExecutor
    connections: list[Connection] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)

    def connect(self) -> Connection:
        made = Client(self.executor.program).join(self.running.connect())
        self.connections.append(made)
        return made

    def retries(self, times: int = 3) -> Retries:
        return Retries(times, sleep=self.pauses.append, say=self.said.append)

    def cut(self) -> None:
        """The cable of the connection in use."""
        self.connections[-1].channel.abort()


@pytest.fixture
def line(running: Running, executor: ServerExecutor) -> Line:
    return Line(running, executor)


def test_a_broken_connection_goes_on_at_the_next_image(
    line: Line, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Five images, cut after the second and after the third: each has one result, the right one,
    and the log of either side shows what was run.
    """
    caplog.set_level(logging.INFO)
    files = save_images(tmp_path / "in", 5)

    def on_image(result: ImageResult) -> None:
        line.begun.append(result.file)
        if len(line.begun) in (2, 3):
            line.cut()

    audit = AuditLog(tmp_path / "audit.jsonl")
    attempts = Attempts(
        connect=line.connect,
        cohort=Cohort(files),
        outputs=Outputs(open_outputs([str(tmp_path / "r.json")])),
        reader=Reader.of(line.executor.program),
        retries=line.retries(),
        on_image=on_image,
        recorder=Recorder("client", line.executor.program.digest(), audit),
    )
    results = attempts.run()
    assert line.begun == [str(file) for file in files]
    cleartext = CleartextExecutor(line.executor.program, line.executor.weights)
    for file, image in zip(files, results.images, strict=True):
        (expected,) = cleartext.run(np.load(file)).values()
        assert image.outputs[0].values == expected.tolist()
    written = json.loads((tmp_path / "r.json").read_text())
    assert (written["complete"], written["error"], len(written["images"])) == (True, None, 5)
    channels = [connection.channel for connection in line.connections]
    assert len(channels) == 3
    assert results.wire_bytes_sent <= sum(channel.wire_sent for channel in channels)
    assert results.wire_bytes_sent > max(channel.wire_sent for channel in channels)
    assert ["2 of 5" in line.said[0], "3 of 5" in line.said[1]] == [True, True]
    check_audit(audit.path, line.executor.program.digest())


def check_audit(path: Path, program: str) -> None:
    """The client's log of that: three sessions, and the runs that broke are in it."""
    verify(path)
    events = [json.loads(each) for each in path.read_text().splitlines()]
    assert [each["event"] for each in events].count("joined") == 3
    assert [each["end"] for each in events if each["event"] == "left"] == [
        "failed",
        "failed",
        "done",
    ]
    finished = [each for each in events if each["event"] == "finished"]
    assert sum(each["count"] for each in finished) == 5
    begun = [each for each in events if each["event"] == "begun"]
    assert all(len(each["images"][0]["file_sha256"]) == 64 for each in begun)
    assert {each["program"] for each in events} == {program}
    assert "image0.npy" not in path.read_text()


def test_attempts_end_when_nothing_comes_of_them(line: Line, tmp_path: Path) -> None:
    files = save_images(tmp_path / "in", 2)

    def connect_and_cut() -> Connection:
        connection = line.connect()
        line.cut()
        return connection

    with pytest.raises(NetworkFailure):
        attempts_of(connect_and_cut, tmp_path, line.retries(2), files).run()
    assert len(line.connections) == 3
    assert len(line.pauses) == 2
    assert 1.0 <= line.pauses[0] <= 2.0 <= line.pauses[1] <= 4.0


# --- what is tried again --------------------------------------------------------------------------


def outcomes(*errors: Exception) -> tuple[Callable[[], Connection], list[Exception]]:
    """A `connect` that fails in these ways, one after the other."""
    left = list(errors)

    def connect() -> Connection:
        raise left.pop(0)

    return connect, left


def attempts_of(
    connect: Callable[[], Connection], folder: Path, retries: Retries, files: Sequence[Path] = ()
) -> Attempts:
    program, _ = small()
    outputs = Outputs(open_outputs([str(folder / "r.json")]))
    return Attempts(connect, Cohort(files), outputs, Reader.of(program), retries)


def results_of_a_connection_before() -> Results:
    program, _ = small()
    return empty_results(program, {})


@pytest.mark.parametrize(
    ("error", "met", "again"),
    [
        (NetworkFailure("refused"), False, False),
        (NetworkFailure("refused"), True, True),
        (PeerRefused("busy", "busy", 30.0), False, True),
        (PeerRefused("stops", "stopping"), False, False),
        (PeerRefused("stops", "stopping"), True, True),
        (PeerRefused("gave up", "failed"), True, True),
        (PeerRefused("quota", "denied"), True, False),
        (PeerMismatch("another Program"), True, False),
    ],
)
def test_what_is_tried_again(error: Exception, met: bool, again: bool, tmp_path: Path) -> None:
    connect, left = outcomes(error, PeerMismatch("the end"))
    pauses: list[float] = []
    attempts = attempts_of(connect, tmp_path, Retries(1, sleep=pauses.append))
    if met:
        attempts.results = results_of_a_connection_before()
    with pytest.raises(PeerMismatch if again else type(error)):
        attempts.run()
    assert len(left) == (0 if again else 1)


def test_a_busy_server_is_left_alone_as_long_as_it_says(tmp_path: Path) -> None:
    connect, _ = outcomes(*[PeerRefused("busy", "busy", 30.0)] * 3)
    pauses: list[float] = []
    with pytest.raises(PeerRefused):
        attempts_of(connect, tmp_path, Retries(2, sleep=pauses.append)).run()
    assert pauses == [30.0, 30.0]


def test_pauses_grow_to_a_bound() -> None:
    retries = Retries()
    pauses = [retries.pause(NetworkFailure("lost"), failure) for failure in range(1, 12)]
    for number, pause in enumerate(pauses):
        full = min(60.0, 2.0 * 2**number)
        assert full / 2 <= pause <= full


def test_no_retries_is_one_attempt(tmp_path: Path) -> None:
    connect, left = outcomes(*[PeerRefused("busy", "busy", 30.0)] * 2)
    nothing: Any = None
    with pytest.raises(PeerRefused):
        attempts_of(connect, tmp_path, Retries(0, sleep=nothing)).run()
    assert len(left) == 1
