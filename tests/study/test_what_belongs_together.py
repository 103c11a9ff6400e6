"""Images, results, shares, labels and journals stay with what they are of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.operation.recorder import NOWHERE
from moiety.runtime.party.cohorts import Kept
from moiety.runtime.party.framing import Line
from moiety.runtime.party.handshake import Served
from moiety.runtime.party.metering import RunCost
from moiety.runtime.party.sides import Revealed
from moiety.runtime.results.inference import run_group
from moiety.runtime.results.record import OutputResult
from moiety.runtime.study.journal import NAME, Journal
from moiety.runtime.study.scores import Scored
from moiety.runtime.study.session import Session, SessionPlan
from moiety.runtime.study.workers import Task
from tests.study.test_journal import HEAD, opened, written
from tests.support.kept import keeping
from tests.support.results import an_image, an_output
from tests.support.runnable import save_images, small

SERVED = Served(seconds=1.0, cpu_seconds=0.5, peak_rss=1)


# --- a run of several images ----------------------------------------------------------------------


class Answering:
    """A connection whose server tells of each case the sum of its values, in order."""

    def __init__(self, program: Any) -> None:
        self.client = SimpleNamespace(program=program)
        self.channel = SimpleNamespace(peer="server here", line=Line())

    def infer_batch(self, cases: Any) -> Any:
        (index,) = self.client.program.outputs
        shape = self.client.program.outputs[index].shape
        values = [np.full(shape, round(float(np.sum(case)))) for case in cases]
        return (
            [[self._revealed(index, each)] for each in values],
            RunCost(images=len(cases)),
            SERVED,
        )

    def _revealed(self, index: int, integers: Any) -> Revealed:
        return Revealed(index, "out", integers, integers.astype(float))

    def keep_batch(self, cases: Any, cohort: str) -> Any:
        kept = [
            Kept(run=f"{number:032}", share=(mark_of(case),)) for number, case in enumerate(cases)
        ]
        return kept, RunCost(images=len(cases)), SERVED


def mark_of(case: Any) -> int:
    return round(abs(float(np.sum(case))) * 1000)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_image_of_a_run_has_its_own_results(count: int, tmp_path: Path) -> None:
    program, _ = small()
    files, reader = save_images(tmp_path, count), Reader.of(program)
    connection: Any = Answering(program)
    results, _ = run_group(connection, files, reader, NOWHERE)
    for file, result in zip(files, results, strict=True):
        taken = load(file, reader)
        assert result.file == str(file)
        assert result.identity == taken.identity
        (revealed,) = result.revealed
        assert set(revealed.values) == {round(float(np.sum(taken.tensor)))}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_image_of_a_run_has_its_own_share(count: int, tmp_path: Path) -> None:
    program, _ = keeping()
    files, reader = save_images(tmp_path, count), Reader.of(program)
    connection: Any = Answering(program)
    results, _ = run_group(connection, files, reader, NOWHERE, "ab" * 16)
    for number, (file, result) in enumerate(zip(files, results, strict=True)):
        taken = load(file, reader)
        assert result.identity == taken.identity
        assert result.kept == Kept(run=f"{number:032}", share=(mark_of(taken.tensor),))


# --- labels ---------------------------------------------------------------------------------------


def scored_image() -> Any:
    other = an_output([9.0, 8.0, 7.0], ("a", "b", "c"), "other")
    return an_image("a.png", [other, an_output([1.0, 2.0, 3.0], ("a", "b", "c"), "out")])


@pytest.mark.parametrize("wanted", [("c", "a"), ("b",), ("a", "b", "c"), ("c", "b", "a")])
def test_a_score_is_its_labels(wanted: tuple[str, ...]) -> None:
    """Whatever the order in which a list has them, and of the result that was asked for."""
    scored = Scored("out", ("a", "b", "c"), "logits")
    of_label = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert scored.of_image(scored_image(), wanted) == [of_label[each] for each in wanted]


def test_a_choice_is_its_labels() -> None:
    output = OutputResult(
        name="out",
        shape=(1,),
        labels=("a", "b", "c"),
        kind="integer",
        formula="out",
        values=[2],
        chosen=("c",),
    )
    scored = Scored("out", ("a", "b", "c"), "choices")
    assert scored.of_image(an_image("a.png", [output]), ("c", "a")) == [1.0, 0.0]


# --- quotas ---------------------------------------------------------------------------------------


def session(images: int | None, cohorts: int | None, cohort: str = "") -> Session:
    program, _ = small()
    plan = SessionPlan(program=program, host="127.0.0.1", port=7700, cohort=cohort)
    connection: Any = Mock(images_left=images, cohorts_left=cohorts, sizes=(1,))
    return Session(connection, plan, Reader.of(program), NOWHERE)


@pytest.mark.parametrize(
    ("images", "ahead", "enough"), [(4, 5, False), (5, 5, True), (None, 5, True), (0, 1, False)]
)
def test_a_quota_that_does_not_reach_is_said_before_anything_is_sent(
    images: int | None, ahead: int, enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Any] = []

    def run(*arguments: Any) -> Any:
        runs.append(arguments)
        return [an_image("a.npy")], RunCost(images=1)

    monkeypatch.setattr("moiety.runtime.study.session.run_group", run)
    monkeypatch.setattr("moiety.runtime.study.session.finished", Mock())
    made, task = session(images, None), Task((0,), (Path("a.npy"),), ahead)
    made = replace(made, recorder=Mock())
    if enough:
        made.run(task)
        made.run(replace(task, ahead=1000))  # what was begun is not asked again
        assert len(runs) == 2
    else:
        with pytest.raises(BadInput, match="the server lets this client run"):
            made.run(task)
        assert not runs


def test_a_study_without_an_aggregate_left_sends_nothing() -> None:
    with pytest.raises(BadInput, match="no more aggregates"):
        session(None, 0, "ab" * 16).run(Task((0,), (Path("a.npy"),), 1))


# --- journals -------------------------------------------------------------------------------------


def chained(*payloads: bytes) -> bytes:
    """A journal of these lines whose checksums are right."""
    checksum, lines = "0" * 32, []
    for payload in payloads:
        checksum = hashlib.sha256(checksum.encode() + payload).hexdigest()[:32]
        lines.append(checksum.encode() + b" " + payload + b"\n")
    return b"".join(lines)


def payloads(folder: Path) -> list[bytes]:
    return [line.partition(b" ")[2] for line in written(folder).splitlines()]


def test_a_journal_is_chained_as_it_says(tmp_path: Path) -> None:
    """Restated: each checksum is of the one before it and of its line."""
    whole = written(tmp_path)
    assert chained(*payloads(tmp_path / "again")) == whole


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("another version", "has version 2, this Moiety reads 1"),
        ("two heads", "line 2 is damaged: it is no record that belongs there"),
        ("no head", "line 1 is damaged: it is no record that belongs there"),
        ("a strange record", "line 2 is damaged: another release wrote it"),
    ],
)
def test_a_journal_whose_checksums_are_right_must_still_be_one(
    change: str, words: str, tmp_path: Path
) -> None:
    head, *rest = payloads(tmp_path / "made")
    newer = json.dumps(json.loads(head) | {"version": 2}).encode()
    lines = {
        "another version": [newer, *rest],
        "two heads": [head, head, *rest],
        "no head": rest,
        "a strange record": [head, b'{"record":"verdict"}', *rest],
    }
    (tmp_path / NAME).write_bytes(chained(*lines[change]))
    for read in (opened, Journal.look):
        with pytest.raises(BadArtifact, match=words):
            read(tmp_path)


def test_a_study_of_another_program_that_has_images_is_kept(tmp_path: Path) -> None:
    """Without images it is nothing, and begun anew under the new head."""
    other = msgspec.structs.replace(HEAD, program="q" * 64)
    whole = written(tmp_path / "with")
    journal = Journal.open(tmp_path / "with", other, print)
    journal.close()
    assert (journal.head, len(journal.images)) == (HEAD, 3)
    assert (tmp_path / "with" / NAME).read_bytes() == whole
    written(tmp_path / "without", 0)
    journal = Journal.open(tmp_path / "without", other, print)
    journal.close()
    found = Journal.look(tmp_path / "without")
    assert found is not None
    assert (found.head, found.parts) == (other, [])


def test_a_journal_is_no_link(tmp_path: Path) -> None:
    """Nobody makes a study write into another file."""
    written(tmp_path / "made")
    (tmp_path / NAME).symlink_to(tmp_path / "made" / NAME)
    with pytest.raises(BadInput, match="cannot be used as a study's journal"):
        opened(tmp_path)
