"""The Admission and the Recorder of a server whose operator limits and watches it.

What must be on the disk before a run begins is written in the process that is about to begin it:
the count of its images, then the line of the audit log. All else is written by the server's own
process when it hears of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

from moiety.protocols.errors import BadInput
from moiety.runtime.operation import access, events
from moiety.runtime.operation.access import AccessList
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party.server import reports
from moiety.runtime.party.server.admission import Allowance, Caller, Denied
from moiety.runtime.store.limits import Limits

log = logging.getLogger("moiety.server")

_END: dict[str, events.End] = {"finished": "done", "failed": "failed", "stopped": "stopped"}


def peer_of(caller: Caller) -> events.Peer:
    """A client, as an event names it."""
    host = f"[{caller.address}]" if ":" in caller.address else caller.address
    return events.Peer(
        address=f"{host}:{caller.port}", fingerprint=caller.fingerprint, name=caller.name
    )


@dataclass(frozen=True)
class Door:
    """Lets in whom the access file lists, everybody where there is none, as often as it says; and
    nobody unrecorded.
    """

    recorder: Recorder
    access: AccessList | None = None

    def refresh(self) -> None:
        if self.access is not None:
            self.access.refresh()

    def admit(self, caller: Caller, program: str) -> Caller:
        """Raises `BadInput` where a refusal cannot be recorded, or a failed check of the client's
        could not be counted.
        """
        if self.access is None:
            return caller
        found = self.access.admit(caller.fingerprint, program)
        if isinstance(found, access.Denied):
            refused = events.Refused(
                peer=peer_of(caller), reason=found.reason, message=found.message
            )
            self.recorder.record(refused)
            raise Denied(found.message)
        return replace(caller, name=found.name)

    def take(self, caller: Caller, images: int) -> None:
        """Raises `BadInput` where the run cannot be counted or recorded: it must not begin."""
        if self.access is not None and caller.fingerprint is not None:
            denied = self.access.take(caller.fingerprint, images)
            if denied is not None:
                raise Denied(denied.message)
        self.recorder.record(events.Begun(peer=peer_of(caller), count=images))

    def allowance(self, caller: Caller) -> Allowance:
        if self.access is None or caller.fingerprint is None:
            return Allowance()
        entry = self.access.entry(caller.fingerprint)
        return Allowance(
            self.access.images_left(caller.fingerprint),
            self.access.cohorts(caller.fingerprint),
            Limits.of(entry) if entry else Limits(items=0),
        )

    def aggregate(self, caller: Caller, cohort: str, images: int) -> None:
        """Raises `BadInput` where it cannot be recorded: nothing must be revealed."""
        aggregated = events.Aggregated(peer=peer_of(caller), cohort=cohort, images=images)
        self.recorder.record(aggregated)

    def deviated(self, caller: Caller, why: str) -> None:
        """Raises `BadInput` where it cannot be counted or recorded."""
        failures = 0
        if self.access is not None and caller.fingerprint is not None:
            failures = self.access.deviated(caller.fingerprint)
        self.recorder.record(events.Deviated(peer=peer_of(caller), failures=failures, reason=why))

    def hear(self, report: reports.Began | reports.Done | reports.Ended) -> None:
        pass  # the server's own process hears it, and tells `Watch`


@dataclass
class _Session:
    """What has been finished in it so far."""

    images: int = 0
    sent: int = 0
    received: int = 0


@dataclass
class Watch:
    """Makes events of what the server hears. Never raises: a run that cannot be recorded does not
    begin (see Door), and what has happened all the same goes to the log.
    """

    recorder: Recorder
    _waiting: set[Caller] = field(default_factory=set)
    _served: dict[Caller, _Session] = field(default_factory=dict)

    def record(self, caller: Caller | None, report: reports.Report) -> None:
        if isinstance(report, reports.Phase):
            phase = _phase(report)
            if phase is not None:
                self._tell(phase)
        elif caller is not None:
            self._client(caller, report)

    def _client(self, caller: Caller, report: reports.Report) -> None:
        peer = peer_of(caller)
        match report:
            case reports.Wants(fingerprint=fingerprint, name=name):
                self._queue(replace(caller, fingerprint=fingerprint, name=name), True)
            case reports.Go():
                self._queue(caller, False)
                self._served[caller] = _Session()
                self._tell(events.Joined(peer=peer))
            case reports.Done():
                self._finished(caller, peer, report)
            case reports.Ended(outcome="sent"):
                pass  # it goes on at a worker
            case reports.Ended(outcome=outcome, why=why, reason=reason):
                self._over(caller, peer, outcome, why, reason)
            case reports.Lost(why=why):
                self._over(caller, peer, "failed", why, "lost")

    def _finished(self, caller: Caller, peer: events.Peer, done: reports.Done) -> None:
        session = self._served.setdefault(caller, _Session())
        session.images += done.images
        session.sent += done.sent
        session.received += done.received
        self._tell(
            events.Finished(
                peer=peer,
                count=done.images,
                seconds=round(done.seconds, 3),
                sent=done.sent,
                received=done.received,
            )
        )

    def _over(self, caller: Caller, peer: events.Peer, outcome: str, why: str, reason: str) -> None:
        """The end of a session, or of a connection that never became one; `Door` has recorded those
        that the access file turns away. Whoever did not get as far as the Program, such as a port
        scanner, is counted and not written down: the audit log is not for strangers to fill.
        """
        self._queue(caller, False)
        session = self._served.pop(caller, None)
        if session is not None:
            end = "denied" if reason == "denied" else _END.get(outcome, "failed")
            self._tell(
                events.Left(
                    peer=peer,
                    end=end,
                    images=session.images,
                    sent=session.sent,
                    received=session.received,
                    reason=why,
                )
            )
        elif outcome == "refused" and reason != "denied":
            self._tell(events.Refused(peer=peer, reason=reason, message=why))
        elif outcome != "refused":
            self._tell(events.Dropped(peer=peer, reason=outcome))

    def _queue(self, caller: Caller, waits: bool) -> None:
        before = len(self._waiting)
        (self._waiting.add if waits else self._waiting.discard)(caller)
        if len(self._waiting) != before:
            self._tell(events.Queue(waiting=len(self._waiting)))

    def _tell(self, event: events.Event) -> None:
        try:
            self.recorder.record(event)
        except BadInput as error:
            log.error("not recorded: %s: %s", type(event).__name__, error)


def _phase(report: reports.Phase) -> events.Event | None:
    """None for the preparation: the start was recorded before."""
    match report.phase:
        case "ready":
            return events.Ready()
        case "stopping":
            return events.Stopping()
    return None
