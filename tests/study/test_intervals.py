"""Intervals of areas, paired tests, equivalence, the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from moiety.runtime.study.statistics.delong import Placements
from moiety.runtime.study.statistics.intervals import area, compared, equivalence, newcombe
from moiety.runtime.study.statistics.resampling import Bootstrap, percentile, weighted_areas

counts = st.integers(1, 300)
areas = st.floats(0, 1)


@given(areas, counts, counts)
def test_newcombe_is_a_proper_interval(auroc: float, positives: int, negatives: int) -> None:
    """Within 0 and 1, around the area, never a point; mirrored with the classes."""
    found = newcombe(auroc, positives, negatives)
    assert 0 <= found.low <= auroc <= found.high <= 1
    assert found.high - found.low > 0.001
    mirrored = newcombe(1 - auroc, negatives, positives)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-6)


@given(areas, st.integers(1, 100), st.integers(1, 100))
def test_newcombe_narrows_with_more_images(auroc: float, positives: int, negatives: int) -> None:
    few, many = newcombe(auroc, positives, negatives), newcombe(auroc, 4 * positives, 4 * negatives)
    assert few.low <= many.low + 1e-9
    assert many.high <= few.high + 1e-9


def test_newcombe_covers_areas_near_one() -> None:
    """Where DeLong's interval is a point for most samples: true area 0.95, 10 and 30 images."""
    rng = np.random.default_rng(7)
    true = 0.95
    shift = norm.ppf(true) * np.sqrt(2)
    positive = np.arange(40) < 10
    hits = []
    for _ in range(300):
        value = Placements.of(rng.normal(size=(1, 40)) + shift * positive, positive).areas()[0]
        found = newcombe(value, 10, 30)
        hits.append(found.low <= true <= found.high)
    assert np.mean(hits) > 0.93


@pytest.mark.parametrize(("auroc", "error"), [(1.0, 0.0), (0.0, 0.0), (0.5, 0.0), (0.7, None)])
def test_no_interval_is_a_point(auroc: float, error: float | None) -> None:
    found = area(auroc, error, 12, 30)
    assert found.interval == "newcombe"
    assert found.low < found.high
    assert (found.low == 0) == (auroc == 0)
    assert (found.high == 1) == (auroc == 1)


@given(st.lists(st.integers(0, 5), min_size=6, max_size=20))
def test_identical_scores_do_not_differ(values: list[int]) -> None:
    scores = np.array([values, values], float)
    positive = np.arange(len(values)) % 3 == 0
    found, reason = compared(Placements.of(scores, positive), 0.01, None)
    assert found is not None
    assert reason is None
    assert (found.difference, found.standard_error, found.z, found.p) == (0, 0, 0, 1)
    assert found.low < 0 < found.high
    assert "no positive and negative image changed places" in found.equivalence.statement


@pytest.mark.parametrize(("images", "shown"), [(3, False), (12, False), (16, True), (200, True)])
def test_few_images_that_keep_their_places_show_no_equivalence(images: int, shown: bool) -> None:
    """The scores of two networks that have nothing in common may both be 1 on six images. DeLong's
    error with one pair changed is what the interval is made of.
    """
    places = np.arange(2.0 * images)
    positive = places >= images
    both = Placements.of(np.stack([places, places**3]), positive)
    found, _ = compared(both, 0.01, None)
    assert found is not None
    assert found.equivalence.equivalent == shown
    swapped = places.copy()
    swapped[[images - 1, images]] = swapped[[images, images - 1]]
    _, error = Placements.of(np.stack([places, swapped]), positive).difference()
    assert both.least_error() == pytest.approx(error)
    assert found.equivalence.high_90 == pytest.approx(norm.ppf(0.95) * error)


@pytest.mark.parametrize("images", range(2, 40))
def test_a_difference_without_spread_is_not_tested(images: int) -> None:
    """Every positive passes one negative more: no rounding of 1 / n makes an error, and a Z of
    1e15, of it.
    """
    negatives = np.arange(float(images))
    scores = np.stack([np.r_[negatives + 0.5, negatives], np.r_[negatives - 0.5, negatives]])
    placements = Placements.of(scores, np.arange(2 * images) < images)
    difference, error = placements.difference()
    assert difference == pytest.approx(1 / images)
    assert error == 0
    found, reason = compared(placements, 0.01, None)
    assert found is None
    assert reason is not None


