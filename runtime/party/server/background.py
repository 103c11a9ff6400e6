"""A server in a process of its own, for a program that goes on meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from moiety.protocols.errors import ContractViolation, MoietyError
from moiety.runtime.party.server import processes, reports
from moiety.runtime.party.server.loop import Loop
from moiety.runtime.party.signals import Stopped


def _failure(error: BaseException | None) -> MoietyError | None:
    """What went wrong; where the server was told to stop, what was going wrong just then."""
    while error is not None and not isinstance(error, MoietyError):
        error = error.__context__
    return error


@dataclass(frozen=True)
class Background:
    """A process that serves until `end`, or until the process that started it is gone."""

    child: processes.Child

    @classmethod
    def start(cls, serve: Callable[[], None]) -> Background:
        """`serve` in a process of its own. Raises `OSError` where the system has none to give."""

        def work(line: processes.Line) -> None:
            processes.Leash(line)
            try:
                serve()
            except (MoietyError, Stopped) as error:
                if failure := _failure(error):
                    line.send(reports.Failed.of(failure))

        return cls(processes.start(work, Loop()))

    def end(self) -> None:
        """Stops it as SIGTERM does, and waits. Raises what had ended it before."""
        self.child.signal(signal.SIGTERM)
        failed = [word for word in self._last_words() if isinstance(word, reports.Failed)]
        if why := self.child.reap():
            raise ContractViolation(f"the server failed: {why}")
        if failed:
            raise failed[0].exception()

    def _last_words(self) -> list[reports.Spoken | reports.Order]:
        """All that it says until it ends."""
        words = []
        while (said := self.child.line.receive()) is not None:
            words += said
        return words
