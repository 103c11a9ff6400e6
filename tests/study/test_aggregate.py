"""A study of an aggregate policy: nothing of any image on the way, and at the end the AUROC that
the fixed-point scores have, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from moiety.protocols.errors import BadInput
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.party.server.cohorts import Cohorts
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.policy import ALL_SCORES, Policy
from moiety.runtime.results.retry import Retries
from moiety.runtime.study import evaluate as study
from moiety.runtime.study.journal import NAME, Image
from moiety.runtime.study.prepare import Prepared, StudyOptions, prepare
from moiety.runtime.study.runner import Unwatched
from moiety.runtime.study.session import SessionPlan
from tests.support.command import moiety
from tests.support.serving import Running
from tests.support.studies import LABELS, SmallStudy, small_study

IMAGES = 12
POLICY = Policy(reveal="aggregate", positives=4, negatives=4, images=IMAGES)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return small_study(tmp_path_factory.mktemp("small"), IMAGES, POLICY)


@pytest.fixture
def shelves(tmp_path: Path) -> Path:
    return tmp_path / "vendor"


@pytest.fixture
def plan(small: SmallStudy, shelves: Path) -> Iterator[SessionPlan]:
    executor = ServerExecutor(small.program, small.weights)
    executor.prepare()
    running = Running(executor, ServerOptions(sessions=2), cohorts=Cohorts.at(shelves, 30.0))
    yield SessionPlan(program=small.program, host="127.0.0.1", port=running.listener.port, batch=2)
    running.end()


def prepared(plan: SessionPlan, small: SmallStudy, **options: Any) -> Prepared:
    return prepare(plan, small.list, StudyOptions(bootstrap=20, **options))


class Stopping(Unwatched):
    """After so many images."""

    def __init__(self, images: int) -> None:
        self.left = images

    def image(self, image: Image) -> None:
        assert not image.result.outputs
        assert not image.result.revealed
        assert image.result.kept is not None
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_the_aggregate_of_a_study_that_was_interrupted(
    small: SmallStudy, plan: SessionPlan, shelves: Path, tmp_path: Path
) -> None:
    """Images of two parts count together; the answer is kept, shares of both sides are destroyed,
    and a second start asks nothing.
    """
    folder = tmp_path / "study"
    made, journal = study.begin(prepared(plan, small, sessions=2), folder, print)
    with pytest.raises(KeyboardInterrupt):
        study.run(made, journal, study.local_workers(made), Retries(), Stopping(5))
    with pytest.raises(BadInput, match="the aggregate is not revealed before all images are"):
        study.study_of(made, journal)
    journal.close()
    assert any(path.is_file() for path in shelves.rglob("*"))
    whole = study.evaluate(plan, small.list, folder, StudyOptions(sessions=2, bootstrap=20))
    check_areas(small, made, whole.aggregate or ())
    assert whole.table is None
    assert b'"share"' not in (folder / NAME).read_bytes()
    again = study.evaluate(plan, small.list, folder, StudyOptions(bootstrap=20))
    assert again.aggregate == whole.aggregate
    with pytest.raises(BadInput, match="the aggregate of this study is revealed, and the list has"):
        study.check_folder(changed_label(plan, small, tmp_path), folder)


def test_a_limit_does_not_spend_the_cohort(
    small: SmallStudy, plan: SessionPlan, tmp_path: Path
) -> None:
    """A first try of a few images, and then the others: one aggregate, of all."""
    folder = tmp_path / "study"
    address = f"127.0.0.1:{plan.port}"
    arguments = ("evaluate", small.public, small.list, "-o", folder, "--connect", address)
    part = moiety(*arguments, "--limit", 3).check()
    assert "the aggregate is asked for when all are" in part.stderr
    assert not (folder / "report.html").exists()
    with pytest.raises(BadInput, match="before all images are finished, and 3 of 12 are"):
        study.evaluate(plan, small.list, folder, StudyOptions(limit=3))
    made = prepared(plan, small)
    check_areas(small, made, study.evaluate(plan, small.list, folder, made.options).aggregate)


def check_areas(small: SmallStudy, made: Prepared, found: Any) -> None:
    """Against the cleartext executor; a label that has too few images has no figure."""
    open_program = msgspec.structs.replace(small.program, policy=ALL_SCORES)
    cleartext = CleartextExecutor(open_program, small.weights)
    scores = np.array([cleartext.run(np.load(file))["findings"] for file in small.files])
    truth = np.array([line.truth for line in made.lines])
    assert [each.label for each in found] == [*LABELS]
    assert {each.auroc is None for each in found} == {True, False}
    for at, each in enumerate(found):
        known = ~np.isnan(truth[:, at])
        positives = int((truth[:, at] == 1).sum())
        if min(positives, int(known.sum()) - positives) < 4:
            assert each.auroc is None
        else:
            area = roc_auc_score(truth[known, at], scores[known, at])
            assert each.auroc == pytest.approx(area, rel=0, abs=1e-15)


def changed_label(plan: SessionPlan, small: SmallStudy, folder: Path) -> Prepared:
    """The same images, where one is said to be something else."""
    lines = small.list.read_text().splitlines()
    cells = lines[1].split(",")
    cells[-1] = "1" if cells[-1] == "0" else "0"
    changed = folder / "changed.csv"
    changed.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]))
    return prepare(plan, changed, StudyOptions(images=small.list.parent))


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (Policy(reveal="aggregate", positives=11, negatives=2), "no label has so many: Effusion 6"),
        (
            Policy(reveal="aggregate", positives=2, negatives=2, images=6),
            "a cohort of 12 images; this Program's policy allows 6: take images out of the list",
        ),
    ],
)
def test_a_cohort_that_the_policy_does_not_allow(tmp_path: Path, policy: Policy, said: str) -> None:
    """Known before anything is sent."""
    small = small_study(tmp_path, IMAGES, policy)
    plan = SessionPlan(program=small.program, host="127.0.0.1", port=1)
    with pytest.raises(BadInput) as refusal:
        study.check_folder(prepared(plan, small), tmp_path / "study")
    assert said in str(refusal.value)


def test_reference_scores_make_no_sense(small: SmallStudy) -> None:
    plan = SessionPlan(program=small.program, host="127.0.0.1", port=1)
    with pytest.raises(BadInput, match="no scores of images to compare with"):
        prepared(plan, small, reference=small.list)
