"""The process of one session: `python -m moiety.runtime.study.session_process`, which local.py
starts. Takes its plan and tasks on standard input, answers on standard output, and ends with them;
where the study's process is gone it stops, too, in the middle of a run.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import traceback
from typing import BinaryIO

from moiety.protocols.errors import ContractViolation, MoietyError
from moiety.runtime.party.memory import keep_freed
from moiety.runtime.party.signals import Stopped, raise_stopped
from moiety.runtime.study import wire
from moiety.runtime.study.session import Session, SessionPlan
from moiety.runtime.study.workers import Task


class Orders:
    """Lines of a pipe, read by a thread, so that their end is seen at any moment. The pipe is this
    object's alone: Python cannot end while a thread holds `sys.stdin`.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._idle = threading.Event()
        threading.Thread(target=self._listen, name="moiety-orders", daemon=True).start()

    def next(self) -> bytes:
        """Waits for it; empty for the end."""
        self._idle.set()
        line = self._lines.get()
        self._idle.clear()
        return line

    def _listen(self) -> None:
        for line in self._stream:
            self._lines.put(line)
        self._lines.put(b"")
        if not self._idle.is_set():
            os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Its whole life."""
    raise_stopped()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    keep_freed()
    try:
        with answers:
            # A reader of its own: the interpreter closes `sys.stdin` at its end, and must not wait
            # for a thread that reads.
            _serve(Orders(os.fdopen(0, "rb", closefd=False)), answers)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except BrokenPipeError:
        sys.exit(1)  # nobody listens any more


def _serve(orders: Orders, answers: BinaryIO) -> None:
    def say(answer: wire.Answer) -> None:
        answers.write(wire.line_of(answer))
        answers.flush()

    try:
        plan = wire.word_of(orders.next(), SessionPlan)
        session = Session.open(plan, lambda ahead: say(wire.Waits(ahead)))
        try:
            say(wire.Opened())
            while order := orders.next():
                task = wire.word_of(order, Task)
                say(wire.Done(session.run(task)))
        except BaseException as error:
            session.close(error)
            raise
        session.close()
    except MoietyError as error:
        say(wire.failed(error))
    except Exception:
        say(wire.failed(ContractViolation(traceback.format_exc())))


if __name__ == "__main__":
    main()
