"""A study to its numbers, as a whole."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadInput
from moiety.runtime.program.policy import Policy
from moiety.runtime.study.report.summary import findings
from moiety.runtime.study.statistics import analyse
from moiety.runtime.study.statistics.agreement import agreement
from moiety.runtime.study.statistics.analysis import Analysis, Discrimination
from moiety.runtime.study.statistics.bins import counted, round_edges
from moiety.runtime.study.statistics.curves import GRID, on_grid
from moiety.runtime.study.table import StudyTable
from tests.support.data import DATA, needs
from tests.support.tables import LABELS, drawn_table, study_of

TEST_SPLIT = (
    "no_finding",
    "pneumonia",
    "covid19",
    "Atelectasis",
    "Effusion",
    "Infiltration",
    "Consolidation",
    "Edema",
)


def at(found: Analysis, label: str, site: str | None = None) -> Discrimination:
    (one,) = (
        each
        for each in found.discrimination
        if (each.counts.label, each.counts.site) == (label, site)
    )
    return one


def numbers_in(value: Any) -> list[float]:
    """Every float of what JSON would hold."""
    if isinstance(value, dict):
        return [each for inner in value.values() for each in numbers_in(inner)]
    if isinstance(value, list | tuple):
        return [each for inner in value for each in numbers_in(inner)]
    return [value] if isinstance(value, float) else []


def table_of_the_test_split(change: float) -> StudyTable:
    """The data folder's float logits as reference, and these with noise."""
    with (DATA / "labels.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    with (DATA / "test_logits_float.csv").open(encoding="utf-8") as file:
        logits = {row["id"]: row for row in csv.DictReader(file)}
    truth = [[row.get(each, row.get(f"nih_{each}")) for each in TEST_SPLIT] for row in rows]
    scores = [[logits[row["id"]][f"logit_{each}"] for each in TEST_SPLIT] for row in rows]
    reference = np.array(scores, float)
    return StudyTable(
        TEST_SPLIT,
        np.array([[float(each) if each else math.nan for each in row] for row in truth]),
        reference + change * np.random.default_rng(0).normal(size=reference.shape),
        reference,
        np.array([row["site"] for row in rows]),
        np.array([row["group_id"] for row in rows]),
    )


def test_no_processor_rounds_otherwise_than_another() -> None:
    """Of the same scores every number, to the last bit, whichever kernels OpenBLAS has for this
    processor: here those of the oldest.
    """
    code = (
        "import msgspec, sys; from tests.support.tables import drawn_table, study_of; "
        "from moiety.runtime.study.statistics import analyse; "
        "sys.stdout.buffer.write(msgspec.json.encode(analyse(study_of(drawn_table(800)))))"
    )
    environment = os.environ | {"OPENBLAS_CORETYPE": "Nehalem"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    )
    assert told.stdout == msgspec.json.encode(analyse(study_of(drawn_table(800))))


@needs("images/test")
def test_the_test_split_has_its_published_areas() -> None:
    """Areas and DeLong intervals of auroc.csv in all its digits; its bootstrap, from other draws,
    nearly.
    """
    found = analyse(study_of(table_of_the_test_split(0.004), bootstrap=300))
    with (DATA / "auroc.csv").open(encoding="utf-8") as file:
        published = list(csv.DictReader(file))
    judged = [each for each in found.discrimination if each.secure is not None]
    assert len(judged) == len(published)
    for row in published:
        one = at(found, row["label"], None if row["scope"] == "ALL" else row["scope"])
        area = one.cleartext
        assert area is not None
        assert area.standard_error is not None
        assert one.counts.positives + one.counts.negatives == int(row["n"])
        assert one.counts.positives == int(row["pos"])
        assert one.counts.outside_negatives == ("confounded" in row["note"])
        assert area.auroc == pytest.approx(float(row["auroc"]), abs=5.1e-5)
        reach = 1.959964 * area.standard_error
        wald = (area.auroc - reach, area.auroc + reach)
        expected = (float(row["delong_lo"]), float(row["delong_hi"]))
        assert wald == pytest.approx(expected, abs=5.1e-5)
        assert area.resampled is not None
        assert area.resampled.low == pytest.approx(float(row["boot_lo"]), abs=0.03)
        assert area.resampled.high == pytest.approx(float(row["boot_hi"]), abs=0.03)
        assert one.comparison is not None
        few = min(one.counts.positives, one.counts.negatives) < 10
        assert one.comparison.equivalence.equivalent or few
    assert found.patients == 577
    assert any("807 images of 577 patients" in note for note in found.notes)
    assert any("covid19 at hannover_mhh" in note for note in found.notes)


def test_every_part_is_there_and_says_the_same_twice() -> None:
    table = drawn_table()
    found = analyse(study_of(table))
    encoded = msgspec.json.encode(found)
    assert encoded == msgspec.json.encode(analyse(study_of(table)))
    assert msgspec.json.decode(encoded, type=Analysis) == found
    assert all(math.isfinite(each) for each in numbers_in(msgspec.to_builtins(found)))
    assert b"patient 1" not in encoded
    assert [(each.counts.label, each.counts.site) for each in found.discrimination] == [
        (label, site) for label in LABELS for site in (None, "north", "south")
    ]
    assert [each.label for each in found.agreement] == ["", *LABELS]
    for part in (found.curves, found.histograms, found.calibration):
        assert [each.label for each in part] == [*LABELS]
    assert found.excluded == {"no image": 3}
    assert found.resampled == "patient"
    assert found.probabilities == "sigmoid"


def test_numbers_of_a_label() -> None:
    """Against scikit-learn, and counts that add up."""
    table = drawn_table()
    found = analyse(study_of(table))
    known = np.isfinite(table.truth[:, 0])
    assert table.reference is not None
    one = at(found, "effusion")
    assert one.counts.unknown == (~known).sum()
    assert one.counts.positives + one.counts.negatives == known.sum()
    for area, scores in ((one.secure, table.scores), (one.cleartext, table.reference)):
        assert area is not None
        assert area.auroc == pytest.approx(roc_auc_score(table.truth[known, 0], scores[known, 0]))
        assert area.low < area.auroc < area.high
    comparison, other = one.comparison, at(found, "edema").comparison
    assert comparison is not None
    assert other is not None
    assert comparison.p_holm is not None
    least = min(comparison.p, other.p)
    assert min(comparison.p_holm, other.p_holm or 0) == pytest.approx(min(1, 2 * least))
    at_site = at(found, "effusion", "north").comparison
    assert at_site is not None
    assert at_site.p_holm is None
    histogram = found.histograms[0]
    parts = (histogram.secure_positives, histogram.secure_negatives, histogram.secure_unknown)
    assert sum(map(sum, parts)) == table.images == sum(histogram.cleartext or ())
    calibration = found.calibration[0]
    assert (
        sum(each.observed.total for each in calibration.bins) == known.sum() == calibration.images
    )
    assert sum(each.observed.hits for each in calibration.bins) == one.counts.positives
    given_probability = 1 / (1 + np.exp(-table.scores[known, 0]))
    expected = np.mean((given_probability - table.truth[known, 0]) ** 2)
    assert calibration.brier == pytest.approx(expected)
    assert calibration.brier_interval is not None
    assert calibration.brier_interval.low < expected < calibration.brier_interval.high


def test_without_a_bootstrap() -> None:
    found = analyse(study_of(drawn_table(), bootstrap=0))
    area = at(found, "effusion").secure
    assert area is not None
    assert area.resampled is None
    assert found.calibration[0].brier_interval is None
    assert found.methods["bootstrap"] == "No bootstrap was asked for."


def test_identical_scores_change_nothing() -> None:
    found = analyse(study_of(drawn_table(change=0)))
    for each in found.discrimination:
        assert each.comparison is not None
        assert (each.comparison.difference, each.comparison.z, each.comparison.p) == (0, 0, 1)
        assert each.comparison.p_holm in (None, 1)
        assert each.comparison.resampled is not None
        assert each.comparison.resampled.low == each.comparison.resampled.high == 0
    for agreeing in found.agreement:
        assert (agreeing.largest, agreeing.rms, agreeing.ks, agreeing.ks_p) == (0, 0, 0, 1)
        assert agreeing.correlation == pytest.approx(1)
        assert agreeing.limits is not None
        assert agreeing.limits.lower == agreeing.limits.upper == 0


def test_a_site_of_positives_borrows_negatives_and_says_so() -> None:
    table = drawn_table()
    truth = table.truth.copy()
    truth[table.sites == "south", 0] = 1
    truth[table.sites == "south", 1] = 0
    found = analyse(study_of(replace(table, truth=truth)))
    borrowed = at(found, "effusion", "south")
    assert borrowed.counts.outside_negatives
    assert borrowed.counts.negatives == (truth[:, 0] == 0).sum()
    assert borrowed.counts.images == (table.sites == "south").sum()
    assert borrowed.secure is not None
    lonely = at(found, "edema", "south")
    assert lonely.secure is None
    assert lonely.reason == "one class only: no image with the label"
    assert any("effusion at south" in note for note in found.notes)


def test_labels_of_one_class_are_null_with_a_reason() -> None:
    table = drawn_table()
    truth = table.truth.copy()
    truth[:, 0], truth[:, 1] = 1, np.nan
    found = analyse(study_of(replace(table, truth=truth)))
    assert at(found, "effusion").reason == "one class only: no image without the label"
    assert at(found, "edema").reason == "the label is unknown for every image"
    assert found.curves[0].reason is not None
    assert found.calibration[0].brier is not None
    assert found.calibration[1].reason == "the label is unknown for every image"


def test_no_curve_of_few_images() -> None:
    table = drawn_table(40)
    truth = table.truth.copy()
    truth[:, 0] = np.arange(40) < 9
    truth[:, 1] = np.arange(40) < 10
    few, enough = analyse(study_of(replace(table, truth=truth))).curves
    assert few.secure == ()
    assert "9 positives and 31 negatives" in (few.reason or "")
    assert len(enough.secure) == len(GRID) == len(enough.cleartext or ())


def test_images_without_names_or_results() -> None:
    table = drawn_table()
    scores = table.scores.copy()
    scores[:5] = np.nan
    nobody = np.full(table.images, "")
    found = analyse(study_of(replace(table, scores=scores, patients=nobody, reference=None)))
    assert found.images == table.images - 5
    assert found.patients is None
    assert found.resampled == "image"
    assert found.agreement == ()
    assert all(each.cleartext is None for each in found.discrimination)
    assert any(note.startswith("5 images have no result") for note in found.notes)
    assert any("Patients are not named" in note for note in found.notes)
    table.patients[7] = ""
    some = analyse(study_of(table))
    assert (some.patients, some.resampled) == (None, "image")
    assert any(f"1 of {table.images} images names no patient" in note for note in some.notes)
    nothing = analyse(study_of(replace(table, scores=np.full_like(scores, np.nan))))
    assert (nothing.images, nothing.discrimination) == (0, ())


@pytest.mark.parametrize(
    ("field", "value", "reveal", "message"),
    [
        ("scores", np.inf, "scores", "secure scores of 'edema' of 1 of 240 images is not a finite"),
        ("scores", np.nan, "scores", "secure scores of 'edema' of 1 of 240 images is not a finite"),
        ("reference", np.nan, "scores", "reference scores of 'edema' of 1 of 240"),
        ("reference", -1e200, "scores", "reference scores of 'edema' of 1 of 240"),
        ("truth", 2, "scores", "truth of 'edema' of 1 of 240 images is not 0 or 1"),
        ("scores", 0.5, "decision", "secure scores of 'e.*' of .* of 240 images is not 0 or 1"),
        ("scores", 0.5, "top-1", "secure scores of 'e.*' of .* of 240 images is not 0 or 1"),
    ],
)
def test_what_is_no_number_is_refused_by_name(
    field: str, value: float, reveal: Any, message: str
) -> None:
    table = drawn_table()
    wrong = getattr(table, field).copy()
    wrong[7, 1] = value
    with pytest.raises(BadInput, match=message):
        analyse(study_of(replace(table, **{field: wrong}), Policy(reveal=reveal)))


def test_probabilities_are_taken_as_they_are() -> None:
    table = drawn_table()
    assert table.reference is not None
    given_probabilities = replace(
        table,
        scores=1 / (1 + np.exp(-table.scores)),
        reference=1 / (1 + np.exp(-table.reference)),
    )
    logits = analyse(study_of(table))
    found = analyse(study_of(given_probabilities, Policy(reveal="probabilities")))
    assert found.probabilities == "identity"
    assert found.discrimination == logits.discrimination
    assert [each.brier for each in found.calibration] == pytest.approx(
        [each.brier for each in logits.calibration]
    )
    with pytest.raises(BadInput, match="are not between 0 and 1"):
        analyse(study_of(replace(table, kind="probabilities")))


def test_scores_of_which_no_probability_is_known() -> None:
    """All but calibration, whatever the policy."""
    table = drawn_table()
    logits = analyse(study_of(table))
    found = analyse(study_of(replace(table, kind="scores"), Policy(reveal="probabilities")))
    assert (found.probabilities, found.calibration) == (None, ())
    assert found.discrimination == logits.discrimination
    assert found.methods["calibration"].startswith("None: ")


def test_resources() -> None:
    table = drawn_table()
    spent = analyse(study_of(table)).resources
    whole, north, south = spent.per_image
    assert (whole.images, whole.seconds.median, whole.seconds.total) == (240, 120.5, 28920)
    assert north.images + south.images == 240
    assert [each.kind for each in spent.by_kind] == ["relu", "linear"]
    assert [each.share for each in spent.by_kind] == [0.75, 0.25]
    assert spent.by_kind[0].sent == 30 / 240


@needs("dicom/golden")
def test_agreement_as_elsewhere() -> None:
    golden = msgspec.json.decode((DATA / "dicom/golden/delong_fixture.json").read_bytes())
    found = agreement("", np.array(golden["a"]), np.array(golden["b"]))
    assert found.ks == pytest.approx(golden["ks_ab"]["D"], rel=1e-9)
    assert found.ks_p == pytest.approx(golden["ks_ab"]["p"], abs=1e-3)
    expected = golden["bland_altman_ab"]
    assert found.limits is not None
    assert found.largest == pytest.approx(expected["max_abs"])
    assert found.limits.bias == pytest.approx(expected["bias"])
    assert found.limits.standard_deviation == pytest.approx(expected["sd"])
    assert [found.limits.lower, found.limits.upper] == pytest.approx(expected["loa"])
    interval = found.limits.bias_interval
    assert [interval.low, interval.high] == pytest.approx(expected["bias_ci"])
    reach = found.limits.upper_interval.high - found.limits.upper
    assert reach == pytest.approx(expected["loa_se"] * 1.990450, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "doubted"),
    [
        (lambda scores: scores + 0.05 * np.sin(scores * 1e3), False),
        (lambda scores: 1 / (1 + np.exp(-scores)), True),
        (lambda scores: scores * 100, True),
        (lambda scores: -scores, True),
        (lambda scores: np.roll(scores, 1, axis=0), True),
    ],
    ids=["rounding", "probabilities", "another unit", "another sign", "other images"],
)
def test_scores_that_are_not_of_the_same_thing_are_doubted(
    change: Callable[[F64], F64], doubted: bool
) -> None:
    """Where they rank images alike, equivalence alone would look well. Of few images nothing."""
    table = drawn_table()
    other = replace(table, reference=change(table.scores))
    found = analyse(study_of(other))
    assert len(found.doubts) == doubted
    if doubted:
        assert f"cleartext scores of {' and '.join(LABELS)}" in found.doubts[0]
        assert found.doubts[0] in findings(found)
    assert other.reference is not None
    few = replace(
        other,
        truth=table.truth[:9],
        scores=table.scores[:9],
        reference=other.reference[:9],
        sites=table.sites[:9],
        patients=table.patients[:9],
    )
    assert analyse(study_of(few)).doubts == ()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
