"""Numbers of the statistics worked out by hand, or by Python's own functions: no constant of the
code is imported here.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from moiety.protocols.arrays import F64
from moiety.runtime.party.cohorts import AggregateResult
from moiety.runtime.study.statistics.agreement import limits
from moiety.runtime.study.statistics.analysis import (
    Comparison,
    Counts,
    Discrimination,
    Equivalence,
)
from moiety.runtime.study.statistics.calibration import calibration
from moiety.runtime.study.statistics.curves import curve, differences, histogram
from moiety.runtime.study.statistics.decisions import decided, top_one
from moiety.runtime.study.statistics.delong import Placements
from moiety.runtime.study.statistics.disclosure import few
from moiety.runtime.study.statistics.discrimination import _adjusted, of_aggregate
from moiety.runtime.study.statistics.intervals import area, compared, equivalence
from moiety.runtime.study.statistics.places import Column
from moiety.runtime.study.statistics.proportions import proportion
from moiety.runtime.study.statistics.resampling import Bootstrap, interval, percentile
from moiety.runtime.study.table import StudyTable

Z_95, Z_90 = 1.959963984540054, 1.6448536269514722


def tail(z: float) -> float:
    """What lies above z of the normal distribution."""
    return 0.5 * math.erfc(z / math.sqrt(2))


# --- intervals and tests --------------------------------------------------------------------------


def test_the_interval_of_an_area() -> None:
    """0.8 with an error of 0.05, on the logit scale."""
    found = area(0.8, 0.05, 20, 30)
    centre, reach = math.log(4), Z_95 * 0.05 / 0.16
    low, high = (1 / (1 + math.exp(-(centre + side * reach))) for side in (-1, 1))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert (low, high) == pytest.approx((0.6843, 0.8807), abs=1e-4)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_difference_and_its_two_sided_p(swapped: bool) -> None:
    """By the pairs themselves: four positives, five negatives, two pairs change places."""
    rows = [[1, 5, 6, 9, 0, 2, 3, 4, 7], [3, 5, 8, 9, 0, 2, 1, 4, 7]]
    scores = np.array(rows[::-1] if swapped else rows, float)
    positive = np.arange(9) < 4
    pairs = (scores[:, :4, None] > scores[:, None, 4:]).mean(axis=(1, 2))
    by_positive = (scores[:, :4, None] > scores[:, None, 4:]).mean(axis=2)
    by_negative = (scores[:, :4, None] > scores[:, None, 4:]).mean(axis=1)
    change = [each[0] - each[1] for each in (by_positive, by_negative)]
    error = math.sqrt(sum(np.var(each, ddof=1) / each.size for each in change))
    difference = pairs[0] - pairs[1]
    found, _ = compared(Placements.of(scores, positive), 0.1, None)
    assert found is not None
    assert abs(difference) > 0.01
    assert (found.difference, found.standard_error) == pytest.approx((difference, error))
    assert found.z == pytest.approx(difference / error)
    assert found.p == pytest.approx(2 * tail(abs(difference) / error))
    assert found.low == pytest.approx(difference - Z_95 * error)
    assert found.high == pytest.approx(difference + Z_95 * error)


@pytest.mark.parametrize("difference", [-0.018, -0.004, 0.0, 0.004, 0.018])
@pytest.mark.parametrize("error", [0.002, 0.006, 0.05])
def test_two_one_sided_tests(difference: float, error: float) -> None:
    """Against -0.02 from above and against +0.02 from below; the larger p decides, at 5 %."""
    found = equivalence(difference, error, 0.02)
    lower, upper = tail((difference + 0.02) / error), tail((0.02 - difference) / error)
    assert (found.p_lower, found.p_upper) == pytest.approx((lower, upper))
    assert found.p == pytest.approx(max(lower, upper))
    assert found.equivalent == (max(lower, upper) < 0.05)
    low, high = difference - Z_90 * error, difference + Z_90 * error
    assert (found.low_90, found.high_90) == pytest.approx((low, high))
    assert found.equivalent == (low > -0.02 and high < 0.02)
    assert found.statement.startswith("Equivalent" if found.equivalent else "Equivalence")


def test_ties_count_half() -> None:
    scores, positive = np.array([[1.0, 2.0, 2.0, 2.0, 3.0]]), np.array([0, 1, 0, 1, 0], bool)
    found = Placements.of(scores, positive)
    assert found.above.tolist() == [[1.5, 1.5]]
    assert found.below.tolist() == [[2.0, 1.0, 0.0]]
    assert found.areas().tolist() == [0.5]


def test_holms_steps() -> None:
    """Of labels over all images alone: 3, 2 and 1 times, never falling."""

    def of(label: str, p: float, site: str | None = None) -> Discrimination:
        counts = Counts(label=label, site=site, images=9, positives=4, negatives=5, unknown=0)
        test: Any = Comparison(
            difference=0.0,
            standard_error=0.0,
            low=0.0,
            high=0.0,
            z=0.0,
            p=p,
            p_holm=None,
            resampled=None,
            equivalence=msgspec.convert(
                dict.fromkeys(("low_90", "high_90", "p_lower", "p_upper", "p", "margin"), 0.0)
                | {"equivalent": True, "statement": ""},
                Equivalence,
            ),
        )
        return Discrimination(counts=counts, comparison=test)

    given = of("a", 0.03), of("b", 0.01), of("a", 0.001, "north"), of("c", 0.02), of("d", 0.9)
    told = [each.comparison.p_holm for each in _adjusted(given) if each.comparison]
    assert told[2] is None
    assert [told[at] for at in (0, 1, 3, 4)] == pytest.approx([0.06, 0.04, 0.06, 0.9])


def test_the_middle_95_percent_of_resamples() -> None:
    found = percentile(np.random.default_rng(1).permutation(np.arange(1001.0)))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((25, 975))
    for missing, there in ((100, True), (101, False)):
        values = np.arange(1000.0)
        values[:missing] = np.nan
        assert (percentile(values) is not None) == there


def test_ten_units_have_an_interval_and_nine_have_none() -> None:
    values = np.arange(1000.0)
    for units, there in ((9, False), (10, True)):
        names = np.array([f"patient {number % units}" for number in range(60)])
        assert (interval(names, values) is not None) == there


def test_the_bootstrap_draws_units_with_all_their_images() -> None:
    """Each resample has as many patients as there are, each patient's images alike."""
    names = np.array(["a", "b", "b", "c", "c", "c"])
    drawn = Bootstrap(200, 3).of(names, lambda each: each.astype(float))
    assert drawn.shape == (200, 6)
    assert np.array_equal(drawn[:, 1], drawn[:, 2])
    assert np.array_equal(drawn[:, 3], drawn[:, 5])
    assert np.all(drawn[:, [0, 1, 3]].sum(axis=1) == 3)
    assert drawn[:, 0].std() > 0.5


