"""DeLong's variance: published values, another implementation's, and what must hold of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chi2, norm

from moiety.protocols.arrays import BOOL, F64
from moiety.runtime.study.statistics.delong import Placements
from moiety.runtime.study.statistics.intervals import Z_95, area, compared
from tests.study import asah
from tests.support.data import DATA, needs

# DeLong, DeLong, Clarke-Pearson, Biometrics 1988: patients with ovarian cancer, the 43 without
# missing values as in the SAS/STAT manual's example of PROC LOGISTIC, which prints the results
# below. Albumin, total protein, 10 - Krebs-Goplerud score, 1 where surgery helped.
OVARIAN = """
3.0 5.8 10 0  3.2 6.3  5 1  3.9 6.8  3 1  2.8 4.8  6 0  3.2 5.8  3 1  0.9 4.0  5 0  2.5 5.7  8 0
1.6 5.6  5 1  3.8 5.7  5 1  3.7 6.7  6 1  3.2 5.4  4 1  3.8 6.6  6 1  4.1 6.6  5 1  3.6 5.7  5 1
4.3 7.0  4 1  3.6 6.7  4 0  2.3 4.4  6 1  4.2 7.6  4 0  4.0 6.6  6 0  3.5 5.8  6 1  3.8 6.8  7 1
3.0 4.7  8 0  4.5 7.4  5 1  3.7 7.4  5 1  3.1 6.6  6 1  4.1 8.2  6 1  4.3 7.0  5 1  4.3 6.5  4 1
3.2 5.1  5 1  2.6 4.7  6 1  3.3 6.8  6 0  1.7 4.0  7 0  3.7 6.1  5 1  3.3 6.3  7 1  4.2 7.7  6 1
3.5 6.2  5 1  2.9 5.7  9 0  2.1 4.8  7 1  2.8 6.2  8 0  4.0 7.0  7 1  3.3 5.7  6 1  3.7 6.9  5 1
3.6 6.6  5 1
"""

scores_and_truth = st.integers(4, 24).flatmap(
    lambda n: st.tuples(
        st.lists(st.lists(st.integers(-9, 9), min_size=n, max_size=n), min_size=2, max_size=2),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)


def drawn(case: tuple[list[list[int]], list[bool]]) -> tuple[F64, BOOL]:
    """Two scores of each image, with ties; two images of each class at least."""
    scores, positive = np.array(case[0], float), np.array(case[1])
    assume(min(positive.sum(), (~positive).sum()) >= 2)
    return scores, positive


def test_the_example_of_the_paper() -> None:
    albumin, protein, score, helped = np.array(OVARIAN.split(), float).reshape(-1, 4).T
    found = Placements.of(np.stack([albumin, 10 - score, protein]), helped == 1)
    assert found.areas() == pytest.approx([0.7366, 0.7258, 0.6478], abs=5e-5)
    errors = np.sqrt(np.diag(found.covariance()))
    assert errors == pytest.approx([0.0927, 0.1028, 0.1000], abs=5e-5)
    contrast = np.array([[1, -1, 0], [0, -1, 1]])
    change = contrast @ found.areas()
    covariance = contrast @ found.covariance() @ contrast.T
    assert change == pytest.approx([0.0108, -0.0780], abs=5e-5)
    assert np.sqrt(np.diag(covariance)) == pytest.approx([0.0953, 0.1046], abs=5e-5)
    statistic = change @ np.linalg.solve(covariance, change)
    assert statistic == pytest.approx(2.5340, abs=5e-5)
    assert chi2.sf(statistic, 2) == pytest.approx(0.2817, abs=5e-5)
    pair = Placements(found.above[:2], found.below[:2])
    comparison, _ = compared(pair, 0.01, None)
    assert comparison is not None
    assert comparison.p == pytest.approx(0.9102, abs=5e-5)
    assert (comparison.low, comparison.high) == pytest.approx((-0.1761, 0.1976), abs=5e-5)


def test_published_areas_and_their_comparison() -> None:
    """As pROC and others publish them for these patients."""
    predictors = (asah.WFNS, asah.S100B, asah.NDKA)
    scores = np.array([[float(rank) for rank in text.split()] for text in predictors])
    placements = Placements.of(scores, np.array(asah.POOR.split()) == "1")
    areas = placements.areas()
    assert areas.round(6) == pytest.approx([0.823679, 0.731369, 0.611958], abs=1e-12)
    z = (areas[0] - areas[1]) / placements.difference()[1]
    assert round(z, 6) == 2.208984
    assert round(2 * norm.sf(z), 7) == 0.0271758


@needs("dicom/golden")
def test_another_implementation() -> None:
    golden = json.loads((DATA / "dicom/golden/delong_fixture.json").read_text())
    positive = np.array(golden["y"]) == 1
    for name, expected in golden["auc"].items():
        found = Placements.of(np.array([golden[name]]), positive)
        value, error = found.areas()[0], np.sqrt(found.covariance()[0, 0])
        assert (value, error**2) == pytest.approx((expected["auc"], expected["var"]), rel=1e-12)
        wald = [value - Z_95 * error, value + Z_95 * error]
        assert wald == pytest.approx(expected["wald"], rel=1e-12)
        within = area(value, error, int(positive.sum()), int((~positive).sum()))
        assert [within.low, within.high] == pytest.approx(expected["logit"], rel=1e-12)
        assert within.interval == "logit"
    for (first, second), expected in golden["paired"].items():
        scores = np.array([golden[first], golden[second]])
        comparison, _ = compared(Placements.of(scores, positive), 0.01, None)
        assert comparison is not None
        assert comparison.difference == pytest.approx(expected["diff"], rel=1e-12)
        assert comparison.standard_error == pytest.approx(expected["se"], rel=1e-12)
        assert (comparison.z, comparison.p) == pytest.approx(
            (expected["z"], expected["p"]), rel=1e-12
        )
        assert [comparison.low, comparison.high] == pytest.approx(expected["ci"], rel=1e-12)


@given(scores_and_truth)
def test_areas_are_counted_pairs(case: tuple[list[list[int]], list[bool]]) -> None:
    scores, positive = drawn(case)
    pairs = np.sign(scores[:, positive][:, :, None] - scores[:, ~positive][:, None, :])
    found = Placements.of(scores, positive)
    assert found.areas() == pytest.approx((1 + pairs.mean(axis=(1, 2))) / 2)
    assert found.above == pytest.approx((1 + pairs).sum(axis=2) / 2)
    assert found.below == pytest.approx((1 + pairs).sum(axis=1) / 2)


@given(scores_and_truth)
def test_order_alone_counts(case: tuple[list[list[int]], list[bool]]) -> None:
    """A monotone transform and another order of images change nothing."""
    scores, positive = drawn(case)
    order = np.random.default_rng(positive.size).permutation(positive.size)
    before, after = (
        Placements.of(scores, positive),
        Placements.of(np.exp(scores / 3)[:, order] + 5, positive[order]),
    )
    assert (before.areas() == after.areas()).all()
    assert before.covariance() == pytest.approx(after.covariance(), rel=1e-9, abs=1e-12)


@given(scores_and_truth)
def test_classes_change_places(case: tuple[list[list[int]], list[bool]]) -> None:
    """Area becomes 1 - area, and with scores negated too, the area again; the variance stays."""
    scores, positive = drawn(case)
    here, there = Placements.of(scores, positive), Placements.of(scores, ~positive)
    assert there.areas() == pytest.approx(1 - here.areas())
    assert there.covariance() == pytest.approx(here.covariance(), rel=1e-9, abs=1e-12)
    assert Placements.of(-scores, ~positive).areas() == pytest.approx(here.areas())


@given(scores_and_truth)
def test_a_difference_has_the_error_of_its_covariance(
    case: tuple[list[list[int]], list[bool]],
) -> None:
    scores, positive = drawn(case)
    found = Placements.of(scores, positive)
    (a, c), (_, b) = found.covariance()
    assert found.difference()[1] ** 2 == pytest.approx(a + b - 2 * c, rel=1e-9, abs=1e-12)
    assert Placements.of(scores[[0, 0]], positive).difference() == (0, 0)


def test_variance_is_what_a_jackknife_gives() -> None:
    """Of each class by itself, DeLong's components are the jackknife's (Hanley, Hajian-Tilaki
    1997): leaving out one positive changes the area by its placement's distance from the mean.
    """
    rng = np.random.default_rng(4)
    scores, positive = rng.integers(0, 9, 40).astype(float), np.arange(40) < 15
    left_out = [
        Placements.of(np.delete(scores, each)[None], np.delete(positive, each)).areas()[0]
        for each in range(40)
    ]
    jackknife = sum(
        (count - 1) / count * np.sum((part - part.mean()) ** 2)
        for part, count in ((np.array(left_out[:15]), 15), (np.array(left_out[15:]), 25))
    )
    assert Placements.of(scores[None], positive).covariance()[0, 0] == pytest.approx(jackknife)


def test_variance_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(1)
    positive = np.arange(80) < 30
    samples = [Placements.of(rng.normal(size=(1, 80)) + positive, positive) for _ in range(400)]
    areas = np.array([sample.areas()[0] for sample in samples])
    variances = np.array([sample.covariance()[0, 0] for sample in samples])
    assert variances.mean() == pytest.approx(areas.var(), rel=0.2)
    within = [
        each.low < norm.cdf(1 / np.sqrt(2)) < each.high
        for each in (
            area(value, np.sqrt(variance), 30, 50)
            for value, variance in zip(areas, variances, strict=True)
        )
    ]
    assert 0.92 < np.mean(within) < 0.98