@example([1e6, 1e6 + 1e-9])
@example([0.0, 3e-17, -2e-17])
@example([5e-324])
@example([5e-324, 4e-323, -1e-322])
def test_bins_hold_everything(values: list[float]) -> None:
    array: F64 = np.array(values)
    edges = round_edges(array)
    assert (np.diff(edges) > 0).all()
    assert sum(counted(array, edges)) == array.size
    assert len(edges) <= 60


def test_a_curve_on_the_grid_is_the_curve() -> None:
    """At the grid's rates it is the largest share of positives above a threshold that as few
    negatives pass; between two steps, on the line.
    """
    scores = np.array([0.9, 0.8, 0.8, 0.6, 0.4, 0.2])
    positive = np.array([True, True, False, False, True, False])
    found = dict(zip(GRID.round(2), on_grid(scores, positive), strict=True))
    assert found[0.0] == pytest.approx(1 / 3)
    assert found[0.33] == pytest.approx(1 / 3 + 0.33)
    assert found[0.67] == pytest.approx(1)
    assert found[1.0] == 1


@pytest.mark.parametrize("drawn", range(20))
def test_a_curve_is_flat_where_no_positive_is_met(drawn: int) -> None:
    """By its definition: the largest share of positives above any threshold that no more than that
    share of negatives pass. A third of the positives below all negatives makes it flat for long.
    """
    rng = np.random.default_rng(drawn)
    positive = rng.permutation(np.repeat([True, False], rng.integers(10, 60, 2)))
    scores = rng.permutation(positive.size) / 1000.0
    scores[positive & (rng.random(positive.size) < 1 / 3)] -= 1
    limits = np.append(np.sort(scores), np.inf)
    false, true = (
        (scores[chosen] >= limits[:, None]).mean(axis=1) for chosen in (~positive, positive)
    )
    expected = [true[false <= rate + 1e-12].max() for rate in GRID]
    assert on_grid(scores, positive) == pytest.approx(expected)