def test_limits_of_agreement() -> None:
    """Changes 1, 2, 3, 6 of four images: Student's t of three degrees, 3.182446."""
    found = limits(np.array([1.0, 2.0, 3.0, 6.0]), 4)
    deviation, t = math.sqrt(14 / 3), 3.182446305284263
    assert (found.bias, found.standard_deviation) == pytest.approx((3, deviation))
    assert found.upper == pytest.approx(3 + Z_95 * deviation)
    assert found.lower == pytest.approx(3 - Z_95 * deviation)
    assert found.bias_interval.high == pytest.approx(3 + t * deviation / 2)
    reach = t * deviation * math.sqrt(1 / 4 + Z_95**2 / 6)
    assert found.upper_interval.high == pytest.approx(found.upper + reach)
    assert found.lower_interval.low == pytest.approx(found.lower - reach)


@pytest.mark.parametrize(
    ("hits", "low", "high"), [(1, 0.017876, 0.404150), (0, 0.0, 0.277533), (10, 0.722467, 1.0)]
)
def test_wilsons_interval(hits: int, low: float, high: float) -> None:
    """Of ten."""
    found = proportion(hits, 10)
    assert found.value == hits / 10
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_four_rates_of_decisions() -> None:
    """5 of 7 found, 10 of 13 cleared, by 8 words for and 12 against: four rates, none alike."""
    positive = np.arange(20) < 7
    said = np.zeros(20, bool)
    said[[0, 1, 2, 3, 4, 7, 8, 9]] = True
    found = decided(said, positive)
    told = {
        name: (getattr(found, name).hits, getattr(found, name).total)
        for name in (
            "sensitivity",
            "specificity",
            "positive_predictive_value",
            "negative_predictive_value",
        )
    }
    assert told == {
        "sensitivity": (5, 7),
        "specificity": (10, 13),
        "positive_predictive_value": (5, 8),
        "negative_predictive_value": (10, 12),
    }


