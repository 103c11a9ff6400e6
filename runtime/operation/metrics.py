"""Events as numbers, in the text format that Prometheus reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from moiety.runtime.operation.events import (
    Aggregated,
    AnyEvent,
    Begun,
    Deviated,
    Dropped,
    Finished,
    Joined,
    Left,
    Queue,
    Ready,
    Refused,
    Started,
    Stopping,
)

STATES = ("preparing", "ready", "stopping")
SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)
"""Bounds of the buckets of a run's seconds: a small model on a LAN, a large one over the world."""


class Metrics:
    """Of one process; no label names a client, an image or a file."""

    def __init__(self) -> None:
        self.state = "preparing"
        self.registry = registry = CollectorRegistry()
        self.states = Gauge("moiety_state", "1 at the present state", ["state"], registry=registry)
        self.active = Gauge("moiety_sessions", "Sessions at present", registry=registry)
        self.waiting = Gauge("moiety_waiting", "Clients that wait for a place", registry=registry)
        self.sessions = Counter(
            "moiety_sessions_ended", "Sessions by how they ended", ["end"], registry=registry
        )
        self.refusals = Counter(
            "moiety_refusals", "Connections refused, by reason", ["reason"], registry=registry
        )
        self.begun = Counter("moiety_images_begun", "Images that were begun", registry=registry)
        self.images = Counter("moiety_images", "Images that were finished", registry=registry)
        self.aggregates = Counter(
            "moiety_aggregates", "Cohorts whose aggregate was revealed", registry=registry
        )
        self.deviations = Counter(
            "moiety_failed_checks", "Sessions that a failed check has ended", registry=registry
        )
        self.traffic = Counter(
            "moiety_bytes", "Bytes of finished runs", ["direction"], registry=registry
        )
        self.seconds = Histogram(
            "moiety_run_seconds",
            "Seconds of a run of one or several images",
            buckets=SECONDS,
            registry=registry,
        )
        self._enter("preparing")

    def record(self, event: AnyEvent) -> None:
        match event:
            case Started():
                self._enter("preparing")
            case Ready():
                self._enter("ready")
            case Stopping():
                self._enter("stopping")
            case Queue(waiting=waiting):
                self.waiting.set(waiting)
            case Refused(reason=reason) | Dropped(reason=reason):
                self.refusals.labels(reason).inc()
            case Joined():
                self.active.inc()
            case Begun(count=count):
                self.begun.inc(count)
            case Finished():
                self.images.inc(event.count)
                self.traffic.labels("sent").inc(event.sent)
                self.traffic.labels("received").inc(event.received)
                self.seconds.observe(event.seconds)
            case Deviated():
                self.deviations.inc()
            case Aggregated():
                self.aggregates.inc()
            case Left(end=end):
                self.active.dec()
                self.sessions.labels(end).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)

    def _enter(self, state: str) -> None:
        self.state = state
        for each in STATES:
            self.states.labels(each).set(each == state)
