"""A study of an aggregate policy of counts: nothing of any image on the way, and at the end how
many decisions at secret thresholds are right and wrong, exactly.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy.stats import binomtest

from moiety.protocols.arrays import BOOL, F64, I64
from moiety.runtime.program import Program
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.policy import Policy
from moiety.runtime.study.journal import NAME
from tests.support import html
from tests.support.command import moiety, serving
from tests.support.counting import counting
from tests.support.runnable import save
from tests.support.studies import LABELS, SmallStudy, small_study, write_csv

IMAGES = 40
POLICY = Policy(
    reveal="aggregate", figures="counts", positives=8, negatives=8, images=IMAGES, cohorts=1
)
FEW = 3
"""Images that the last label says it is in: too few."""


@dataclass(frozen=True)
class Cohort:
    """What is known in the clear: of each image and label how far its score is from the threshold's
    least integer, and its truth, NaN where unknown.
    """

    small: SmallStudy
    program: Program
    margins: I64
    truth: F64

    @property
    def decisions(self) -> BOOL:
        return self.margins >= 0


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """The first label's threshold is one image's score, the second's is one above another's."""
    folder = tmp_path_factory.mktemp("small")
    small = small_study(folder, IMAGES)
    executor = CleartextExecutor(small.program, small.weights)
    found = [executor.run_integers(np.load(file)) for file in small.files]
    scores: I64 = np.stack([each for (each,) in (one.values() for one in found)])
    least: I64 = np.sort(scores, axis=0)[[25, 14, 20], range(len(LABELS))] + np.array([0, 1, 0])
    program, weights = counting(small.program, small.weights, least.tolist(), POLICY)
    save(small.compiled, program, weights)
    header, *rows = list(csv.reader(small.list.read_text().splitlines()))
    for number, row in enumerate(rows):
        row[-1] = str(int(number < FEW))
    write_csv(small.list, header, rows)
    truth = np.array([[float(cell or "nan") for cell in row[3:]] for row in rows])
    return Cohort(small, program, scores - least, truth)


def expected(cohort: Cohort, label: int) -> dict[str, int]:
    said, truth = cohort.decisions[:, label], cohort.truth[:, label]
    return {
        "true_positives": int((said & (truth == 1)).sum()),
        "false_negatives": int((~said & (truth == 1)).sum()),
        "false_positives": int((said & (truth == 0)).sum()),
        "true_negatives": int((~said & (truth == 0)).sum()),
    }


def test_forty_images_through_two_processes(cohort: Cohort, tmp_path: Path) -> None:
    """Counts equal those of the cleartext executor; sensitivity and specificity have Wilson's
    intervals; the label with too few positives has nothing; no share is left, and the cohort's
    quota is used up.
    """
    folder, shelves = tmp_path / "study", tmp_path / "shelves"
    arguments = ("evaluate", cohort.small.public, cohort.small.list)
    with serving(cohort.small.compiled, "--cohorts", shelves, "--no-audit") as server:
        options = ("--connect", server.address)
        part = moiety(*arguments, "-o", folder, *options, "--limit", 7).check()
        assert "the aggregate is asked for when all are" in part.stderr
        done = moiety(*arguments, "-o", folder, *options).check()
        late = moiety(*arguments, "-o", tmp_path / "again", *options)
        late.refused(5, "ask for no more aggregates")
    assert len([*shelves.rglob("*.spent")]) == 1
    assert not [*shelves.rglob("*.shares")]
    assert b'"share"' not in (folder / NAME).read_bytes()
    report = json.loads((folder / "report.json").read_text())
    assert report["policy"] == msgspec.to_builtins(POLICY)
    assert report["analysis"]["discrimination"] == []
    usual, other, few = report["analysis"]["decisions"]
    for at, found in enumerate((usual, other)):
        check_decided(found, expected(cohort, at))
    assert few["secure"] is None
    assert few["counts"]["positives"] == FEW
    assert few["reason"] == "fewer positives or negatives than the policy asks for"
    check_pages(cohort, folder)
    assert "sensitivity" in done.stdout


def check_decided(found: dict[str, Any], counts: dict[str, int]) -> None:
    true, missed, false, rejected = counts.values()
    assert min(counts.values()) > 0
    for name, hits, total in (
        ("sensitivity", true, true + missed),
        ("specificity", rejected, rejected + false),
        ("positive_predictive_value", true, true + false),
        ("negative_predictive_value", rejected, rejected + missed),
    ):
        told = found["secure"][name]
        interval = binomtest(hits, total).proportion_ci(method="wilson")
        assert (told["hits"], told["total"]) == (hits, total)
        assert (told["low"], told["high"]) == pytest.approx((interval.low, interval.high))


def check_pages(cohort: Cohort, folder: Path) -> None:
    """The page and the table beside it have the counts themselves."""
    with (folder / "tables" / "secure-decisions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for at, row in enumerate(rows[:2]):
        counts = expected(cohort, at)
        assert {name: int(row[name]) for name in counts} == counts
    assert rows[2]["true_positives"] == ""
    page = html.read((folder / "report.html").read_text()).whole_text()
    assert "of each label the counts of right and wrong decisions alone" in page
    assert "DeLong" not in page


def test_a_cohort_below_the_quorum_is_refused_before_anything_is_sent(
    cohort: Cohort, tmp_path: Path
) -> None:
    """No label has enough; nobody listens."""
    small = cohort.small
    header, *rows = list(csv.reader(small.list.read_text().splitlines()))
    for row in rows:
        row[-3:-1] = ["0", "0"]
    listed = write_csv(small.list.with_name("few.csv"), header, rows)
    arguments = ("evaluate", small.public, listed, "-o", tmp_path / "study")
    done = moiety(*arguments, "--connect", "127.0.0.1:1")
    done.refused(5, "reveals a label's figure from 8 positive and 8 negative images on")


def test_scores_at_and_just_below_a_threshold_are_among_these(cohort: Cohort) -> None:
    """What the test above has counted has both."""
    for margin in (0, -1):
        assert (cohort.margins == margin).any()
