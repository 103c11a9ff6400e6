"""An `aggregate` policy between two processes: nothing of an image is revealed, one aggregate of a
cohort is, whatever is killed on the way.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from moiety.protocols.aggregate import counts
from moiety.protocols.aggregate.auroc import reveal
from moiety.protocols.aggregate.marks import NEGATIVE, POSITIVE
from moiety.protocols.aggregate.sealed import Sealed
from moiety.protocols.arrays import U8
from moiety.protocols.errors import BadInput, NetworkFailure, PeerMismatch
from moiety.protocols.session import Session
from moiety.runtime.cli.operation import warn_of_aggregates
from moiety.runtime.cost.traffic import aggregate_cost
from moiety.runtime.operation.access import AccessList
from moiety.runtime.operation.audit import AuditLog
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party import cohorts, handshake
from moiety.runtime.party.client import Client, Connection
from moiety.runtime.party.cohorts import AggregateResult, aggregate, results_of
from moiety.runtime.party.endpoints import parse_address
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.server import Server, ServerOptions
from moiety.runtime.party.server.cohorts import Cohorts, Shelf
from moiety.runtime.party.server.operation import Watch
from moiety.runtime.program import Program
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.policy import Policy
from moiety.runtime.program.weights import Weights
from tests.runtime.test_operated_server import CLIENT, KnownDoor, audited, wait_for
from tests.support.command import moiety, serving
from tests.support.counting import counting
from tests.support.kept import BATCH, LABELS, LEAST, POLICY, Study, keeping
from tests.support.runnable import save, save_images, save_small
from tests.support.serving import Running
from tests.support.two_party import run_two_party, share


@pytest.fixture(scope="module")
def executor() -> ServerExecutor:
    made = ServerExecutor(*keeping(), batches=(1, BATCH))
    made.prepare()
    return made


def test_a_study_over_a_server_that_is_killed(tmp_path: Path) -> None:
    """40 images, unknown labels, one label with too few positives; two servers, one after the
    other, over one folder of cohorts.
    """
    program, weights = keeping()
    save(tmp_path / "compiled", program, weights)
    options = ("--cohorts", tmp_path / "cohorts", "--batch", f"1,{BATCH}", "--no-audit")
    study, client = Study.of(40), Client(program, batch=BATCH)
    with serving(tmp_path / "compiled", *options) as server:
        connection = client.connect(*parse_address(server.address))
        assert (connection.images_left, connection.cohorts_left) == (None, 3)
        study.run(connection, 17)
        server.end(signal.SIGKILL)
        with pytest.raises(NetworkFailure):
            study.run(connection, 1)
        connection.channel.abort()
    with serving(tmp_path / "compiled", *options) as server:
        with client.connect(*parse_address(server.address)) as connection:
            study.run(connection, 40 - len(study.kept))
            found = study.aggregate(connection)
        with pytest.raises(PeerRefused, match="a cohort has one; its shares are destroyed"):
            study.aggregate(late := client.connect(*parse_address(server.address)))
        assert late.cohorts_left == 2
        server.end().check()
    assert list(found) == study.expected(program, weights)
    assert found[0].auroc is not None
    assert found[-1].auroc is None
    assert found[-1].positives < LEAST.positives
    (left,) = (tmp_path / "cohorts" / "anybody" / program.digest()).iterdir()
    assert left.name == f"{study.cohort}.spent"


@pytest.fixture
def serve(executor: ServerExecutor, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(limits: str = "", **parts: Any) -> Running:
        file = tmp_path / "access.toml"
        file.write_text(f'[clients.st-mary]\nfingerprint = "{CLIENT}"\n{limits}\n')
        audit = AuditLog(tmp_path / "audit.jsonl")
        recorder = Recorder("server", executor.program.digest(), audit)
        own: dict[str, Any] = {
            "admission": KnownDoor(recorder, AccessList.at(file)),
            "recorder": Watch(recorder),
            "cohorts": Cohorts.at(tmp_path / "cohorts"),
        }
        options = parts.pop("options", ServerOptions())
        started.append(Running(executor, options, **(own | parts)))
        return started[-1]

    yield start
    for running in started:
        running.end()


def test_what_a_server_denies(serve: Callable[..., Running], executor: ServerExecutor) -> None:
    running = serve("images-in-total = 40\ncohorts-in-total = 9")
    client = Client(executor.program, batch=BATCH)
    study, other = Study.of(12), Study.of(12)

    def joined() -> Connection:
        """One that the server ends: it has one place."""
        return client.join(running.connect())

    with joined() as connection:
        study.run(connection, 11)
        other.run(connection, 11)
    strange = [*other.kept[:1], *study.kept[1:]]
    with pytest.raises(PeerRefused, match="of 1 of the 11 images of the cohort no share is kept"):
        study.aggregate(joined(), runs=[each.run for each in strange])
    connection = joined()
    assert (connection.images_left, connection.cohorts_left) == (18, 3)
    handshake.send(connection.channel, handshake.Aggregate(cohort=study.cohort, images=11))
    twice = bytes.fromhex(study.kept[0].run) * 11
    connection.channel.send(np.frombuffer(twice, np.uint8))
    with pytest.raises(PeerRefused, match="a run of the cohort is named twice"):
        handshake.receive(connection.channel, handshake.Served)
    connection = joined()
    handshake.send(connection.channel, handshake.Aggregate(cohort=study.cohort, images=61))
    with pytest.raises(PeerRefused, match="a cohort of 61 images; 2 to 60 are possible"):
        handshake.receive(connection.channel, handshake.Served)
    connection = joined()
    handshake.send(connection.channel, handshake.Begin(index=0, cohort="../" + "0" * 29))
    with pytest.raises(NetworkFailure, match="gave up on this connection"):
        handshake.receive(connection.channel, handshake.Served)
    with joined() as connection:
        study.aggregate(connection)
    with pytest.raises(PeerRefused, match="a cohort has one"):
        study.run(joined(), 1)


def test_cohorts_are_counted(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    """Of an aggregate the audit log says that it is about to be revealed."""
    running = serve("cohorts-in-total = 1")
    client = Client(executor.program, batch=BATCH)
    study, late = Study.of(16), Study.of(16)
    with client.join(running.connect()) as connection:
        late.run(connection, 16)
    with client.join(running.connect()) as connection:
        assert connection.cohorts_left == 1
        study.run(connection, 16)
        study.aggregate(connection)
    with pytest.raises(PeerRefused, match="had all the aggregates that it may ask for") as refused:
        late.aggregate(client.join(running.connect()))
    assert refused.value.exit_code == PeerRefused.DENIED
    with pytest.raises(PeerRefused, match="had all the aggregates"):
        Study.of(16).run(client.join(running.connect()), 1)
    wait_for(tmp_path, "left", 4)
    running.end()
    (told,) = (each for each in audited(tmp_path) if each["event"] == "aggregated")
    assert (told["cohort"], told["images"]) == (study.cohort, 16)
    assert told["peer"]["name"] == "st-mary"


def test_a_client_that_leaves_before_the_end_may_ask_again(
    serve: Callable[..., Running], executor: ServerExecutor
) -> None:
    """Nothing was revealed."""
    running = serve()
    client, study = Client(executor.program, batch=BATCH), Study.of(16)
    connection = client.join(running.connect())
    study.run(connection, 16)

    class Gone(Exception):
        pass

    def leave(done: int, total: int, what: str) -> None:
        raise Gone

    with pytest.raises(Gone):
        study.aggregate(connection, progress=leave)
    connection.channel.abort()
    with client.join(running.connect()) as connection:
        found = study.aggregate(connection)
    assert list(found) == study.expected(executor.program, executor.weights)


@pytest.mark.parametrize("moment", ["before the marker", "beside the shares", "before the answer"])
def test_a_server_that_is_killed_about_to_reveal(
    moment: str,
    serve: Callable[..., Running],
    executor: ServerExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until the marker nothing has happened; from then on the cohort is over."""
    honest, died = Shelf.spend, tmp_path / "died"

    def spend(shelf: Shelf, cohort: str, *limits: Any) -> None:
        if died.exists():
            return honest(shelf, cohort, *limits)
        died.touch()
        if moment == "beside the shares":
            shelf._path(cohort, ".spent").touch()
        elif moment == "before the answer":
            honest(shelf, cohort, *limits)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(Shelf, "spend", spend)
    running = serve()
    client, study = Client(executor.program, batch=BATCH), Study.of(16)
    connection = client.join(running.connect())
    study.run(connection, 16)
    with pytest.raises(NetworkFailure):
        study.aggregate(connection)
    connection.channel.abort()
    with client.join(running.connect()) as connection:
        if moment == "before the marker":
            found = study.aggregate(connection)
            assert list(found) == study.expected(executor.program, executor.weights)
        else:
            with pytest.raises(PeerRefused, match="a cohort has one"):
                study.aggregate(connection)
    Cohorts.at(tmp_path / "cohorts")
    (left,) = (tmp_path / "cohorts").glob("*/*/*")
    assert left.name == f"{study.cohort}.spent"


