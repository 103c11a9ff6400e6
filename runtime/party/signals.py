"""SIGINT and SIGTERM as one exception, raised where the main thread happens to be, so that both end
a process in good order.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
    thread only.
    """

    def handle(number: int, frame: FrameType | None) -> NoReturn:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)

    for each in SIGNALS:
        signal.signal(each, handle)
