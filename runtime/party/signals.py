"""SIGINT and SIGTERM as one exception, raised where the main thread happens to be, so that both end
a process in good order; and what neither this one nor another signal's may cut in two.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_holds = 0
"""How many blocks of `held` the main thread is in."""
_waiting: Exception | Stopped | None = None
"""What is raised at the end of the outermost."""


class Stopped(BaseException):
    """The process was asked to stop. Not an `Exception`: nothing that handles failures may
    swallow it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def stay_on_hangup() -> None:
    """SIGHUP, by which service managers ask for a reload, ends nothing from now on: the access file
    and the log file are looked at again before each use anyhow. Main thread only.
    """
    signal.signal(signal.SIGHUP, lambda number, frame: None)


def raise_stopped() -> None:
    """Turn the first of the two signals into `Stopped`; a second one ends the process at once. Main
    thread only. A process that is forked off while signals are held begins anew with this.
    """
    global _holds, _waiting
    _holds, _waiting = 0, None

    def handle(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        strike(Stopped(number))

    for each in SIGNALS:
        signal.signal(each, handle)


def strike(error: Exception | Stopped) -> None:
    """For the handler of a signal: raises `error`, where signals are held at the end of that. Of
    several that wait, `Stopped` is raised, or the last.
    """
    global _waiting
    if not _holds:
        raise error
    if not isinstance(_waiting, Stopped):
        _waiting = error


@contextmanager
def held() -> Iterator[None]:
    """Nothing that a signal raises by `strike` is raised in here, but at the end: what is begun is
    done. It may be within itself; other threads than the main one, which signals do not reach, pass
    through.
    """
    global _holds, _waiting
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _holds += 1
    try:
        yield
    finally:
        _holds -= 1
        if not _holds:
            error, _waiting = _waiting, None
            if error is not None:
                raise error
