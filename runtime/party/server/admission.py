"""Who may ask, and who hears of it: what a server needs of its surroundings.

`Admission` is asked in the process of the connection, so what it counts must be counted where all
processes see it, and what it has learned since the server began comes from `refresh`; `Recorder`
hears of everything in the server's own process, in order.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Protocol

from moiety.protocols.errors import DeviatingPeer, MoietyError
from moiety.runtime.party.server.reports import Began, Done, Ended, Report
from moiety.runtime.store.limits import UNLIMITED, Limits

log = logging.getLogger("moiety.server")


@dataclass(frozen=True)
class Caller:
    """Who is at the other end: the address and the port that the connection comes from and, where a
    certificate says so, a fingerprint; `name` is what the vendor calls it. `ticket`: what it has
    shown to a worker.
    """

    address: str
    port: int = 0
    fingerprint: str | None = None
    name: str | None = None
    ticket: str = field(default="", compare=False, repr=False)

    @property
    def owner(self) -> str:
        """Whose claims to places are counted together."""
        return self.fingerprint or self.address


@dataclass(frozen=True)
class Allowance:
    """What a client may ask for: so many `images` more, and so many `cohorts` in all; None: as many
    as it likes. `prepared`: how much may be prepared with it.
    """

    images: int | None = None
    cohorts: int | None = None
    prepared: Limits = UNLIMITED


class Denied(MoietyError):
    """A client may not ask, or not any more; the message is for its user."""


class Admission(Protocol):
    """Whether a client may ask, and for how much; `admit` and `take` raise `Denied`."""

    def refresh(self) -> None:
        """In the server's own process, again and again: brings up to date what the processes that
        it forks off are born with. Must not raise, and not wait.
        """

    def admit(self, caller: Caller, program: str) -> Caller:
        """Before a place is given, for the Program of this digest; the caller with its name. Asked
        again of one that had to wait.
        """

    def take(self, caller: Caller, images: int) -> None:
        """Before a run begins: counts its images, so that they are paid for however it ends."""

    def allowance(self, caller: Caller) -> Allowance:
        """What is left to an admitted caller, by its limits alone."""

    def aggregate(self, caller: Caller, cohort: str, images: int) -> None:
        """Before the aggregate of a cohort of so many images is revealed."""

    def deviated(self, caller: Caller, why: str) -> None:
        """Before the connection ends by a failed check of what the client sent: counts it."""

    def hear(self, report: Began | Done | Ended) -> None:
        """In the process of the connection, of each run and of the end. Raises `NetworkFailure`
        where who must hear of a run does not.
        """


class Recorder(Protocol):
    """Hears of each event once, when it has happened; must not raise, and not wait."""

    def record(self, caller: Caller | None, event: Report) -> None:
        """`caller` is None for what concerns the server as a whole."""


def count_failure(admission: Admission, caller: Caller, error: DeviatingPeer) -> None:
    """Counts a check that has failed, before the client can know that its guess was wrong."""
    try:
        admission.deviated(caller, str(error))
    except MoietyError as unable:
        log.error("%s: a failed check was not counted: %s", caller.address, unable)


class Everybody:
    """The Admission of a server without an access file."""

    def refresh(self) -> None:
        pass

    def admit(self, caller: Caller, program: str) -> Caller:
        return caller

    def take(self, caller: Caller, images: int) -> None:
        pass

    def allowance(self, caller: Caller) -> Allowance:
        return Allowance()

    def aggregate(self, caller: Caller, cohort: str, images: int) -> None:
        pass

    def deviated(self, caller: Caller, why: str) -> None:
        pass

    def hear(self, report: Began | Done | Ended) -> None:
        pass


class Nobody:
    """The Recorder of a server that nobody watches."""

    def record(self, caller: Caller | None, event: Report) -> None:
        pass
