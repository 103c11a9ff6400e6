"""A server that its operator limits and watches, with real clients: quotas, audit log, metrics."""

from __future__ import annotations

import hashlib
import json
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moiety.protocols.errors import NetworkFailure
from moiety.runtime.operation.access import AccessList
from moiety.runtime.operation.audit import AuditLog, verify
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Client
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.party.server.admission import Caller
from moiety.runtime.party.server.operation import Door, Watch
from moiety.runtime.party.server.processes import Line
from moiety.runtime.party.server.reports import Ended, Word
from tests.support.command import moiety, serving
from tests.support.runnable import save_images, save_small
from tests.support.serving import Running

CLIENT = hashlib.sha256(b"client").hexdigest()


@dataclass(frozen=True)
class KnownDoor(Door):
    """The Door, for a client whose certificate a test without TLS can only assume."""

    def admit(self, caller: Caller, program: str) -> Caller:
        return super().admit(replace(caller, fingerprint=CLIENT), program)


@pytest.fixture
def serve(executor: ServerExecutor, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(limits: str, door: type[Door] = KnownDoor) -> Running:
        file = tmp_path / "access.toml"
        file.write_text(f'[clients.st-mary]\nfingerprint = "{CLIENT}"\n{limits}\n')
        audit = AuditLog(tmp_path / "audit.jsonl")
        recorder = Recorder("server", executor.program.digest(), audit)
        parts: dict[str, Any] = {
            "admission": door(recorder, AccessList.at(file)),
            "recorder": Watch(recorder),
        }
        started.append(Running(executor, ServerOptions(), **parts))
        return started[-1]

    yield start
    for running in started:
        running.end()


def audited(folder: Path) -> list[dict[str, Any]]:
    verify(folder / "audit.jsonl")
    return [json.loads(each) for each in (folder / "audit.jsonl").read_text().splitlines()]


def wait_for(folder: Path, event: str, count: int = 1) -> None:
    """Until the audit log has so many of an event."""
    until = time.monotonic() + 20
    while (folder / "audit.jsonl").read_text().count(f'"event":"{event}"') < count:
        assert time.monotonic() < until, f"{count} {event} are not in the audit log"
        time.sleep(0.02)


def test_a_quota_ends_a_session_with_its_limit(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    running = serve("images-per-day = 2")
    tensor = np.load(save_images(tmp_path, 1)[0])
    connection = Client(executor.program).join(running.connect())
    assert (connection.images_left, connection.cohorts_left) == (2, None)
    for _ in range(2):
        connection.infer(tensor)
    with pytest.raises(PeerRefused, match=r"2 images a day, of which 0 are left; it resets at"):
        connection.infer(tensor)
    wait_for(tmp_path, "left")
    running.end()
    events = audited(tmp_path)
    assert [each["event"] for each in events] == [
        "ready",
        "joined",
        "begun",
        "finished",
        "begun",
        "finished",
        "left",
        "stopping",
    ]
    assert {each["peer"]["name"] for each in events if "peer" in each} == {"st-mary"}
    assert {each["peer"]["fingerprint"] for each in events if "peer" in each} == {CLIENT}
    assert len({each["peer"]["address"] for each in events if "peer" in each}) == 1
    left = events[-2]
    assert (left["end"], left["images"]) == ("denied", 2)
    assert left["sent"] == sum(each["sent"] for each in events if each["event"] == "finished")


def test_a_run_that_breaks_stays_counted(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    """The client vanishes as soon as its run has begun."""
    running = serve("images-in-total = 1")
    broken = Client(executor.program).join(running.connect())
    handshake.send(broken.channel, handshake.Begin(index=0))
    wait_for(tmp_path, "begun")
    broken.channel.abort()
    wait_for(tmp_path, "left")
    tensor = np.load(save_images(tmp_path, 1)[0])
    again = Client(executor.program).join(running.connect())
    with pytest.raises(PeerRefused, match="1 images in total, of which 0 are left"):
        again.infer(tensor)
    wait_for(tmp_path, "left", 2)
    running.end()
    ends = [(each["end"], each["images"]) for each in audited(tmp_path) if each["event"] == "left"]
    assert ends == [("failed", 0), ("denied", 0)]


def test_a_stranger_is_refused_and_recorded(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    """Over plain TCP nobody has a certificate."""
    running = serve("", door=Door)
    with pytest.raises(PeerRefused, match="connect with TLS") as refused:
        Client(executor.program).join(running.connect())
    assert refused.value.reason == "denied"
    running.end()
    assert [(each["event"], each.get("reason")) for each in audited(tmp_path)] == [
        ("ready", None),
        ("refused", "unknown"),
        ("stopping", None),
    ]


def test_who_was_taken_from_the_list_stays_out_when_the_list_breaks(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    """The last good list is the one before it broke, not the one that the server began with: each
    client's process is forked off from the server's own.
    """
    running = serve("")
    access = tmp_path / "access.toml"
    access.write_text(access.read_text().replace(CLIENT, "ab" * 32))
    running.wait_for("read again, 1 clients")
    access.write_text("[clients.st-mary")
    running.wait_for("the access file as it was before stays in force")
    with pytest.raises(PeerRefused, match="does not know the client"):
        Client(executor.program).join(running.connect())


def test_nothing_runs_that_cannot_be_recorded(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    running = serve("")
    connection = Client(executor.program).join(running.connect())
    (tmp_path / "audit.jsonl").write_text("a letter\n")
    with pytest.raises(NetworkFailure, match="gave up on this connection"):
        connection.infer(np.load(save_images(tmp_path, 1)[0]))
    running.end()
    assert "not one of an audit log" in running.log


def test_nobody_enters_whose_counts_cannot_be_read(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    """The server has failed its client, and says so; the vendor alone hears why."""
    running = serve("")
    (tmp_path / "access.counts.json").write_text("a letter\n")
    with pytest.raises(PeerRefused, match=r"gave up on this connection$") as refused:
        Client(executor.program).join(running.connect())
    assert refused.value.reason == "failed"
    running.end()
    assert "ended early after 0 images" in running.log
    assert "access.counts.json cannot be read" in running.log
    assert "Traceback" not in running.log


def test_the_command_serves_health_metrics_and_a_log(tmp_path: Path) -> None:
    """Two processes: options from a config file, a JSON log, the audit logs of both sides."""
    save_small(tmp_path / "compiled")
    (file,) = save_images(tmp_path / "in", 1)
    (tmp_path / "m.toml").write_text(
        '[serve]\nmetrics = "127.0.0.1:0"\nlog-file = "serve.log"\nlog-format = "json"\n'
    )
    with serving(tmp_path / "compiled", "--config", tmp_path / "m.toml") as server:
        log = tmp_path / "serve.log"
        address = found(log, "metrics")["message"].split()[-1]
        found(log, "ready to serve")
        server.process.send_signal(signal.SIGHUP)  # a reload, which needs nothing
        server.infer(
            tmp_path / "compiled",
            file,
            "-o",
            tmp_path / "r.json",
            "--audit",
            tmp_path / "client.jsonl",
        ).check()
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=20) as answer:
            assert answer.read() == b"ready\n"
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
            assert b"moiety_images_begun_total 1.0" in answer.read()
        assert server.end().code == 0
    said = moiety("audit", "verify", tmp_path / "compiled/audit.jsonl").check().stdout
    assert "7 lines" in said  # started, ready, joined, begun, finished, left, stopping
    moiety("audit", "verify", tmp_path / "client.jsonl").check()
    (begun,) = [
        json.loads(line)
        for line in (tmp_path / "client.jsonl").read_text().splitlines()
        if '"begun"' in line
    ]
    assert begun["images"][0]["file_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_hospital_without_its_audit_log_sends_nothing(tmp_path: Path) -> None:
    save_small(tmp_path / "compiled")
    (file,) = save_images(tmp_path / "in", 1)
    public = tmp_path / "compiled"
    log = tmp_path / "none" / "audit.jsonl"
    done = moiety("infer", public, file, "--connect", "127.0.0.1:9", "--audit", log)
    done.refused(5, f"{log}: cannot be used as an audit log")


def found(log: Path, word: str) -> dict[str, Any]:
    """The first line of a JSON log with this word in its message, once it is there."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for line in log.read_text().splitlines() if log.exists() else []:
            if word in (record := json.loads(line))["message"]:
                return record
        time.sleep(0.05)
    raise AssertionError(f"{word} is not in the log")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_stop_while_a_session_says_its_end_leaves_one_record(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """A signal to stop may come at any moment; the audit log has every session's end once."""
    send = Line.send
    signalled: list[Word] = []

    def interrupted(line: Line, word: Word) -> bool:
        if not isinstance(word, Ended) or signalled:
            return send(line, word)
        signalled.append(word)
        sent = send(line, word) if moment == "after" else False
        signal.raise_signal(signal.SIGTERM)
        return sent

    monkeypatch.setattr(Line, "send", interrupted)
    running = serve("")
    with Client(executor.program).join(running.connect()) as connection:
        connection.infer(np.zeros((2, 8, 8), np.float32))
    running.wait_for("finished, 1 images")
    wait_for(tmp_path, "left")
    running.end()
    (left,) = [line for line in audited(tmp_path) if line["event"] == "left"]
    assert (left["end"], left["images"]) in (("done", 1), ("stopped", 1)), left
