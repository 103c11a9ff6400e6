"""SIGINT and SIGTERM as one exception, raised where the main thread happens to be, so that both end
a process in good order.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_held = False
_waiting: Stopped | None = None
"""What is raised when signals are held no more."""


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
    global _held, _waiting
    _held, _waiting = False, None

    def handle(number: int, frame: FrameType | None) -> None:
        global _waiting
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if not _held:
            raise Stopped(number)
        _waiting = Stopped(number)

    for each in SIGNALS:
        signal.signal(each, handle)


@contextmanager
def held() -> Iterator[None]:
    """`Stopped` is not raised in here but at the end: what is begun is done. Main thread only, and
    not within itself.
    """
    global _held, _waiting
    _held = True
    try:
        yield
    finally:
        _held = False
        stopped, _waiting = _waiting, None
        if stopped is not None:
            raise stopped
