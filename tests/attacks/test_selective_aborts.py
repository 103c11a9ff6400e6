"""What a failed check costs whoever bets on a delta: the connection, a line in the vendor's audit
log, and one of the few that its key has.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.errors import DeviatingPeer
from moiety.runtime.operation import counters
from moiety.runtime.operation.access import FAILED_CHECKS, AccessList, Admitted, Denied
from moiety.runtime.operation.audit import AuditLog, verify
from moiety.runtime.operation.counters import Counters
from moiety.runtime.operation.files import sync_folder
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party import handshake
from moiety.runtime.party.client import Client
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.party.server.admission import Caller
from moiety.runtime.party.server.operation import Door, Watch
from tests.support.fronts import Fronted, audit_lines
from tests.support.lines import two_credentials
from tests.support.runnable import save_images, small
from tests.support.serving import Running

CLIENT = sha256(b"client").hexdigest()
PROGRAM = "5f" * 32


class KnownDoor(Door):
    """The Door, for a client whose certificate a test without TLS can only assume."""

    def admit(self, caller: Caller, program: str) -> Caller:
        return super().admit(replace(caller, fingerprint=CLIENT), program)


def access_list(folder: Path, limits: str = "") -> AccessList:
    file = folder / "access.toml"
    file.write_text(f'[clients.st-mary]\nfingerprint = "{CLIENT}"\n{limits}\n')
    return AccessList.at(file)


def lines(folder: Path) -> list[dict[str, object]]:
    verify(folder / "audit.jsonl")
    return [json.loads(each) for each in (folder / "audit.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def executor() -> ServerExecutor:
    made = ServerExecutor(*small())
    made.prepare()
    return made


@pytest.fixture
def running(executor: ServerExecutor, tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    started: list[Running] = []

    def start(limits: str) -> Running:
        recorder = Recorder("server", PROGRAM, AuditLog(tmp_path / "audit.jsonl"))
        door = KnownDoor(recorder, access_list(tmp_path, limits))
        started.append(Running(executor, ServerOptions(), admission=door, recorder=Watch(recorder)))
        return started[-1]

    yield start
    for each in started:
        each.end()


def deviate_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process, the client's, gives the last tree another u; the server's do not."""
    honest, here = kernels.vole_receiver, os.getpid()

    def deviating(keys: U8, counter: int, k: int, nblocks: int) -> tuple[U8, U8, U8]:
        u, v, corrections = honest(keys, counter, k, nblocks)
        if os.getpid() == here:
            corrections = corrections.copy()
            corrections[-16 * nblocks] ^= 1  # and nothing else: a bet on the nibble 0
            corrections[-1] ^= 1
        return u, v, corrections

    monkeypatch.setattr(kernels, "vole_receiver", deviating)


def lose_here(monkeypatch: pytest.MonkeyPatch, after: float = 0.0) -> None:
    """This process bets on all nibbles but one, so many seconds late."""
    honest, here = kernels.vole_receiver, os.getpid()

    def deviating(keys: U8, counter: int, k: int, nblocks: int) -> tuple[U8, U8, U8]:
        u, v, corrections = honest(keys, counter, k, nblocks)
        if os.getpid() == here:
            time.sleep(after if counter == 0 else 0)
            corrections = ~corrections
        return u, v, corrections

    monkeypatch.setattr(kernels, "vole_receiver", deviating)


