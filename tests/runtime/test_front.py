"""A front that sends its clients to workers: whatever one server promises of access, quotas, audit
and places holds for all of them together.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moiety.protocols.errors import NetworkFailure, PeerMismatch, UntrustedPeer
from moiety.runtime.operation.access import AccessList
from moiety.runtime.operation.audit import AuditLog, verify
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party.client import Client
from moiety.runtime.party.endpoints import connect, parse_address
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import Limits, PeerRefused
from moiety.runtime.party.handshake import Elsewhere
from moiety.runtime.party.server.admission import Caller
from moiety.runtime.party.server.operation import Door, Watch
from moiety.runtime.party.server.worker import AtFront
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.fronts import Fronted, audit_lines, worker_of
from tests.support.lines import two_credentials


@pytest.fixture
def fronted(executor: ServerExecutor) -> Iterator[Callable[..., Fronted]]:
    started: list[Fronted] = []

    def start(*arguments: Any, **options: Any) -> Fronted:
        started.append(Fronted(executor, *arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.end()


def image(seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(2, 8, 8)).astype(np.float32)


def test_two_clients_have_two_workers_and_exact_results(
    fronted: Callable[..., Fronted], executor: ServerExecutor
) -> None:
    pairs = fronted(2)
    with pairs.connect() as first, pairs.connect() as second:
        assert {worker_of(first), worker_of(second)} == set(pairs.workers)
        with ThreadPoolExecutor(2) as both:
            runs = list(
                both.map(lambda each: each[0].infer(image(each[1])), [(first, 1), (second, 2)])
            )
    cleartext = CleartextExecutor(executor.program, executor.weights)
    for seed, (revealed, _, _) in zip((1, 2), runs, strict=True):
        (meant,) = cleartext.run_integers(image(seed)).values()
        assert np.array_equal(revealed[0].integers, meant)
    pairs.front.wait_for("finished, 1 images", 2)
    pairs.connect().close()
    summary = pairs.front.end()
    assert (summary.clients, summary.images, summary.failed_clients) == (3, 2, 0)
    assert summary.bytes_sent > 0


def test_the_quota_is_the_fronts_for_all_workers(
    fronted: Callable[..., Fronted], executor: ServerExecutor, tmp_path: Path
) -> None:
    vendor, hospital = two_credentials(tmp_path)
    access, audit = tmp_path / "access.toml", tmp_path / "audit.jsonl"
    access.write_text(f'[clients.st-mary]\nfingerprint = "{hospital.own}"\nimages-in-total = 3\n')
    recorder = Recorder("server", executor.program.digest(), AuditLog(audit))
    pairs = fronted(
        2,
        vendor,
        admission=Door(recorder, AccessList.at(access)),
        recorder=Watch(recorder),
    )
    first, second = pairs.connect(hospital), pairs.connect(hospital)
    first.infer(image(1))
    second.infer(image(2))
    first.infer(image(3))
    with pytest.raises(
        PeerRefused, match=r"^the peer ended the connection: st-mary asks for 1"
    ) as denied:
        second.infer(image(4))
    assert denied.value.exit_code == PeerRefused.DENIED
    first.close()
    ends = audit_lines(audit, "left", count=2)
    pairs.front.end()
    verify(audit)
    assert len(audit_lines(audit, "begun")) == len(audit_lines(audit, "finished")) == 3
    assert {("denied" in line, '"images":2' in line) for line in ends} == {
        (True, False),
        (False, True),
    }
    assert all('"name":"st-mary"' in line for line in ends)


def test_a_ticket_is_for_one_connection_of_one_client(
    fronted: Callable[..., Fronted], executor: ServerExecutor, tmp_path: Path
) -> None:
    vendor, hospital = two_credentials(tmp_path)
    pairs = fronted(1, vendor)
    client, limits = Client(executor.program), Limits(silence=10)
    front = connect("127.0.0.1", pairs.front.listener.port, limits=limits, credentials=hospital)
    told = client.shake_hands(front)
    assert isinstance(told, Elsewhere)

    def at_worker(ticket: str) -> Any:
        believed = hospital.only(vendor.own)
        channel = connect(told.host, told.port, limits=limits, credentials=believed)
        return client.shake_hands(channel, ticket), channel

    for wrong in ("", "0" * 32):
        with pytest.raises(PeerRefused, match=r"worker of another server|not good") as denied:
            at_worker(wrong)
        assert denied.value.reason == "denied"
    _, channel = at_worker(told.ticket)
    with pytest.raises(PeerRefused, match="not good, or not any more"):
        at_worker(told.ticket)
    channel.close()


def test_nobody_but_the_vendor_passes_for_a_worker(
    fronted: Callable[..., Fronted], executor: ServerExecutor, tmp_path: Path
) -> None:
    """Neither towards the front, nor towards a client."""
    vendor, hospital = two_credentials(tmp_path)
    pairs = fronted(1, vendor)
    port = pairs.front.listener.port
    at_front = AtFront(executor.program, "127.0.0.1", port, hospital)
    with pytest.raises(UntrustedPeer):  # it believes no front but one of its own key
        at_front.admit(Caller("127.0.0.1", ticket="0" * 32), executor.program.digest())
    pairs.end_worker(next(iter(pairs.workers)))
    impostor = pairs.start_worker(hospital)
    with pytest.raises(UntrustedPeer, match="is not trusted here"):
        pairs.connect(hospital)
    assert impostor in pairs.front.log


def test_a_server_without_workers_takes_none(
    fronted: Callable[..., Fronted], executor: ServerExecutor
) -> None:
    pairs = fronted(1)
    worker = parse_address(next(iter(pairs.workers)))
    with pytest.raises(PeerMismatch, match="this server has no workers"):
        AtFront(executor.program, *worker).admit(Caller("127.0.0.1", ticket="0" * 32), "")


def test_a_worker_that_dies_costs_its_session_alone(fronted: Callable[..., Fronted]) -> None:
    pairs = fronted(2)
    first, second = pairs.connect(), pairs.connect()
    first.infer(image(1))
    lost = worker_of(first)
    pairs.workers[lost].wait_for("image 1 done")
    os.kill(pairs.workers[lost].child_of(first.channel), signal.SIGKILL)
    with pytest.raises(NetworkFailure):
        first.infer(image(2))
    pairs.front.wait_for("ended early")
    pairs.end_worker(lost)
    second.infer(image(3))
    second.close()
    with pairs.connect() as third:
        assert worker_of(third) == worker_of(second)
        third.infer(image(4))
        fresh = pairs.start_worker()
        with pairs.connect() as fourth:
            assert worker_of(fourth) == fresh
    pairs.front.wait_for("worker: finished", 3)
    summary = pairs.front.end()
    assert (summary.images, summary.failed_clients) == (3, 1)


def test_a_client_that_never_comes_gives_its_place_back(
    fronted: Callable[..., Fronted], executor: ServerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moiety.runtime.party.server.front.TICKET_SECONDS", 0.2)
    pairs = fronted(1)
    front = connect("127.0.0.1", pairs.front.listener.port, limits=Limits(silence=10))
    assert isinstance(Client(executor.program).shake_hands(front), Elsewhere)
    pairs.front.wait_for("the client did not come to its worker")
    monkeypatch.undo()
    pairs.front.end()
    assert pairs.front.end().failed_clients == 1
