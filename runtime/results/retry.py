"""A cohort that outlives its connection: when the network breaks, a new connection goes on with the
first image that has no result.

Tried again is what may be better next time: a connection that broke, a server that stops or is busy
(not before the time that it names). Not tried again: a first connection that cannot be made, where
a wrong address is likelier than a bad moment, and whatever the server refuses for a reason. Images
that have a result are never run again; the run that broke is, and counts twice in a quota.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from moiety.protocols.errors import NetworkFailure
from moiety.runtime.intake.loader import Reader
from moiety.runtime.operation.events import Joined, Left
from moiety.runtime.operation.recorder import NOWHERE, Recorder
from moiety.runtime.party.client import Connection
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.signals import Stopped
from moiety.runtime.results.inference import Cohort, peer_of, run_files, started
from moiety.runtime.results.outputs import Outputs
from moiety.runtime.results.record import ImageResult, Results

PASSING = ("busy", "stopping", "failed")
"""Reasons of a refusal that may pass."""


@dataclass(frozen=True)
class Retries:
    """At most `times` in a row without a new result. Pauses double from `first` to `longest`
    seconds, and each is cut at random to between half and all of it, so that the clients of a
    server that comes back do not all come at once.
    """

    times: int = 3
    first: float = 2.0
    longest: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    say: Callable[[str], None] = lambda message: None

    def pause(self, error: NetworkFailure, failures: int) -> float:
        """Seconds before attempt `failures` + 1."""
        backoff = min(self.longest, self.first * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)
        asked = error.seconds if isinstance(error, PeerRefused) else None
        return max(backoff, asked or 0.0)


def passing(error: NetworkFailure, met: bool) -> bool:
    """Whether another attempt may help, where a server was `met` before or not."""
    if isinstance(error, PeerRefused):
        return error.reason in PASSING and (met or error.reason == "busy")
    return met


@dataclass
class Attempts:
    """The files of one command, over as many connections as it takes. `connect` makes one."""

    connect: Callable[[], Connection]
    cohort: Cohort
    outputs: Outputs
    reader: Reader
    retries: Retries = Retries()
    on_image: Callable[[ImageResult], None] = lambda result: None
    recorder: Recorder = NOWHERE
    results: Results | None = None

    def run(self) -> Results:
        """All files. Raises what the last attempt ended by; the results so far are in `outputs`."""
        failures = 0
        while True:
            before = self._done()
            try:
                return self._attempt()
            except NetworkFailure as error:
                failures = 1 if self._done() > before else failures + 1
                if failures > self.retries.times or not passing(error, self.results is not None):
                    raise
                self._wait(error, failures)

    def _done(self) -> int:
        return len(self.results.images) if self.results else 0

    def _wait(self, error: NetworkFailure, failures: int) -> None:
        pause = self.retries.pause(error, failures)
        done, total = self._done(), len(self.cohort.files)
        self.retries.say(
            f"{error}; {done} of {total} images are finished, trying again in {pause:.0f} s "
            f"({failures} of {self.retries.times})"
        )
        self.retries.sleep(pause)

    def _attempt(self) -> Results:
        with self.connect() as connection:
            self.recorder.record(Joined(peer=peer_of(connection)))
            fresh = started(connection, self.cohort)
            if self.results is None:
                self.results = fresh
            else:
                self.results.setup_seconds += fresh.setup_seconds
            before = self._done()
            try:
                run_files(
                    connection,
                    self.results,
                    self.cohort.files,
                    self.outputs,
                    self.reader,
                    self.on_image,
                    self.recorder,
                )
            except BaseException as error:
                self.recorder.record(left(connection, self._done() - before, error))
                raise
            self.recorder.record(left(connection, self._done() - before, None))
            return self.results


def left(connection: Connection, images: int, error: BaseException | None) -> Left:
    """The event of a connection's end, after so many images, by `error`."""
    return Left(
        peer=peer_of(connection),
        end="stopped" if isinstance(error, Stopped) else "failed" if error else "done",
        images=images,
        sent=connection.channel.wire_sent,
        received=connection.channel.wire_received,
        reason=str(error or "")[:200],
    )