@pytest.mark.parametrize(
    ("difference", "error", "said"),
    [
        (0.001, 0.004, "-0.0056 to +0.0076"),
        (0.0, 1e-6, "-0.000002 to +0.000002"),
        (0.0, 0.00999 / 1.6448536, "-0.00999 to +0.00999"),
        (1e-14, 1e-15, "+0.00000000000 to +0.00000000000"),
    ],
)
def test_an_interval_is_said_in_digits_that_tell(
    difference: float, error: float, said: str
) -> None:
    """Neither as zeros nor as the margin that it is inside of."""
    assert said in equivalence(difference, error, 0.01).statement


def test_what_cannot_be_compared_says_why() -> None:
    one = Placements.of(np.array([[1.0, 2, 3], [3, 2, 1]]), np.array([True, False, False]))
    assert compared(one, 0.01, None) == (
        None,
        "one image of a class: the error of a difference cannot be estimated",
    )
    opposite = np.array([[1.0, 2, 3, 4], [4, 3, 2, 1]])
    found, reason = compared(Placements.of(opposite, np.arange(4) > 1), 0.01, None)
    assert found is None
    assert reason is not None
    assert "error of the difference is 0" in reason


@given(st.floats(-0.05, 0.05), st.floats(1e-6, 0.05), st.floats(0.001, 0.1))
def test_equivalence_is_the_interval_in_the_margin(
    difference: float, error: float, margin: float
) -> None:
    found = equivalence(difference, error, margin)
    inside = -margin < found.low_90 and found.high_90 < margin
    near = min(abs(found.low_90 + margin), abs(found.high_90 - margin)) < 1e-9
    assert near or found.equivalent == inside
    assert found.p == max(found.p_lower, found.p_upper)
    assert ("not shown" in found.statement) != found.equivalent
    assert "no significant difference" not in found.statement
    mirrored = equivalence(-difference, error, margin)
    assert (mirrored.p_lower, mirrored.p_upper) == pytest.approx((found.p_upper, found.p_lower))


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 3)), min_size=1))
def test_a_resample_has_the_area_of_its_images(images: list[tuple[int, bool, int]]) -> None:
    scores, positive, drawn = (np.array(each) for each in zip(*images, strict=True))
    (found,) = weighted_areas(scores.astype(float), positive, drawn[None])
    repeated, truth = np.repeat(scores, drawn).astype(float), np.repeat(positive, drawn)
    if truth.all() or not truth.any():
        assert np.isnan(found)
    else:
        assert found == pytest.approx(Placements.of(repeated[None], truth).areas()[0])


def test_patients_are_drawn_with_all_their_images() -> None:
    units = np.array(["b", "a", "b", "c", "a", "b"])
    drawn = Bootstrap(50, 3).of(units, lambda each: each.astype(float))
    assert drawn.shape == (50, 6)
    assert (drawn[:, [0, 0, 1]] == drawn[:, [2, 5, 4]]).all()
    assert (drawn[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert (drawn == Bootstrap(50, 3).of(units, lambda each: each.astype(float))).all()
    assert (drawn != Bootstrap(50, 4).of(units, lambda each: each.astype(float))).any()


def test_the_bootstrap_agrees_with_delong() -> None:
    """Independent images: its spread is DeLong's error."""
    rng = np.random.default_rng(2)
    positive = np.arange(400) < 150
    scores = rng.normal(size=400) + positive
    resampled = Bootstrap(1000, 0).of(
        np.arange(400).astype(str), lambda drawn: weighted_areas(scores, positive, drawn)
    )
    error = np.sqrt(Placements.of(scores[None], positive).covariance()[0, 0])
    assert resampled.std() == pytest.approx(error, rel=0.1)


def test_too_few_usable_resamples_give_no_interval() -> None:
    assert percentile(np.array([0.5] * 89 + [np.nan] * 11)) is None
    found = percentile(np.array([0.5] * 90 + [np.nan] * 10))
    assert found is not None
    assert (found.low, found.high) == (0.5, 0.5)
