"""Metrics and health over HTTP, from a process that knows no more than events."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.runtime.operation.events import (
    Aggregated,
    AnyEvent,
    Begun,
    Deviated,
    Dropped,
    Event,
    Finished,
    Joined,
    Left,
    Peer,
    Queue,
    Ready,
    Refused,
    Started,
    Stopping,
)
from moiety.runtime.operation.health import Health
from moiety.runtime.operation.metrics import Metrics

PEER = Peer(address="10.0.0.7:1234", fingerprint="ab" * 32, name="st-mary")
DAY: list[AnyEvent] = [
    Started(release="1"),
    Ready(),
    Queue(waiting=2),
    Joined(peer=PEER),
    Joined(peer=PEER),
    Begun(peer=PEER, count=4),
    Finished(peer=PEER, count=4, seconds=3.0, sent=100, received=200),
    Begun(peer=PEER, count=1),
    Left(peer=PEER, end="failed", images=4, sent=120, received=220, reason="silent for 60 s"),
    Aggregated(peer=PEER, cohort="ab" * 16, images=40),
    Deviated(peer=PEER, failures=1, reason="corrections do not fit together"),
    Refused(peer=PEER, reason="quota", message="3 images a day"),
    Dropped(peer=PEER, reason="dropped"),
]


def value(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
    assert found, f"{name} is not in\n{text}"
    return float(found[1])


def check(text: str) -> None:
    expected = {
        'moiety_state{state="ready"}': 1,
        'moiety_state{state="preparing"}': 0,
        "moiety_sessions": 1,
        "moiety_waiting": 2,
        'moiety_sessions_ended_total{end="failed"}': 1,
        'moiety_refusals_total{reason="quota"}': 1,
        'moiety_refusals_total{reason="dropped"}': 1,
        "moiety_images_begun_total": 5,
        "moiety_images_total": 4,
        "moiety_aggregates_total": 1,
        "moiety_failed_checks_total": 1,
        'moiety_bytes_total{direction="sent"}': 100,
        'moiety_bytes_total{direction="received"}': 200,
        "moiety_run_seconds_count": 1,
        'moiety_run_seconds_bucket{le="2.5"}': 0,
        'moiety_run_seconds_bucket{le="5.0"}': 1,
    }
    assert {name: value(text, name) for name in expected} == expected
    assert "st-mary" not in text


def test_events_become_numbers_that_name_nobody() -> None:
    metrics = Metrics()
    for event in DAY:
        metrics.record(event)
    check(metrics.text().decode())


def test_every_event_is_taken() -> None:
    """A new kind that nobody counts is at least no failure."""
    kinds = {type(event) for event in [*DAY, Stopping()]}
    assert kinds == set(Event.__subclasses__())


@pytest.fixture
def health() -> Iterator[Health]:
    made = Health.at("127.0.0.1", 0)
    yield made
    made.close()


def get(health: Health, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{health.address}{page}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def settled(health: Health, state: str) -> tuple[int, str]:
    """`/healthz` once the endpoint has heard of `state`."""
    for _ in range(1000):
        status, text = get(health, "/healthz")
        if text == f"{state}\n":
            return status, text
    raise AssertionError(f"never {state}: {text}")


def test_the_endpoint_follows_a_server(health: Health) -> None:
    assert get(health, "/healthz") == (503, "preparing\n")
    for event in DAY:
        health.record(event)
    assert settled(health, "ready")[0] == 200
    for _ in range(1000):
        text = get(health, "/metrics")[1]
        if 'moiety_refusals_total{reason="dropped"} 1.0' in text:
            break
    check(text)
    assert get(health, "/other")[0] == 404
    health.record(Stopping())
    assert settled(health, "stopping")[0] == 503


def test_events_of_several_processes_arrive_whole(health: Health) -> None:
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            for _ in range(50):
                health.record(Begun(peer=PEER, count=1))
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    health.record(Stopping())
    settled(health, "stopping")
    assert value(get(health, "/metrics")[1], "moiety_images_begun_total") == 200


def test_the_endpoint_ends_with_its_last_writer() -> None:
    health = Health.at("127.0.0.1", 0)
    assert os.waitpid(health.process, os.WNOHANG) == (0, 0)
    health.close()
    assert os.waitpid(health.process, 0) == (health.process, 0)


def test_a_recorder_outlives_its_endpoint() -> None:
    health = Health.at("127.0.0.1", 0)
    os.kill(health.process, 9)
    os.waitpid(health.process, 0)
    for _ in range(3):
        health.record(Refused(peer=PEER, reason="busy", message="x" * 10_000))
    health.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "example.org", "::", ""])
def test_others_cannot_reach_the_endpoint(host: str) -> None:
    with pytest.raises(BadInput, match="not an address of this machine alone"):
        Health.at(host, 0)


def test_a_taken_port_is_named(health: Health) -> None:
    port = int(health.address.split(":")[1])
    with pytest.raises(NetworkFailure, match=f"cannot listen at 127.0.0.1:{port}"):
        Health.at("127.0.0.1", port)
