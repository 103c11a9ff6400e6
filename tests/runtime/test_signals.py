"""A signal to stop, and what it may not cut in two."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from moiety.runtime.party.server.loop import Loop
from moiety.runtime.party.signals import SIGNALS, Stopped, held, raise_stopped, strike


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = [signal.getsignal(number) for number in SIGNALS]
    raise_stopped()
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


def test_a_word_that_was_taken_is_heard_before_the_server_stops() -> None:
    """Else a session that ended well counts as one that was lost."""
    loop, heard = Loop(), []
    ours, theirs = socket.socketpair()

    def hear() -> None:
        word = ours.recv(100)
        os.kill(os.getpid(), signal.SIGTERM)
        heard.append(word)

    loop.watch(ours, hear)
    with theirs:
        theirs.send(b"finished")
        with pytest.raises(Stopped, match="SIGTERM"):
            loop.turn(1.0)
    loop.close()
    assert heard == [b"finished"]


def test_a_wait_is_cut_short() -> None:
    with pytest.raises(Stopped, match="SIGINT"):
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "a second one ends the process"


def test_what_is_held_is_raised_once() -> None:
    with pytest.raises(Stopped), held():
        os.kill(os.getpid(), signal.SIGTERM)
    with held():
        pass


def test_what_is_held_waits_for_the_outermost() -> None:
    passed = []

    def hold() -> None:
        with held():
            with held():
                os.kill(os.getpid(), signal.SIGTERM)
                passed.append("inner")
            passed.append("outer")

    with pytest.raises(Stopped):
        hold()
    assert passed == ["inner", "outer"]


STOP, OVERDUE = Stopped(signal.SIGTERM), TimeoutError("overdue")


@pytest.mark.parametrize("waiting", [(STOP, OVERDUE), (OVERDUE, STOP)])
def test_a_stop_is_what_comes_of_several(waiting: tuple[Exception | Stopped, ...]) -> None:
    with pytest.raises(Stopped), held():
        list(map(strike, waiting))


def test_another_thread_holds_nothing() -> None:
    """Signals do not reach it, and the main thread may be stopped meanwhile."""
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with held():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    try:
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        leave.set()
        thread.join()
