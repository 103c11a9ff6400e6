"""What is told of clients, report by report: who waits, who was served and how it ended, who never
got a place. Exact events, so that neither the audit log nor the metrics lack one or have it twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.operation import events
from moiety.runtime.operation.events import Event
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party.server import reports
from moiety.runtime.party.server.admission import Caller
from moiety.runtime.party.server.operation import Door, Watch

CALLER = Caller("192.0.2.7", 4711)
STRANGER = events.Peer(address="192.0.2.7:4711")
KNOWN = events.Peer(address="192.0.2.7:4711", fingerprint="ab", name="north")
WANTS = reports.Wants(fingerprint="ab", name="north")
GO = reports.Go()
DONE = reports.Done(
    images=2, seconds=1.23456, cpu_seconds=1.0, sent=30, received=70, peak_rss=1 << 20
)


@dataclass
class Told:
    """A recorder that keeps events, and writes none."""

    events: list[Event] = field(default_factory=list)

    def record(self, event: Event) -> None:
        self.events.append(event)


def told(*given: reports.Report, caller: Caller | None = CALLER) -> list[Event]:
    """As the server tells it: whoever has said its name has it from then on."""
    kept = Told()
    watch = Watch(cast(Recorder, kept))
    for report in given:
        watch.record(caller, report)
        if caller is not None and isinstance(report, reports.Wants):
            caller = replace(caller, fingerprint=report.fingerprint, name=report.name)
    return kept.events


def queue(waiting: int) -> events.Queue:
    return events.Queue(waiting=waiting)


JOINED = [queue(1), queue(0), events.Joined(peer=KNOWN)]


def left(end: events.End, reason: str = "") -> events.Left:
    """After two runs of `DONE`."""
    return events.Left(peer=KNOWN, end=end, images=4, sent=60, received=140, reason=reason)


@pytest.mark.parametrize(
    ("ended", "last"),
    [
        (reports.Ended(outcome="finished"), left("done")),
        (
            reports.Ended(outcome="failed", why="its line", reason="lost"),
            left("failed", "its line"),
        ),
        (
            reports.Ended(outcome="stopped", why="by hand"),
            left("stopped", "by hand"),
        ),
        (
            reports.Ended(outcome="failed", why="no more today", reason="denied"),
            left("denied", "no more today"),
        ),
        (
            reports.Lost(why="killed by SIGKILL", served=True),
            left("failed", "killed by SIGKILL"),
        ),
    ],
)
def test_a_session_is_told_with_all_that_was_done_in_it(
    ended: reports.Report, last: events.Left
) -> None:
    finished = events.Finished(peer=KNOWN, count=2, seconds=1.235, sent=30, received=70)
    assert told(WANTS, GO, DONE, DONE, ended) == [*JOINED, finished, finished, last]


@pytest.mark.parametrize(
    ("ended", "last"),
    [
        (
            reports.Ended(outcome="refused", why="another Program", reason="mismatch"),
            lambda peer: [
                events.Refused(peer=peer, reason="mismatch", message="another Program"),
            ],
        ),
        (  # told by the door
            reports.Ended(outcome="refused", why="its quota", reason="denied"),
            lambda peer: [],
        ),
        (
            reports.Ended(outcome="dropped", why="garbage"),
            lambda peer: [events.Dropped(peer=peer, reason="dropped")],
        ),
        (
            reports.Lost(why="killed by SIGKILL", served=False),
            lambda peer: [events.Dropped(peer=peer, reason="failed")],
        ),
    ],
)
def test_who_never_got_a_place_is_told_once_or_counted(
    ended: reports.Report, last: Callable[[events.Peer], list[Event]]
) -> None:
    assert told(ended) == last(STRANGER)
    assert told(WANTS, WANTS, ended) == [queue(1), queue(0), *last(KNOWN)]


def test_who_goes_on_at_a_worker_is_told_of_there() -> None:
    assert told(reports.Ended(outcome="sent")) == []


def test_each_client_waits_for_itself() -> None:
    kept = Told()
    watch = Watch(cast(Recorder, kept))
    other = Caller("2001:db8::7", 4711)
    watch.record(CALLER, reports.Wants(fingerprint=None, name=None))
    watch.record(other, reports.Wants(fingerprint=None, name=None))
    watch.record(other, GO)
    watch.record(other, reports.Ended(outcome="finished"))
    watch.record(CALLER, reports.Ended(outcome="dropped"))
    elsewhere = events.Peer(address="[2001:db8::7]:4711")
    assert kept.events == [
        queue(1),
        queue(2),
        queue(1),
        events.Joined(peer=elsewhere),
        events.Left(peer=elsewhere, end="done", images=0, sent=0, received=0),
        queue(0),
        events.Dropped(peer=STRANGER, reason="dropped"),
    ]


@pytest.mark.parametrize("phase", ["ready", "stopping"])
def test_phases_of_the_server(phase: str) -> None:
    (event,) = told(reports.Phase(phase=phase), caller=None)  # type: ignore[arg-type]
    assert type(event).__name__.lower() == phase


def test_what_cannot_be_recorded_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Full:
        def record(self, event: Event) -> None:
            raise BadInput("audit.jsonl: No space left on device")

    with caplog.at_level(logging.ERROR):
        Watch(cast(Recorder, Full())).record(CALLER, GO)
    assert "not recorded: Joined: audit.jsonl: No space left on device" in caplog.text


def test_without_an_access_file_nobody_is_counted() -> None:
    kept = Told()
    door = Door(cast(Recorder, kept))
    door.deviated(CALLER, "trees")
    door.take(CALLER, 3)
    assert kept.events == [
        events.Deviated(peer=STRANGER, failures=0, reason="trees"),
        events.Begun(peer=STRANGER, count=3),
    ]
    assert (door.allowance(CALLER).images, door.allowance(CALLER).cohorts) == (None, None)
