"""A party that is stopped while it sends: the peer gets each byte once, and an end that it
understands; never a frame again, which would fail a check as an attack does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from moiety.protocols.errors import NetworkFailure
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Client
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import PeerClosed, PeerError
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.party.server.limits import Alarm, Overdue
from moiety.runtime.party.signals import SIGNALS, Stopped, raise_stopped
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Case, Program
from tests.support.lines import joined, two_credentials
from tests.support.runnable import save_images
from tests.support.serving import Running

DATA = np.arange(5_000, dtype=np.uint32).view(np.uint8)
"""Leaves at once, as one frame."""
WORDS = "the server is shutting down"
Pair = tuple[TcpChannel, TcpChannel]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (*SIGNALS, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(params=["plain", "TLS"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """(who is stopped, the peer)."""
    keys = (None, None) if request.param == "plain" else two_credentials(tmp_path)
    ours, peer = joined(*keys)
    yield ours, peer
    ours.abort()
    peer.abort()


def interrupt() -> None:
    raise KeyboardInterrupt


def after_put(patch: pytest.MonkeyPatch, number: int, happens: Callable[[], None]) -> None:
    """It happens when the socket has taken what some channel gave it for the `number`-th time, and
    before the channel knows.
    """
    put, left = TcpChannel._send_first, [number]

    def putting(channel: TcpChannel) -> int:
        count = put(channel)
        left[0] -= 1
        if not left[0]:
            happens()
        return count

    patch.setattr(TcpChannel, "_send_first", putting)


@contextmanager
def stopping(channel: TcpChannel) -> Iterator[None]:
    raise_stopped()
    with pytest.raises(Stopped):
        yield


@contextmanager
def overdue(channel: TcpChannel) -> Iterator[None]:
    alarm = Alarm(channel, ServerOptions())
    alarm.start()
    alarm.stop()  # the test rings it
    with pytest.raises(Overdue), alarm.within(-1, "this"):
        yield


@pytest.mark.parametrize(
    ("number", "ending"), [(signal.SIGTERM, stopping), (signal.SIGALRM, overdue)]
)
def test_a_signal_waits_until_it_is_known_what_has_left(
    number: signal.Signals,
    ending: Callable[[TcpChannel], AbstractContextManager[None]],
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, peer = pair
    after_put(monkeypatch, 1, lambda: signal.raise_signal(number))
    with ending(ours):
        ours.send(DATA)
    ours.send(DATA[:100])  # of a flight that is never whole
    handshake.refuse(ours, "stopping", WORDS)
    assert np.array_equal(peer.recv(DATA.size), DATA)
    with pytest.raises(PeerError) as ended:
        peer.recv(1)
    assert WORDS in str(handshake.refused(ended.value))


def test_nothing_follows_what_nobody_knows_of(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has not asked for `Stopped` is interrupted wherever it is."""

    ours, peer = pair
    after_put(monkeypatch, 1, interrupt)
    with pytest.raises(KeyboardInterrupt):
        ours.send(DATA)
    with pytest.raises(NetworkFailure, match="is closed"):
        ours.send(DATA)
    handshake.refuse(ours, "failed", "the client stopped")
    assert np.array_equal(peer.recv(DATA.size), DATA)
    with pytest.raises(PeerClosed, match="closed the connection"):
        peer.recv(1)


PUTS = (3, 5, 7, 9, 11, 13, 17, 23)
"""From the handshake to some later image's run."""


def run_images(server: Running, program: Program, tensor: Case) -> None:
    with Client(program).join(server.connect()) as connection:
        for _ in range(6):
            connection.infer(tensor)


@pytest.fixture
def tensor(tmp_path: Path) -> Case:
    return np.load(save_images(tmp_path, 1)[0])


@pytest.mark.parametrize("number", PUTS)
def test_a_server_that_is_stopped_while_it_sends(
    number: int, executor: ServerExecutor, tensor: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it was sending, its client has lost it, and nobody has deviated."""
    with monkeypatch.context() as patch:  # for the processes that are forked off in here
        after_put(patch, number, lambda: os.kill(os.getpid(), signal.SIGTERM))
        server = Running(executor, ServerOptions())
    try:
        with pytest.raises(NetworkFailure, match=WORDS):
            run_images(server, executor.program, tensor)
    finally:
        server.end()


@pytest.mark.parametrize("number", PUTS)
def test_a_client_that_is_interrupted_while_it_sends(
    number: int, executor: ServerExecutor, tensor: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone, and no check of what it sent has failed, which would count against its key."""
    server = Running(executor, ServerOptions())
    after_put(monkeypatch, number, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_images(server, executor.program, tensor)
    (ended,) = server.wait_for("ended early.*|dropped before.*|left while.*")
    server.end()
    assert "closed the connection" in ended