def test_all_labels_together_count_an_image_once() -> None:
    """Eight scores of one image are not independent: no narrower limits for more labels."""
    one = np.random.default_rng(0).normal(size=(50, 1))
    single, several = (agreement("", np.repeat(one, n, axis=1), np.zeros((50, n))) for n in (1, 8))
    assert several.images == 50
    assert single.limits is not None
    assert several.limits is not None
    widths = [
        each.upper_interval.high - each.upper_interval.low
        for each in (single.limits, several.limits)
    ]
    assert widths[1] == pytest.approx(widths[0], rel=0.02)


@pytest.mark.parametrize("images", [1, 2, 60, 500, 807])
def test_ks_warns_of_nothing(images: int) -> None:
    """Of scores that are nearly the same, whose exact p scipy's sums put above 1."""
    scores = np.random.default_rng(0).normal(size=images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for change in (0, 1e-12, 0.004):
            assert agreement("", scores, scores + change).ks_p == pytest.approx(1, abs=1e-3)


def test_one_patient_gives_no_bootstrap_interval() -> None:
    """All resamples would be the same, and the interval a point."""
    table = drawn_table()
    for patients in (1, 9):
        few = np.array([f"p{n % patients}" for n in range(table.images)])
        found = analyse(study_of(replace(table, patients=few)))
        one = at(found, "effusion")
        assert one.secure is not None
        assert one.secure.resampled is None
        assert one.comparison is not None
        assert one.comparison.resampled is None
        assert found.calibration[0].brier_interval is None
        assert f"of {table.images} images" not in found.methods["bootstrap"]


def test_few_images_of_a_class_are_not_told_apart() -> None:
    table = drawn_table(60)
    truth = np.zeros_like(table.truth)
    truth[:9, 0], truth[:10, 1] = 1, 1
    together, apart = analyse(study_of(replace(table, truth=truth))).histograms
    assert sum(together.secure_unknown) == 60
    assert sum(together.secure_positives) == sum(together.secure_negatives) == 0
    assert together.reason == "9 positives and 51 negatives: fewer than 10 of a class"
    assert sum(apart.secure_positives) == 10
    assert apart.reason is None
    (nothing, _) = analyse(study_of(drawn_table(9))).histograms
    assert (nothing.edges, nothing.reason) == ((), "9 images: fewer than 10")