def test_of_two_that_ask_at_once_one_is_answered(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    """Both are past all checks before either is answered; one aggregate is recorded."""
    running = serve(options=ServerOptions(sessions=2))
    client, study = Client(executor.program, batch=BATCH), Study.of(16)
    with client.join(running.connect()) as connection:
        study.run(connection, 16)
    both = threading.Barrier(2)

    def ask() -> tuple[AggregateResult, ...] | PeerRefused:
        with client.join(running.connect()) as connection:
            try:
                return study.aggregate(connection, progress=lambda *step: both.wait(30) and None)
            except PeerRefused as refused:
                return refused

    with ThreadPoolExecutor(2) as pool:
        told = [job.result() for job in [pool.submit(ask), pool.submit(ask)]]
    (refused,) = (each for each in told if isinstance(each, PeerRefused))
    (found,) = (each for each in told if not isinstance(each, PeerRefused))
    assert list(found) == study.expected(executor.program, executor.weights)
    assert "a cohort has one" in str(refused)
    running.end()
    assert [each["event"] for each in audited(tmp_path)].count("aggregated") == 1


def test_the_order_of_images_does_not_tell_their_labels(
    serve: Callable[..., Running], executor: ServerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that names the positive ones first: the server sees ids in their own order."""
    client, study = Client(executor.program, batch=BATCH), Study.of(24)
    named: list[bytes] = []
    with client.join(serve().connect()) as connection:
        study.run(connection, 24)
        order = np.argsort(study.marks[0] != POSITIVE, kind="stable")
        images = Study(
            study.images[order],
            study.marks[:, order],
            study.cohort,
            [study.kept[at] for at in order],
        )
        send = connection.channel.send

        def kept(data: U8) -> None:
            named.append(bytes(data))
            send(data)

        monkeypatch.setattr(connection.channel, "send", kept)
        found = images.aggregate(connection)
    ids = sorted(bytes.fromhex(each.run) for each in study.kept)
    assert named[0] == b"".join(ids)
    assert list(found) == study.expected(executor.program, executor.weights)


def test_an_answer_that_cannot_be_one(
    serve: Callable[..., Running], executor: ServerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a server that reveals something else. It does not learn what became of that."""

    def lying(session: Session, sealed: Sealed) -> Any:
        sealed = Sealed(sealed.shares + session.is_server * (1 << 40), sealed.keys)
        return reveal(session, sealed)

    monkeypatch.setattr(cohorts, "reveal", lying)
    running = serve()
    client, study = Client(executor.program, batch=BATCH), Study.of(16)
    with client.join(running.connect()) as connection:
        study.run(connection, 16)
        with pytest.raises(PeerMismatch, match="revealed of output 0 is no AUROC"):
            study.aggregate(connection)
    running.wait_for("finished, 16 images")


@pytest.mark.parametrize("counted", [False, True])
def test_the_parties_meter_what_is_declared(executor: ServerExecutor, counted: bool) -> None:
    program = deciding()[0] if counted else executor.program
    scores = np.arange(60, dtype=np.uint64).reshape(20, LABELS)
    shares = share(scores, 24, np.random.default_rng(2))
    marks = np.ones((LABELS, 20), np.uint8)
    outcome = run_two_party(
        lambda s: aggregate(s, program, shares[0], None),
        lambda s: aggregate(s, program, shares[1], marks),
    )
    cost = aggregate_cost(program, 20)
    for (_, found), (sent, received) in zip(
        outcome, ((cost.down, cost.up), (cost.up, cost.down)), strict=True
    ):
        assert (found.total.sent, found.total.received) == (sent, received)


# --- counts ---------------------------------------------------------------------------------------


def deciding() -> tuple[Program, Weights]:
    """The small Program, whose decisions at thresholds stay shared."""
    return counting(
        *keeping(), (-1280, -38, 3740), msgspec.structs.replace(POLICY, figures="counts")
    )


def test_a_folder_that_is_brought_back_tells_single_decisions(tmp_path: Path) -> None:
    """What docs/operation.md says of backups of the vendor's folder: a client that has kept its
    shares asks about the same ones again, with a label less each time, and its images are not
    counted again; the differences are decisions.
    """
    executor, study = ServerExecutor(*deciding(), batches=(1, BATCH)), Study.of(16)
    executor.prepare()
    study.marks[0] = np.repeat(np.array([POSITIVE, NEGATIVE], np.uint8), 8)
    running = Running(executor, ServerOptions(), cohorts=Cohorts.at(tmp_path / "cohorts"))
    client, found = Client(executor.program, batch=BATCH), list[int]()
    try:
        with client.join(running.connect()) as connection:
            study.run(connection, 16)
        (shelf,) = (tmp_path / "cohorts").glob(f"*/{executor.program.digest()}")
        shutil.copytree(shelf, tmp_path / "backup")
        for without in (None, 0, 1, 2):
            with client.join(running.connect()) as connection:
                known = np.arange(16) != without
                positives = (study.marks == POSITIVE).T & known[:, None]
                told = study.aggregate(connection, positives=positives)[0]
            found.append(told.true_positives or 0)
            shutil.rmtree(shelf)
            shutil.copytree(tmp_path / "backup", shelf)
    finally:
        running.end()
    cleartext = CleartextExecutor(executor.program, executor.weights)
    said = [next(iter(cleartext.run_integers(image).values()))[0] for image in study.images[:3]]
    assert [found[0] - each for each in found[1:]] == said
    assert len(set(said)) == 2


def test_counts_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a server whose shares are of other images, say: noise has no counts."""
    honest_count = counts.count_up

    def lying(session: Session, decisions: Any, *given: Any) -> Sealed:
        if session.is_server:
            decisions = decisions + np.uint64(12345)
        return honest_count(session, decisions, *given)

    program, marks = deciding()[0], np.tile(np.array([1, 2], np.uint8), (LABELS, 10))
    shares = np.zeros((20, LABELS), np.uint64)
    honest = partial(aggregate, program=program, shares=shares)

    def told() -> Any:
        outcome = run_two_party(lambda s: honest(s, marks=None), lambda s: honest(s, marks=marks))
        found, _ = outcome.client
        return list(results_of(["a", "b", "c"], found, marks))

    assert told()[0] == AggregateResult("a", 10, 10, true_positives=0, false_positives=0)
    monkeypatch.setattr(counts, "count_up", lying)
    with pytest.raises(PeerMismatch, match="revealed of a are no counts of its images"):
        told()


# --- what is refused before anything is sent ------------------------------------------------------


def test_a_server_needs_a_folder_for_cohorts(executor: ServerExecutor, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no folder is given for them"):
        Server(executor, None)  # type: ignore[arg-type]
    save(tmp_path / "compiled", executor.program, executor.weights)
    served = moiety("serve", tmp_path / "compiled", "--listen", "127.0.0.1:0")
    served.refused(5, "--cohorts DIR")


def test_a_folder_for_cohorts_that_nothing_needs_is_said(tmp_path: Path) -> None:
    save_small(tmp_path / "compiled")
    with serving(tmp_path / "compiled", "--cohorts", tmp_path / "cohorts") as running:
        assert "is not used" in running.end().stderr


def test_that_nothing_limits_aggregates_is_said(tmp_path: Path) -> None:
    """Where neither the Program nor an access file does; cohorts are what bounds an aggregate."""
    for most, said in ((None, 1), (3, 0)):
        folder = tmp_path / f"compiled {most}"
        save(folder, *keeping(msgspec.structs.replace(POLICY, cohorts=most)))
        with serving(folder, "--cohorts", tmp_path / "cohorts", "--no-audit") as running:
            stderr = running.end().stderr
        assert stderr.count("nothing limits how many aggregates every client may ask for") == said


@pytest.mark.parametrize(
    ("policy", "limits", "said"),
    [
        (msgspec.structs.replace(POLICY, cohorts=None), ("", ""), "st-mary, st-ann"),
        (msgspec.structs.replace(POLICY, cohorts=None), ("", "cohorts-in-total = 0"), "st-mary"),
        (msgspec.structs.replace(POLICY, cohorts=None), ("cohorts-in-total = 2",) * 2, ""),
        (POLICY, ("", ""), ""),
        (Policy(), ("", ""), ""),
    ],
)
def test_who_may_ask_for_any_number_of_aggregates(
    policy: Policy,
    limits: tuple[str, str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "access.toml"
    names = zip(("st-mary", "st-ann"), (CLIENT, "0" * 64), limits, strict=True)
    file.write_text(
        "".join(f'[clients.{name}]\nfingerprint = "{key}"\n{limit}\n' for name, key, limit in names)
    )
    warn_of_aggregates(policy, AccessList.at(file))
    told = capsys.readouterr().err
    assert (f"how many aggregates {said} may ask for" in told) if said else not told


def test_there_is_nothing_to_infer(executor: ServerExecutor, tmp_path: Path) -> None:
    save(tmp_path / "compiled", executor.program, executor.weights)
    save_images(tmp_path, 1)
    arguments = (tmp_path / "compiled", tmp_path / "image0.npy", "--connect", "127.0.0.1:1")
    done = moiety("infer", *arguments, "-o", tmp_path / "r.json")
    done.refused(5, "no image has results of its own", "moiety evaluate")


def cohort_of(count: int) -> dict[str, Any]:
    flags = np.zeros((count, LABELS), bool)
    return {
        "cohort": "0" * 32,
        "runs": [f"{number:032x}" for number in range(count)],
        "shares": np.zeros((count, LABELS), np.uint64),
        "positives": flags,
        "negatives": flags,
    }


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "one image": (cohort_of(1), "a cohort of 1 images; this Program's policy allows 2 to 60"),
    "too many": (cohort_of(61), "a cohort of 61 images"),
    "a run twice": (cohort_of(2) | {"runs": ["0" * 32] * 2}, "each given once"),
    "an odd run": (cohort_of(2) | {"runs": ["0" * 32, "x"]}, "32 hexadecimal digits"),
    "an odd cohort": (cohort_of(2) | {"cohort": "../.."}, "32 random hexadecimal digits"),
    "labels of others": (
        cohort_of(2) | {"positives": np.zeros((2, 4), bool)},
        r"2 images and 3 outputs are arrays \(2, 3\)",
    ),
    "both": (
        cohort_of(2) | {name: np.ones((2, LABELS), bool) for name in ("positives", "negatives")},
        "positive and negative for one label",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_cohort(
    what: str, serve: Callable[..., Running], executor: ServerExecutor
) -> None:
    given, words = BAD[what]
    with (
        Client(executor.program).join(serve().connect()) as connection,
        pytest.raises(BadInput, match=words),
    ):
        connection.aggregate(**given)