def no_space(folder: Path) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_key_whose_checks_fail_is_served_no_more(
    running: Callable[[str], Running],
    executor: ServerExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each attempt is a connection with a delta of its own, and ends with the error that says what
    it was; after two, where two are allowed, the key gets nothing, even from an honest program.
    """
    server, program = running("failed-checks-in-total = 2"), executor.program
    tensor = np.load(save_images(tmp_path, 1)[0])
    failures = 0
    with monkeypatch.context() as patch:
        deviate_here(patch)
        while failures < 2:  # a bet may be won, with one in sixteen
            with Client(program).join(server.connect()) as connection:
                try:
                    connection.infer(tensor)
                except DeviatingPeer:
                    failures += 1
    with pytest.raises(PeerRefused, match="2 checks of what st-mary sent have failed") as refused:
        Client(program).join(server.connect())
    assert refused.value.reason == "denied"
    server.end()
    deviated = [each for each in lines(tmp_path) if each["event"] == "deviated"]
    assert [each["failures"] for each in deviated] == [1, 2]
    assert all("do not fit together" in str(each["reason"]) for each in deviated)
    assert [each["reason"] for each in lines(tmp_path) if each["event"] == "refused"] == [
        "deviating"
    ]


def test_an_accusation_is_no_failed_check(
    running: Callable[[str], Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    """A client that says that its own check has failed is believed or not, and is served again."""
    server = running("failed-checks-in-total = 1")
    before = server.connect()
    handshake.refuse(before, "deviating", "trees that do not fit")
    connection = Client(executor.program).join(server.connect())
    connection.close(DeviatingPeer("the peer's trees do not fit together"))
    server.wait_for("ended early.*the peer refuses: trees")
    server.wait_for("ended early.*the peer refuses: the peer's trees")
    with Client(executor.program).join(server.connect()) as again:
        again.infer(np.load(save_images(tmp_path, 1)[0]))
    server.end()
    assert [each for each in lines(tmp_path) if each["event"] == "deviated"] == []


def test_a_bet_at_the_end_of_a_session_is_counted_at_a_worker(
    executor: ServerExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has begun goes on to what the worker allows. Whoever stretches a session until the
    front allows no more of it would lose bets there that nobody counts.
    """
    vendor, hospital = two_credentials(tmp_path)
    access = tmp_path / "access.toml"
    access.write_text(f'[clients.st-mary]\nfingerprint = "{hospital.own}"\n')
    recorder = Recorder("server", executor.program.digest(), AuditLog(tmp_path / "audit.jsonl"))
    door = Door(recorder, AccessList.at(access))
    limits = ServerOptions(session_seconds=1.0)
    pairs = Fronted(executor, 1, vendor, limits, admission=door, recorder=Watch(recorder))
    lose_here(monkeypatch, after=2.0)
    try:
        with pairs.connect(hospital) as connection, pytest.raises(DeviatingPeer):
            connection.infer(np.load(save_images(tmp_path, 1)[0]))
        (counted,) = audit_lines(tmp_path / "audit.jsonl", "deviated", count=1)
    finally:
        pairs.end()
    assert '"failures":1' in counted


def test_who_waits_while_its_key_loses_is_not_served(
    running: Callable[[str], Running],
    executor: ServerExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Connections that wait were let in before. With a place they could bet in the set-up, and win
    in an aggregate, for which no images are counted.
    """
    server, client = running("failed-checks-in-total = 1"), Client(executor.program)
    first, waiting = client.join(server.connect()), server.connect()
    lose_here(monkeypatch)
    with ThreadPoolExecutor(1) as beside:
        second = beside.submit(client.join, waiting)
        server.wait_for("waiting, 1 ahead")
        with first, pytest.raises(DeviatingPeer):
            first.infer(np.load(save_images(tmp_path, 1)[0]))
        with pytest.raises(PeerRefused, match="1 checks of what st-mary sent") as refused:
            second.result()
    assert refused.value.reason == "denied"
    server.end()


def test_a_key_that_could_not_be_counted_is_not_admitted(
    running: Callable[[str], Running],
    executor: ServerExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk lets nobody bet; the client is told no more than that something is wrong, and is
    served when there is room again.
    """
    full = tmp_path / "full"
    monkeypatch.setattr(
        counters, "sync_folder", lambda p: no_space(p) if full.exists() else sync_folder(p)
    )
    server, program = running("failed-checks-in-total = 2"), executor.program
    full.touch()
    with pytest.raises(PeerRefused, match=r"gave up on this connection$") as refused:
        Client(program).join(server.connect())
    assert refused.value.reason == "failed"
    full.unlink()
    Client(program).join(server.connect()).close()
    server.end()
    assert f"access.counts.json: cannot be used as {counters.PURPOSE}: No space" in server.log


def test_who_cannot_be_recorded_is_not_admitted(
    running: Callable[[str], Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    """Nor does the client wait for an answer: it is told that the server has failed."""
    server = running("programs = []")
    (tmp_path / "audit.jsonl").unlink(missing_ok=True)
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(PeerRefused, match="gave up on this connection") as refused:
        Client(executor.program).join(server.connect())
    assert refused.value.reason == "failed"


def test_failures_are_counted_for_good(tmp_path: Path) -> None:
    """Not by the day, and whatever process asks; a key that is taken out and put back has them."""
    access = access_list(tmp_path)
    for count in range(1, FAILED_CHECKS + 1):
        assert isinstance(access.admit(CLIENT, PROGRAM), Admitted)
        assert access.deviated(CLIENT) == count
    for again in (access, access_list(tmp_path)):
        denied = again.admit(CLIENT, PROGRAM)
        assert isinstance(denied, Denied)
        assert denied.reason == "deviating"
        in_a_run = again.take(CLIENT, 1)
        assert in_a_run is not None
        assert in_a_run.reason == "deviating"
    more = access_list(tmp_path, f"failed-checks-in-total = {FAILED_CHECKS + 1}")
    assert isinstance(more.admit(CLIENT, PROGRAM), Admitted)
    assert FAILED_CHECKS == 3


def test_a_quota_and_a_clock_leave_failures_alone(tmp_path: Path) -> None:
    access = access_list(tmp_path)
    access.deviated(CLIENT)
    access.take(CLIENT, 2)
    assert access.counters.failures(CLIENT) == 1
    assert access.counters.of(CLIENT).total == 2
    later = Counters(access.counters.path, today=lambda: access.counters.today().replace(year=2999))
    later.take(CLIENT, 1, lambda count: True)
    assert access.counters.forget_later_days()
    assert access.counters.failures(CLIENT) == 1
    assert access.counters.of(CLIENT).total == 3


def test_counts_of_a_release_without_failures_are_read(tmp_path: Path) -> None:
    """Their checksum is over what they say."""
    counted = Counters(tmp_path / "a.counts.json")
    counted.take(CLIENT, 5, lambda count: True)
    assert "failures" not in counted.path.read_text()
    assert counted.failures(CLIENT) == 0
    assert counted.fail(CLIENT) == 1
    assert Counters(counted.path).of(CLIENT).total == 5
