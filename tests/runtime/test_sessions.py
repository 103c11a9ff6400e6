"""Several clients at once, some of whom hang, dawdle, die or ask too much: the others' results are
exact, and nobody waits for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moiety.protocols.errors import NetworkFailure
from moiety.protocols.session import Role
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Client, Connection
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import HEADER, MAGIC, Frame
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.party.server.admission import Caller, Denied, Everybody
from moiety.runtime.party.server.reports import Report
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.runnable import save_images
from tests.support.serving import Running, infer


@pytest.fixture
def serve(executor: ServerExecutor) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(parts: dict[str, Any] | None = None, **options: Any) -> Running:
        started.append(Running(executor, ServerOptions(**options), **(parts or {})))
        return started[-1]

    yield start
    for running in started:
        running.end()


@pytest.fixture
def check(executor: ServerExecutor, tmp_path: Path) -> Callable[[Running, str], None]:
    """Two images through the server, bit for bit as they should be."""
    files = save_images(tmp_path, 2)
    cleartext = CleartextExecutor(executor.program, executor.weights)
    expected = [next(iter(cleartext.run(np.load(file)).values())).tolist() for file in files]

    def run(running: Running, name: str) -> None:
        results = infer(running.connect(), executor.program, files, tmp_path / f"{name}.json")
        assert [image.outputs[0].values for image in results.images] == expected
        assert results.complete

    return run


def stop_half_way(
    executor: ServerExecutor,
    running: Running,
    what: Callable[[TcpChannel], object],
    keepalive: float = 0.5,
) -> None:
    """A client that does `what` with its channel in the middle of its first image."""
    channel = running.connect(keepalive)

    def half_way(done: int, total: int, step: str) -> None:
        if done == total // 2:
            what(channel)

    connection = Client(executor.program, progress=half_way).join(channel)
    connection.infer(np.zeros((2, 8, 8), np.float32))


def test_several_clients_at_once(
    serve: Callable[..., Running], check: Callable[[Running, str], None]
) -> None:
    running = serve(sessions=3)
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(check, running, str(number)) for number in range(6)]:
            done.result()
    summary = running.end()
    assert (summary.clients, summary.images, summary.failed_clients) == (6, 12, 0)
    assert len(set(running.wait_for(r"served by process (\d+)", 6))) == 6


def test_the_places_are_as_many_as_were_asked_for(
    serve: Callable[..., Running], executor: ServerExecutor
) -> None:
    running = serve(sessions=2, waiting=0)
    first, second = (Client(executor.program).join(running.connect()) for _ in range(2))
    with pytest.raises(NetworkFailure, match="busy"):
        Client(executor.program).join(running.connect())
    first.close()
    running.wait_for("finished")
    Client(executor.program).join(running.connect()).close()
    second.close()


def test_a_busy_server_says_when(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    check: Callable[[Running, str], None],
) -> None:
    running = serve(waiting=0)
    check(running, "first")  # so that the server knows how long a session takes
    running.wait_for("finished")
    with Client(executor.program).join(running.connect()):
        channel = running.connect()
        handshake.send(channel, handshake.hello(Role.CLIENT, executor.program))
        handshake.receive(channel, handshake.Hello)
        with pytest.raises(NetworkFailure, match=r"try again in about \d+ s"):
            handshake.receive(channel, handshake.Ready)


@pytest.mark.parametrize("keepalive", [1e9, 0.5], ids=["silent", "alive"])
def test_a_client_that_hangs_costs_its_own_place_only(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    check: Callable[[Running, str], None],
    keepalive: float,
) -> None:
    running = serve(sessions=2, run_seconds=2.0)
    over = threading.Event()

    def client() -> None:
        with pytest.raises(NetworkFailure, match="a run took longer than the 2 s that it may"):
            stop_half_way(executor, running, lambda channel: over.wait(60), keepalive)

    with ThreadPoolExecutor(1) as pool:
        hung = pool.submit(client)
        running.wait_for("session open")
        check(running, "other")
        running.wait_for("ended early after 0 images: a run took longer")
        over.set()
        hung.result()
    assert running.end().failed_clients == 1


def test_a_client_that_trickles_is_not_waited_for(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    check: Callable[[Running, str], None],
) -> None:
    running = serve(sessions=2, stall_seconds=2.0, min_rate=1000)
    connection = Client(executor.program).join(running.connect())
    handshake.send(connection.channel, handshake.Begin(index=0))
    sock = connection.channel._sock
    assert isinstance(sock, socket.socket)
    sock.sendall(HEADER.pack(MAGIC, Frame.DATA, 1 << 20))
    stop = threading.Event()

    def trickle() -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(0.1):
                sock.sendall(b"\0")

    thread = threading.Thread(target=trickle)
    thread.start()
    check(running, "other")
    running.wait_for(r"ended early after 0 images: \d+ bytes a second where at least 1000 are due")
    stop.set()
    thread.join()


def test_each_deadline_has_its_words(
    serve: Callable[..., Running], executor: ServerExecutor
) -> None:
    def entered(running: Running) -> TcpChannel:
        channel = running.connect()
        Client(executor.program).shake_hands(channel)
        return channel

    setup = serve(setup_seconds=0.5)
    entered(setup)
    setup.wait_for("the set-up took longer")
    idle = serve(idle_seconds=0.5)
    Client(executor.program).join(idle.connect())
    idle.wait_for("the time between two runs took longer")
    session = serve(session_seconds=0.5)
    Client(executor.program).join(session.connect())
    session.wait_for("the session took longer")


def test_a_process_that_no_longer_hears_is_ended(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    check: Callable[[Running, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its alarm does not ring, and it does not heed SIGTERM: stopped, say, in a debugger."""
    for module in ("parent", "visitor"):
        monkeypatch.setattr(f"moiety.runtime.party.server.{module}.GRACE", 0.5)
    running = serve(idle_seconds=1.0, setup_seconds=1.0)
    channel = running.connect()
    Client(executor.program).join(channel)
    os.kill(running.child_of(channel), signal.SIGSTOP)
    running.wait_for("lost: its process was killed by SIGKILL")
    check(running, "next")


