"""Processes that a server forks off. They share what it has prepared, page by page, for as long as
neither writes to it; whatever happens in one costs that one alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from moiety.runtime.party.server.loop import Loop
from moiety.runtime.party.server.reports import Order, Spoken, Word
from moiety.runtime.party.signals import SIGNALS, Stopped, raise_stopped

log = logging.getLogger("moiety.server")


class Line:
    """One end of the pair. `send` never waits: a peer that lets its lines pile up is not alive."""

    _decoder = msgspec.json.Decoder(Spoken | Order)

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._rest = b""

    def send(self, word: Word) -> bool:
        """False where the other end is gone or does not read."""
        data = msgspec.json.encode(word) + b"\n"
        try:
            return self.sock.send(data, socket.MSG_DONTWAIT) == len(data)
        except OSError:
            return False

    def receive(self) -> list[Spoken | Order] | None:
        """What has come, waiting if nothing has; None when the other end is gone."""
        try:
            data = self.sock.recv(1 << 16)
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [self._decoder.decode(line) for line in lines]


@dataclass(frozen=True)
class Child:
    """A process as its parent sees it. `line` ends when the process does."""

    pid: int
    line: Line

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def reap(self) -> str:
        """Once its line has ended: how the process did, in words; empty for a good end."""
        self.line.sock.close()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if code < 0:
            return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}" if code else ""


def start(work: Callable[[Line], None], loop: Loop, keep: socket.socket | None = None) -> Child:
    """Do `work` in a process of its own, which has of all that the loop watches `keep` alone.
    Raises `OSError` where the system has no process to give.
    """
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal between the fork and the child's own handlers would end the child as if it were the
    # parent.
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _live(work, loop, ours, theirs, keep)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    return Child(pid, Line(ours))


def _live(
    work: Callable[[Line], None],
    loop: Loop,
    theirs: socket.socket,
    ours: socket.socket,
    keep: socket.socket | None,
) -> None:
    """A child's whole life: nothing of the parent's runs on in it, not even its way out."""
    code = 70
    try:
        theirs.close()
        loop.close(keep)
        raise_stopped()
        # The parent decides what an interrupt from the terminal means, which both get.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        work(Line(ours))
        code = 0
    except Stopped:
        code = 0
    except BaseException:
        log.exception("process %d failed", os.getpid())
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class Leash:
    """The parent's words, in the child. Where the parent is gone the child is stopped, too."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="moiety-leash", daemon=True).start()

    def next(self, seconds: float) -> Order | None:
        """The parent's next word; None if it has said nothing for so long."""
        try:
            return self._orders.get(timeout=seconds)
        except queue.Empty:
            return None

    def _listen(self) -> None:
        while (orders := self._line.receive()) is not None:
            for order in orders:
                assert isinstance(order, Order)
                self._orders.put(order)
        os.kill(os.getpid(), signal.SIGTERM)
