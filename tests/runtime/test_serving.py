"""The server's ways with its clients, over TCP within one process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from moiety.protocols.errors import (
    BadArtifact,
    ContractViolation,
    NetworkFailure,
    PeerMismatch,
    UntrustedPeer,
)
from moiety.protocols.session import Role, Session
from moiety.runtime import program as ir
from moiety.runtime.cost import traffic
from moiety.runtime.intake.loader import Reader
from moiety.runtime.intake.picture import Identity
from moiety.runtime.intake.verdicts import Taken
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Client
from moiety.runtime.party.endpoints import Listener
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.server import Server, ServerOptions
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.results import inference
from moiety.runtime.results.inference import Cohort, infer_files
from moiety.runtime.results.outputs import Outputs, open_outputs
from moiety.runtime.results.record import WITH_WARNINGS, Fingerprints, ImageResult, Results
from tests.support.dicom_sources import a_source
from tests.support.results import WARNING
from tests.support.runnable import save_images, small
from tests.support.serving import Running, infer


def other_program() -> ir.Program:
    program, _ = small(name="another")
    return program


@pytest.fixture
def serve(executor: ServerExecutor) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(**options: Any) -> Running:
        started.append(Running(executor, ServerOptions(**options)))
        return started[-1]

    yield start
    for running in started:
        running.end()


def test_many_images_and_sequential_clients(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    running = serve(max_clients=2)
    files = save_images(tmp_path, 2)
    for _ in range(2):
        results = infer(running.connect(), executor.program, files, tmp_path / "r.json")
        assert results.complete
        cleartext = CleartextExecutor(executor.program, executor.weights)
        for file, image in zip(files, results.images, strict=True):
            (expected,) = cleartext.run(np.load(file)).values()
            assert image.outputs[0].values == expected.tolist()
            assert image.server.seconds > 0
    summary = running.end()
    assert (summary.clients, summary.images, summary.failed_clients, summary.refused) == (
        2,
        4,
        0,
        0,
    )


def test_results_file(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    running = serve()
    (file,) = save_images(tmp_path, 1)
    infer(running.connect(), executor.program, [file], tmp_path / "r.json")
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["program"] == executor.program.digest()
    assert written["complete"] is True
    assert written["images"][0]["file"] == str(file)
    cost = traffic.image_cost(executor.program)
    assert (written["images"][0]["bytes_sent"], written["images"][0]["bytes_received"]) == (
        cost.up,
        cost.down,
    )
    assert written["wire_bytes_sent"] > written["bytes_sent"] >= cost.up
    assert (
        msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=Results)
        .images[0]
        .outputs[0]
        .name
        == "out"
    )


def test_what_the_intake_says_reaches_every_format(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """JSON, CSV and DICOM SR of one run of two sources."""
    pytest.importorskip("highdicom")
    sources = [a_source(tmp_path, name) for name in ("a.dcm", "b.dcm")]
    identity = Identity(file_sha256="f" * 64, pixel_sha256="e" * 64, sop_instance_uid="1.2.3")

    def load(file: Path, reader: Reader) -> Taken:
        tensor = np.full(reader.shape, 0.5, np.float32)
        return Taken(path=file, case=tensor, tensor=tensor, identity=identity, warnings=(WARNING,))

    monkeypatch.setattr(inference, "load", load)
    outputs = Outputs(
        open_outputs([str(tmp_path / n) for n in ("r.json", "r.csv")] + [f"{tmp_path}/sr/"])
    )
    cohort = Cohort(sources, [(Path("bad.png"), "damaged")], [(Path("x.txt"), "no image")])
    assert outputs.check(cohort.files, executor.program)[f"{tmp_path}/sr/"] == []
    with Client(executor.program).join(serve().connect()) as connection:
        results = infer_files(connection, cohort, outputs)
    written = msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=Results)
    assert written == results
    assert [image.identity for image in written.images] == [identity] * 2
    assert [image.verdict for image in written.images] == [WITH_WARNINGS] * 2
    assert written.images[0].warnings == (WARNING,)
    assert (written.refused[0].reason, written.skipped[0].file) == ("damaged", "x.txt")
    assert (written.fingerprints, written.remaining) == (Fingerprints(), [])
    assert written.preprocessing_sha256 is None  # this Program takes tensors
    assert (tmp_path / "r.csv").read_text().count("1.2.3") == 2
    assert len(list((tmp_path / "sr").iterdir())) == 2


def test_a_session_rests_on_its_line(
    serve: Callable[..., Running], executor: ServerExecutor
) -> None:
    """Where the two ends are not those of one TLS connection, the set-up is not confirmed."""
    channel = serve().connect()
    channel.line = replace(channel.line, exporter=bytes([1]) * 32)
    with pytest.raises(UntrustedPeer, match="not confirmed"):
        Client(executor.program).join(channel)


def test_second_client_waits_its_turn(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    running = serve()
    first = Client(executor.program).join(running.connect())
    waited: list[int] = []
    finished = threading.Event()
    (file,) = save_images(tmp_path, 1)

    def second() -> None:
        infer(
            running.connect(),
            executor.program,
            [file],
            tmp_path / "second.json",
            on_wait=waited.append,
        )
        finished.set()

    thread = threading.Thread(target=second)
    thread.start()
    until = time.monotonic() + 10
    while not waited and time.monotonic() < until:
        time.sleep(0.02)
    assert waited == [1]
    assert not finished.is_set()
    first.infer(np.load(file))
    first.close()
    thread.join(timeout=30)
    assert finished.is_set()


def test_a_full_queue_refuses_politely(
    serve: Callable[..., Running], executor: ServerExecutor
) -> None:
    running = serve(waiting=0)
    first = Client(executor.program).join(running.connect())
    with pytest.raises(NetworkFailure, match="the server is busy"):
        Client(executor.program).join(running.connect())
    first.close()


def test_waiting_client_is_sent_away_when_the_server_stops(
    serve: Callable[..., Running], executor: ServerExecutor
) -> None:
    running = serve()
    first = Client(executor.program).join(running.connect())
    channel = running.connect()
    with pytest.raises(NetworkFailure, match="shutting down"):
        Client(executor.program, on_wait=lambda ahead: running.stop()).join(channel)
    first.channel.abort()


@pytest.mark.parametrize(
    "dies", ["after the handshake", "while waiting", "in the middle of an inference"]
)
def test_server_survives_a_client_that_vanishes(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path, dies: str
) -> None:
    running = serve()
    if dies == "after the handshake":
        Client(executor.program).shake_hands(channel := running.connect())
        channel.abort()
    elif dies == "while waiting":
        first = Client(executor.program).join(running.connect())
        channel = running.connect()
        handshake.send(channel, handshake.hello(Role.CLIENT, executor.program))
        handshake.receive(channel, handshake.Hello)
        handshake.receive(channel, handshake.Waiting)
        channel.abort()
        first.close()
    else:
        channel = running.connect()

        def stop_half_way(done: int, total: int, what: str) -> None:
            if done > total // 2:
                channel.abort()

        connection = Client(executor.program, progress=stop_half_way).join(channel)
        with pytest.raises(NetworkFailure):
            connection.infer(np.zeros((2, 8, 8), np.float32))
    files = save_images(tmp_path, 1)
    assert infer(running.connect(), executor.program, files, tmp_path / "r.json").complete
    running.wait_for(r"finished, 1 images")
    summary = running.end()
    assert (summary.images, summary.failed_clients) == (1, 1)


def test_client_keeps_finished_results_when_its_process_dies(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    """In the middle of the second of three images; the server goes on."""
    running = serve()
    channel = running.connect()
    done: list[ImageResult] = []

    def kill_in_second_image(step: int, total: int, what: str) -> None:
        if done and step == total // 2:
            os.kill(running.child_of(channel), signal.SIGKILL)

    files = save_images(tmp_path, 3)
    with pytest.raises(NetworkFailure):
        infer(
            channel,
            executor.program,
            files,
            tmp_path / "r.json",
            on_image=done.append,
            progress=kill_in_second_image,
        )
    written = json.loads((tmp_path / "r.json").read_text())
    assert len(written["images"]) == 1
    assert written["complete"] is False
    assert written["error"]
    running.wait_for("lost: its process was killed by SIGKILL")
    assert infer(running.connect(), executor.program, files, tmp_path / "s.json").complete
    summary = running.end()
    assert (summary.clients, summary.failed_clients, summary.images) == (2, 1, 4)


def test_internal_failure_ends_one_session_and_tells_no_secret(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = save_images(tmp_path, 1)
    marker = tmp_path / "broken"
    marker.touch()
    whole = executor.run_keeping

    def broken(session: Session, **options: Any) -> object:
        if marker.exists():
            raise ValueError("weight 123 is odd")
        return whole(session, **options)

    monkeypatch.setattr(executor, "run_keeping", broken)
    running = serve()
    with pytest.raises(NetworkFailure, match="internal failure at the server") as caught:
        infer(running.connect(), executor.program, files, tmp_path / "r.json")
    assert "123" not in str(caught.value)
    running.wait_for("weight 123")
    marker.unlink()
    assert infer(running.connect(), executor.program, files, tmp_path / "r.json").complete


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 64,
        b"",
        b"MOI\x02\x02\x00\x00\x00{}",
        b"MOI\x02\x05\x00\x00\x00hello",
        b"MOI\x01\xff\xff\xff\xff",
    ],
)
def test_server_survives_garbage(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    tmp_path: Path,
    garbage: bytes,
) -> None:
    running = serve()
    with socket.create_connection(("127.0.0.1", running.listener.port)) as sock:
        sock.sendall(garbage)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(5)
            while sock.recv(100):
                pass
    files = save_images(tmp_path, 1)
    assert infer(running.connect(), executor.program, files, tmp_path / "r.json").complete
    assert running.end().refused == 1
    assert len(running.wait_for("dropped before the handshake")) == 1


def test_slow_handshake_is_dropped_and_delays_nobody(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    running = serve(handshake_seconds=0.5)
    with socket.create_connection(("127.0.0.1", running.listener.port)) as slow:
        slow.sendall(b"MOI")
        files = save_images(tmp_path, 1)
        assert infer(running.connect(), executor.program, files, tmp_path / "r.json").complete
        slow.settimeout(5)
        while slow.recv(4096):  # the server's Hello, then the end
            pass
    assert running.end().refused == 1


def test_those_who_wait_are_reminded_and_those_who_left_forgotten(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    tmp_path: Path,
) -> None:
    running = serve(waiting=1, reminder_seconds=0.1)
    first = Client(executor.program).join(running.connect())
    second = running.connect()
    handshake.send(second, handshake.hello(Role.CLIENT, executor.program))
    handshake.receive(second, handshake.Hello)
    assert [handshake.receive(second, handshake.Waiting).ahead for _ in range(3)] == [1, 1, 1]
    second.abort()
    running.wait_for("left while waiting")
    # Its place is free again.
    waited = threading.Event()
    thread = threading.Thread(
        target=lambda: infer(
            running.connect(),
            executor.program,
            save_images(tmp_path, 1),
            tmp_path / "r.json",
            on_wait=lambda ahead: waited.set(),
        )
    )
    thread.start()
    assert waited.wait(timeout=10)
    first.close()
    thread.join(timeout=30)
    assert json.loads((tmp_path / "r.json").read_text())["complete"]


def test_earlier_results_survive_a_run_that_computes_nothing(
    serve: Callable[..., Running], tmp_path: Path, executor: ServerExecutor
) -> None:
    running = serve()
    (tmp_path / "r.json").write_text("earlier")
    with pytest.raises(PeerMismatch):
        infer(running.connect(), other_program(), save_images(tmp_path, 1), tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text() == "earlier"


def test_clients_that_come_while_the_server_prepares_wait(
    executor: ServerExecutor, tmp_path: Path
) -> None:
    """However long it takes; and what one process prepares is there in all others."""
    fresh = ServerExecutor(executor.program, executor.weights)
    waited, prepare_now = tmp_path / "waited", threading.Event()

    def prepare() -> None:
        while not waited.exists():
            time.sleep(0.02)
        fresh.prepare()

    running = Running(fresh, ServerOptions(max_clients=1), prepare)

    def told(ahead: int) -> None:
        assert ahead == 0
        waited.touch()
        prepare_now.set()

    files = save_images(tmp_path, 1)
    results = infer(running.connect(), executor.program, files, tmp_path / "r.json", on_wait=told)
    assert prepare_now.is_set()
    (expected,) = (
        CleartextExecutor(executor.program, executor.weights).run(np.load(files[0])).values()
    )
    assert results.images[0].outputs[0].values == expected.tolist()
    assert running.wait().images == 1


def test_a_preparation_does_not_outlive_its_server(
    executor: ServerExecutor, tmp_path: Path
) -> None:
    """Killed while it prepares, a server can be started again at once, at the same address."""
    preparer = tmp_path / "preparer"

    def prepare() -> None:
        preparer.write_text(str(os.getpid()))
        time.sleep(60)

    running = Running(executor, ServerOptions(), prepare)
    until = time.monotonic() + 20
    while not (preparer.exists() and preparer.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    assert "SIGKILL" in running._process.reap()
    Listener.at("127.0.0.1", running.listener.port).close()
    while Path("/proc", preparer.read_text()).exists():
        assert time.monotonic() < until, "the preparation goes on without its server"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "could not be prepared.*SIGKILL"),
        (lambda: os._exit(3), "could not be prepared.*exit code 3"),
    ],
)
def test_a_server_that_cannot_be_prepared_says_so(
    executor: ServerExecutor, fails: Callable[[], None], said: str
) -> None:
    server = Server(executor, Listener.at("127.0.0.1", 0), ServerOptions())
    with pytest.raises(ContractViolation, match=said):
        server.run(fails)


def test_bad_input_of_the_preparation_is_told_as_such(executor: ServerExecutor) -> None:
    def fails() -> None:
        raise BadArtifact("cannot read the weights")

    server = Server(executor, Listener.at("127.0.0.1", 0), ServerOptions())
    with pytest.raises(BadArtifact, match="cannot read the weights"):
        server.run(fails)


def test_different_programs_are_refused_on_both_sides(
    serve: Callable[..., Running],
    executor: ServerExecutor,
) -> None:
    running = serve()
    with pytest.raises(PeerMismatch) as caught:
        Client(other := other_program()).join(running.connect())
    assert executor.program.digest()[:16] in str(caught.value)
    assert other.digest()[:16] in str(caught.value)
    assert "the file that" in str(caught.value)
    running.wait_for("refused: the two sides differ in the Program")