def test_a_crash_costs_its_client_only(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    check: Callable[[Running, str], None],
) -> None:
    running = serve(sessions=2)

    def crash(channel: TcpChannel) -> None:
        os.kill(running.child_of(channel), signal.SIGSEGV)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(check, running, "other")
        with pytest.raises(NetworkFailure, match="closed the connection"):
            stop_half_way(executor, running, crash)
        other.result()
    running.wait_for("lost: its process was killed by SIGSEGV")
    summary = running.end()
    assert (summary.clients, summary.failed_clients, summary.images) == (2, 1, 2)


def test_silent_connections_lock_nobody_out(
    serve: Callable[..., Running], check: Callable[[Running, str], None]
) -> None:
    running = serve(silent=40, silent_per_address=32, handshake_seconds=60)
    with contextlib.ExitStack() as silent:
        for _ in range(50):
            silent.enter_context(socket.create_connection(("127.0.0.1", running.listener.port)))
        check(running, "one")
        running.wait_for("has said nothing, and others need its place", 50 - 32)
    running.wait_for("closed without a word", 31)


def test_those_who_begin_a_handshake_and_stop_lock_nobody_out(
    serve: Callable[..., Running], check: Callable[[Running, str], None]
) -> None:
    """Sixteen with all processes that there are, who would keep them for a minute."""
    running = serve(handshakes=4, handshakes_per_address=4, handshake_seconds=60)
    with contextlib.ExitStack() as stalled:
        for _ in range(4):
            sock = socket.create_connection(("127.0.0.1", running.listener.port))
            stalled.enter_context(sock).sendall(b"MOI")
        check(running, "one")
        running.wait_for("lost: its process was killed by SIGKILL")


