"""A signal to stop, and what it may not cut in two."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from moiety.runtime.party.server.loop import Loop
from moiety.runtime.party.signals import SIGNALS, Stopped, held, raise_stopped


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
