"""A study whose sessions and whose server's workers live in a Ray cluster: the results of one
machine, also where actors are killed on both sides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moiety.runtime.operation.audit import verify
from moiety.runtime.party.keystore import KeyStore
from moiety.runtime.study.journal import Journal
from tests.support.clusters import (
    PATIENCE,
    Cluster,
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
    """report.json without what tells of resources, and the time stamp."""
    found = json.loads((folder / "report.json").read_text())
    del found["analysis"]["resources"], found["facts"]["Begun"]
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
