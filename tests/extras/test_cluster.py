"""A study whose sessions and whose server's workers live in a Ray cluster: the results of one
machine, also where actors are killed on both sides, and a node; and the end of a cluster's head.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from moiety.protocols.errors import NetworkFailure
from moiety.runtime.cluster import joining
from moiety.runtime.cluster.joining import Head
from moiety.runtime.cluster.placement import Room, Servers
from moiety.runtime.cluster.servers import Placing
from moiety.runtime.operation.audit import verify
from moiety.runtime.party.keystore import KeyStore
from moiety.runtime.study.journal import Journal
from tests.support.clusters import (
    PATIENCE,
    Cluster,
    another_node,
    kill_an_actor,
    local_cluster,
    serving_from,
    wait_for,
    wait_until,
)
from tests.support.command import moiety, serving
from tests.support.lines import two_stores
from tests.support.studies import SmallStudy, small_study

IMAGES = 60
SOON = (
    "from moiety.runtime.cluster import joining; joining.HEAD_SECONDS = 3.0; "
    "from moiety.runtime.cli.start import main; main()"
)
"""`moiety`, which waits less for a head than it usually does."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with local_cluster() as started:
        yield started


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return small_study(tmp_path_factory.mktemp("study"), IMAGES)


@pytest.fixture(scope="module")
def stores(study: SmallStudy) -> tuple[KeyStore, KeyStore]:
    return two_stores(study.list.parent)


def results(folder: Path) -> dict[str, list[list[float]]]:
    """Of each image, by its key, what was revealed."""
    journal = Journal.look(folder)
    assert journal is not None
    return {
        key: [each.values for each in image.result.revealed]
        for key, image in journal.images.items()
    }


def report(folder: Path) -> dict[str, Any]:
    """report.json without what tells of resources."""
    found = json.loads((folder / "report.json").read_text())
    del found["analysis"]["resources"]
    return found


def finished(folder: Path) -> int:
    file = folder / "journal.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_two_pairs_lose_an_actor_each_and_no_image(
    cluster: Cluster, study: SmallStudy, stores: tuple[KeyStore, KeyStore], tmp_path: Path
) -> None:
    vendor, hospital = stores
    evaluate = ("evaluate", study.public, study.list)
    with serving(study.compiled) as server:
        moiety(*evaluate, "-o", tmp_path / "one", "--connect", server.address).check()
    audit, log, said = (tmp_path / name for name in ("audit.jsonl", "serve.log", "evaluate.log"))
    keys = ("--keys", vendor.folder)
    with serving_from(cluster, study.compiled, log, 2, *keys, "--audit", audit) as address:
        options = ("--connect", address, "--keys", hospital.folder, *cluster.options(2))
        running = cluster.start(said, *evaluate, "-o", tmp_path / "many", *options)
        wait_until(lambda: finished(tmp_path / "many") > 6, said.read_text)
        kill_an_actor(cluster, "SessionProcess")
        before = finished(tmp_path / "many")
        wait_until(lambda: finished(tmp_path / "many") > before + 4, said.read_text)
        kill_an_actor(cluster, "ServerProcess")
        assert running.wait(PATIENCE) == 0, said.read_text()
        wait_for(log, "is down")
        wait_for(log, "is up", 3)
    assert results(tmp_path / "many") == results(tmp_path / "one")
    assert len(results(tmp_path / "one")) == IMAGES
    assert report(tmp_path / "many") == report(tmp_path / "one")
    verify(audit)
    assert "trying again" in said.read_text()


def test_a_node_dies_and_no_image_is_lost(
    cluster: Cluster, study: SmallStudy, tmp_path: Path
) -> None:
    """Once more where all images were done before the node died."""
    cpus, one = 2, tmp_path / "one"
    options = ("--cluster", cluster.address, "--pairs", 2, "--worker-cpus", cpus)
    with serving(study.compiled, "--sessions", 4) as server:
        evaluate = ("evaluate", study.public, study.list, "--connect", server.address)
        moiety(*evaluate, "-o", one).check()
        for attempt in range(4):
            said, many = tmp_path / f"{attempt}.log", tmp_path / f"many-{attempt}"
            # Of two processors each, as the head has: there is room for one session on each.
            with another_node(cluster, cpus, tmp_path / f"node-{attempt}.log") as node:
                running = cluster.start(said, *evaluate, "-o", many, *options)
                wait_until(partial(met, many), said.read_text)
                os.killpg(node, signal.SIGKILL)
                assert running.wait(PATIENCE) == 0, said.read_text()
            assert results(many) == results(one)
            assert report(many) == report(one)
            if "is lost" in said.read_text():
                return
    pytest.fail("every time all images were done before the node died")


def met(folder: Path) -> bool:
    """Whether both sessions have finished an image."""
    return len(sessions(folder)) == 2


def sessions(folder: Path) -> set[str]:
    """That have finished an image."""
    file = folder / "journal.jsonl"
    lines = file.read_bytes().splitlines() if file.exists() else []
    words = [json.loads(line.split(b" ", 1)[1]) for line in lines]
    return {word["worker"] for word in words if "worker" in word}


def test_without_its_head_a_study_ends_in_words_and_goes_on_without_a_cluster(
    study: SmallStudy, tmp_path: Path
) -> None:
    said, folder = tmp_path / "evaluate.log", tmp_path / "study"
    with serving(study.compiled, "--sessions", 4) as server, local_cluster() as cluster:
        evaluate = ("evaluate", study.public, study.list, "-o", folder, "--connect", server.address)
        command = (sys.executable, "-c", SOON)
        running = cluster.start(said, *evaluate, *cluster.options(1), command=command)
        wait_until(lambda: finished(folder) > 6, said.read_text)
        os.kill(cluster.head(), signal.SIGKILL)
        assert running.wait(PATIENCE) == 8, said.read_text()
        text = said.read_text()
        assert "Traceback" not in text
        assert "has not answered for 3 s; start the cluster again, or go on without" in text
        assert "the same command goes on with the others" in text
        before = results(folder)
        moiety(*evaluate).check()
    assert 4 < len(before) < IMAGES
    assert len(results(folder)) == IMAGES
    assert before.items() <= results(folder).items()


def test_a_head_that_answers_again_was_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(joining, "TICK", 0.01)
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
    head = Head(f"{host}:{port}")
    try:
        assert head.why_gone() is None
        listener.close()
        wait_until(lambda: head.why_gone() is not None, lambda: "it is not missed")
        assert f"{host}:{port} has not answered" in (head.why_gone() or "")
        servers = Servers(room=Room(address="auto", workers=1), front=(host, port), arguments=())
        with pytest.raises(NetworkFailure, match="has not answered"):
            Placing(servers, None, head).run(threading.Event())  # type: ignore[arg-type]
        with socket.create_server((host, port)):
            wait_until(lambda: head.why_gone() is None, lambda: "it is still missed")
    finally:
        head.leave()


def test_a_cluster_without_room_or_without_a_head_is_said_at_once(
    cluster: Cluster, study: SmallStudy, tmp_path: Path
) -> None:
    def refused(*options: str) -> str:
        command = ("evaluate", study.public, study.list, "-o", tmp_path / "study")
        file = tmp_path / "said"
        process = cluster.start(file, *command, "--connect", "127.0.0.1:1", *options)
        assert process.wait(PATIENCE) in (5, 8)
        assert "Traceback" not in file.read_text()
        return file.read_text()

    assert "the cluster has 2 processors" in refused(*cluster.options(5))
    assert "is not an address" in refused("--cluster", "nowhere")