def test_images_of_one_true_label_alone_have_a_right_answer() -> None:
    nan = math.nan
    table = StudyTable(
        labels=("a", "b"),
        truth=np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, nan], [0, 1]], float),
        scores=np.array([[2, 1], [2, 1], [2, 1], [2, 1], [2, 1], [1, 2]], float),
        reference=None,
        sites=np.array([""] * 6),
        patients=np.array([""] * 6),
        kind="choices",
    )
    found = top_one(table)
    assert (found.images, found.unsuitable) == (3, 3)
    assert (found.accuracy.hits, found.accuracy.total) == (2, 3)
    assert found.confusion == ((1, 0), (1, 1))


def test_an_aggregate_that_was_not_revealed_has_no_number() -> None:
    found = of_aggregate(AggregateResult("a", 4, 20, None, None), 30)
    assert found.secure is None
    assert (found.counts.unknown, "fewer positives" in (found.reason or "")) == (6, True)
    assert of_aggregate(AggregateResult("a", 10, 20, 0.8, 0.05), 30).secure is not None


# --- what is not shown of few images --------------------------------------------------------------


def column(positives: int, negatives: int) -> Column:
    rng = np.random.default_rng(positives)
    count = positives + negatives
    truth: F64 = (np.arange(count) < positives).astype(float)
    secure = rng.normal(size=count)
    names = np.array([f"{number}" for number in range(count)])
    return Column("a", truth, secure, secure + 0.01, np.array([""] * count), names)


@pytest.mark.parametrize(
    ("positives", "negatives", "apart"),
    [(10, 10, True), (9, 30, False), (30, 9, False), (9, 9, False), (0, 30, True), (1, 30, False)],
)
def test_scores_are_told_apart_by_class_from_ten_of_each_on(
    positives: int, negatives: int, apart: bool
) -> None:
    """Or where one class has none."""
    assert (few(positives, negatives) is None) == apart
    found = histogram(column(positives, negatives))
    by_class = sum(found.secure_positives) + sum(found.secure_negatives)
    assert by_class == (positives + negatives if apart else 0)
    assert sum(found.secure_unknown) == (0 if apart else positives + negatives)


@pytest.mark.parametrize(("positives", "negatives"), [(10, 10), (9, 40), (40, 9)])
def test_a_curve_has_ten_of_each_class(positives: int, negatives: int) -> None:
    shown = min(positives, negatives) >= 10
    found = curve(column(positives, negatives))
    assert bool(found.secure) == bool(found.false_positive_rate) == shown
    assert (found.reason is None) == shown


@pytest.mark.parametrize("images", [9, 10])
def test_nothing_is_shown_of_nine_images(images: int) -> None:
    few_images = column(4, images - 4)
    shown = images == 10
    assert bool(histogram(few_images).edges) == shown
    found = calibration(few_images, "sigmoid", Bootstrap(20, 0))
    assert (found.brier is not None) == bool(found.bins) == shown


def test_a_bin_of_nine_images_has_no_mean() -> None:
    """Nine at 0.25 and ten at 0.75: the mean of the ten alone is told, the counts of both are."""
    given = np.repeat([0.25, 0.75], [9, 10])
    each = column(10, 9)
    made = Column("a", each.truth, given, None, each.sites, each.units)
    found = calibration(made, "identity", Bootstrap(20, 0))
    assert [(row.predicted, row.observed.total) for row in found.bins] == [(None, 9), (0.75, 10)]


@pytest.mark.parametrize(("images", "groups"), [(39, 0), (40, 1), (79, 1), (80, 2), (4000, 20)])
def test_a_point_of_the_differences_has_forty_images(images: int, groups: int) -> None:
    rng = np.random.default_rng(images)
    secure = rng.normal(size=images)
    found = differences("a", secure, secure + rng.normal(size=images) * 0.01)
    assert len(found.means) == len(found.low) == len(found.median) == len(found.high) == groups