class AtMost(Everybody):
    """An Admission that counts in a file, as processes must."""

    def __init__(self, file: Path, images: int, welcome: bool = True) -> None:
        self.file, self.images, self.welcome = file, images, welcome

    def refresh(self) -> None:
        pass

    def admit(self, caller: Caller, program: str) -> Caller:
        if not self.welcome:
            raise Denied(f"{caller.address} is not known here")
        return Caller(caller.address, name="St. Elsewhere")

    def take(self, caller: Caller, images: int) -> None:
        assert caller.name == "St. Elsewhere"
        taken = len(self.file.read_bytes()) if self.file.exists() else 0
        if taken + images > self.images:
            raise Denied(f"{self.images} images a day are used up")
        with self.file.open("ab") as file:
            file.write(b"." * images)

    def hear(self, report: object) -> None:
        pass


class Written:
    """A Recorder that a test can read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def record(self, caller: Caller | None, event: Report) -> None:
        with self.file.open("a") as file:
            name = caller.name if caller else None
            file.write(f"{name} {type(event).__name__} {getattr(event, 'outcome', '')}\n")


def test_who_asks_too_much_keeps_what_it_has(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    recorder = Written(tmp_path / "events")
    running = serve({"admission": AtMost(tmp_path / "count", 2), "recorder": recorder})
    files = save_images(tmp_path, 3)
    with pytest.raises(NetworkFailure, match="2 images a day are used up"):
        infer(running.connect(), executor.program, files, tmp_path / "r.json")
    assert len(json.loads((tmp_path / "r.json").read_text())["images"]) == 2
    running.end()
    events = [line.split(" ")[-2:] for line in recorder.file.read_text().splitlines()]
    assert [name for name, _ in events] == [
        "Phase",
        "Wants",
        "Go",
        *["Began", "Done"] * 2,
        "Ended",
        "Phase",
    ]
    assert "St. Elsewhere Began" in recorder.file.read_text()
    assert ["Ended", "failed"] in events


def test_who_is_not_known_gets_no_place(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    running = serve({"admission": AtMost(tmp_path / "count", 0, welcome=False)})
    with pytest.raises(NetworkFailure, match=r"127\.0\.0\.1 is not known here"):
        Client(executor.program).join(running.connect())
    summary = running.end()
    assert (summary.clients, summary.refused) == (0, 1)


def test_processes_draw_their_own_randomness(
    serve: Callable[..., Running], executor: ServerExecutor
) -> None:
    """What a process does not have from before the fork it cannot share with another one."""
    running = serve(sessions=4)
    firsts = []
    for _ in range(4):
        channel = running.connect()
        Client(executor.program, ot="softspoken").shake_hands(channel)
        firsts.append(bytes(channel.recv(64)))
        channel.abort()
    assert len(set(firsts)) == 4


def resident(pid: int) -> int:
    """Bytes of a process that are in memory and its own."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_stays_as_it_is(serve: Callable[..., Running], executor: ServerExecutor) -> None:
    """Of the server over clients, and of a client's process over images; benchmarks/sessions.py
    has more of both.
    """
    running = serve()
    image = np.zeros((2, 8, 8), np.float32)

    def visit(connection: Connection, images: int) -> None:
        for _ in range(images):
            connection.infer(image)

    def come_and_go(clients: int) -> None:
        for _ in range(clients):
            with Client(executor.program, ot="softspoken").join(running.connect()) as connection:
                visit(connection, 1)

    come_and_go(2)
    before = resident(running.pid)
    come_and_go(6)
    assert resident(running.pid) - before < 2e6
    channel = running.connect()
    with Client(executor.program, ot="softspoken").join(channel) as connection:
        visit(connection, 10)
        pid = running.child_of(channel)
        before = resident(pid)
        visit(connection, 40)
        assert resident(pid) - before < 4e6
