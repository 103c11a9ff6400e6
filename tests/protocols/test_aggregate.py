"""AUROC and DeLong's error on shares: against the definition for any scores and labels, against
others' implementations, and what either party sees.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from moiety.protocols import ring
from moiety.protocols.aggregate import quorum, sealed
from moiety.protocols.aggregate.auroc import (
    MAX_IMAGES,
    Auroc,
    Sums,
    auroc_of,
    possible,
    reveal,
    sum_up,
    weight_bits,
    weights_of,
)
from moiety.protocols.aggregate.marks import NEGATIVE, POSITIVE, UNKNOWN, marks_of
from moiety.protocols.aggregate.placements import placement_bits
from moiety.protocols.aggregate.quorum import Quorum
from moiety.protocols.aggregate.sealed import SUM_BITS
from moiety.protocols.arrays import F64, I64, U8, U64
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session
from moiety.runtime.study.statistics.delong import Placements
from tests.support import sealed_sums
from tests.support.cohorts import sums_of
from tests.support.data import DATA, needs
from tests.support.sealed_sums import Tapped
from tests.support.two_party import run_two_party, share

TWO = Quorum(2, 2)


def aggregate(scores: I64, bits: int, marks: U8, least: Quorum, added: I64 | None = None) -> Any:
    """What the client is told, of shares of the scores; `added`: what one that deviates adds to its
    own.
    """
    mine = share(ring.from_signed(scores, bits), bits, np.random.default_rng(3))

    def body(session: Session) -> Any:
        own, known = mine[session.role], None if session.is_server else marks
        if added is not None and not session.is_server:
            own = ring.reduce(own + ring.from_signed(added, bits), bits)
        return reveal(session, sum_up(session, own, bits, least, known))

    outcome = run_two_party(body, body)
    assert outcome.server is None
    return outcome.client


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[int, I64, U8, Quorum]:
    """Few scores of many images, so that there are ties; the ends of the ring among them."""
    bits = draw(st.integers(1, 63))
    labels, images = draw(st.integers(1, 3)), draw(st.integers(2, 12))
    half = 1 << (bits - 1)
    values = st.sampled_from([-half, half - 1]) | st.integers(-half, half - 1)
    scores = draw(st.lists(values, min_size=1, max_size=5))
    size = labels * images
    chosen = draw(st.lists(st.sampled_from(scores), min_size=size, max_size=size))
    marks = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    least = Quorum(draw(st.integers(2, 4)), draw(st.integers(2, 4)))
    shape = (labels, images)
    return (
        bits,
        np.array(chosen, np.int64).reshape(shape),
        np.array(marks, np.uint8).reshape(shape),
        least,
    )


@settings(max_examples=25, deadline=None)
@given(cohorts())
def test_two_parties_say_what_the_definition_and_the_studys_own_delong_say(
    cohort: tuple[int, I64, U8, Quorum],
) -> None:
    """That of studies of scores in the clear, which goes by midranks."""
    bits, scores, marks, least = cohort
    told = aggregate(scores, bits, marks, least)
    assert told == sums_of(scores, marks, least)
    for row, mark, sums in zip(scores, marks, told, strict=True):
        if sums is not None:
            check_against_delong(row, mark, sums)


def check_against_delong(scores: I64, marks: U8, sums: Sums) -> None:
    m, k = (int(np.sum(marks == each)) for each in (POSITIVE, NEGATIVE))
    known = marks != UNKNOWN
    # Scores of 63 bits are none of float64: their ranks.
    ranks = np.unique(scores, return_inverse=True)[1].astype(float)
    clear = Placements.of(ranks[None, known], marks[known] == POSITIVE)
    found, variance = auroc_of(sums, m, k), float(clear.covariance()[0, 0])
    assert float(found.area) == pytest.approx(clear.areas()[0], rel=0, abs=1e-15)
    assert float(found.variance) == pytest.approx(variance, rel=1e-12, abs=1e-15)
    assert possible(sums, m, k)


def delong_by_definition(positive: F64, negative: F64) -> tuple[float, float]:
    """AUROC and variance from all pairs (DeLong, DeLong and Clarke-Pearson, 1988)."""
    won = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    above, below = won.mean(axis=1), won.mean(axis=0)
    variance = above.var(ddof=1) / len(positive) + below.var(ddof=1) / len(negative)
    return float(won.mean()), float(variance)


@pytest.mark.parametrize("images", [7, 41, 300])
def test_auroc_and_variance_follow_from_the_sums(images: int) -> None:
    rng = np.random.default_rng(images)
    scores = rng.integers(-12, 12, images)
    marks = rng.permutation(np.arange(images) % 3).astype(np.uint8)
    found = result(scores, marks)
    known = marks != UNKNOWN
    assert float(found.area) == pytest.approx(
        roc_auc_score(marks[known] == POSITIVE, scores[known]), abs=1e-15
    )
    positive, negative = (scores[marks == each].astype(float) for each in (POSITIVE, NEGATIVE))
    area, variance = delong_by_definition(positive, negative)
    assert float(found.area) == pytest.approx(area, abs=1e-15)
    assert float(found.variance) == pytest.approx(variance, rel=1e-12, abs=1e-15)


def result(scores: I64, marks: U8) -> Auroc:
    """Of one label, in the clear."""
    (sums,) = sums_of(scores[None], marks[None], TWO)
    assert sums is not None
    return auroc_of(sums, int(np.sum(marks == POSITIVE)), int(np.sum(marks == NEGATIVE)))


def test_a_perfect_score_has_no_variance() -> None:
    marks = np.array([1, 1, 1, 2, 2], np.uint8)
    assert result(np.array([5, 6, 7, 1, 2]), marks) == Auroc(Fraction(1), Fraction(0))


@needs("dicom/golden")
def test_published_fixture_on_shares() -> None:
    """Scores of two decimals are whole numbers of hundredths."""
    fixture = json.loads((DATA / "dicom" / "golden" / "delong_fixture.json").read_text())
    names = ("a", "b", "c")
    scores = np.rint([np.multiply(fixture[name], 100.0) for name in names]).astype(np.int64)
    positives = np.tile(np.array(fixture["y"]) == 1, (3, 1))
    marks = marks_of(positives, ~positives)
    m, k = int(positives[0].sum()), int((~positives[0]).sum())
    for name, sums in zip(names, aggregate(scores, 12, marks, Quorum(10, 10)), strict=True):
        found, expected = auroc_of(sums, m, k), fixture["auc"][name]
        assert float(found.area) == pytest.approx(expected["auc"], abs=1e-15)
        assert float(found.variance) == pytest.approx(expected["var"], rel=1e-12)


@pytest.mark.parametrize(
    "sums",
    [
        Sums(0, 0),
        Sums(36, 0),
        Sums(37, 1900),
        Sums(37, 2000),
        Sums(36, 4 * 81 * 6 + 1),
        Sums(1 << 63, 1 << 63),
    ],
)
def test_sums_that_no_scores_have(sums: Sums) -> None:
    """Of three positive and three negative images; all below have 0 and 0, none 36 and 0."""
    assert possible(sums, 3, 3) == (sums == (0, 0))


# --- nothing wraps --------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [2, 3, 1024, MAX_IMAGES])
def test_the_largest_sums_fit_their_rings(images: int) -> None:
    """Of a perfect score, whatever the classes' sizes are."""
    largest = 2 * (images - 1)
    assert largest < 1 << (placement_bits(images) - 2)
    for m in {1, 2, images // 3, images // 2, images - 1}:
        k = images - m
        marks = np.repeat(np.array([POSITIVE, NEGATIVE], np.uint8), [m, k])[None]
        assert int(weights_of(marks).max()) < 1 << weight_bits(images)
        spread = m * (k - 1) * m * (2 * k) ** 2 + k * (m - 1) * k * (2 * m) ** 2
        assert max(spread, 4 * m * k) < 1 << SUM_BITS


# --- what either party sees -----------------------------------------------------------------------


def tapped(marks: U8) -> Tapped:
    """Scores are zeros."""
    return sealed_sums.tapped(partial(_summed_up, TWO), reveal, marks)


def _summed_up(least: Quorum, session: Session, mine: U64, marks: U8 | None) -> Any:
    return sum_up(session, mine, 12, least, marks)


@pytest.mark.parametrize("mark", [UNKNOWN, POSITIVE, NEGATIVE])
def test_messages_are_uniform_for_any_labels(mark: int) -> None:
    seen = tapped(np.full((2, 120), mark, np.uint8))
    assert seen.told == [None, None]
    sealed_sums.check_uniform(seen, 1 << 18)


def test_messages_are_as_long_and_as_many_for_any_labels() -> None:
    sealed_sums.check_lengths(tapped)


@pytest.mark.parametrize("images", [4, 9])
def test_a_key_takes_the_same_work_for_any_labels(
    images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there are fewer images than it takes."""
    work: list[int] = []

    def counted(points: Any) -> int:
        work.append(len(points))
        return 1

    monkeypatch.setattr(quorum, "_interpolated", counted)
    least, keys = Quorum(3, 5), []
    for positives in range(images + 1):
        marks = np.full(images, NEGATIVE, np.uint8)
        marks[:positives] = POSITIVE
        keys.append(quorum._client_key([7] * images, marks, least) is not None)
    assert work == [3, min(5, images)] * (images + 1)
    assert keys == [m >= 3 and images - m >= 5 for m in range(images + 1)]


POINTS = 9
LEAST = Quorum(3, 5)


@pytest.fixture(scope="module")
def cut() -> tuple[list[bytes | None], list[list[list[int]]]]:
    """The keys of two labels; of each, by image, the four numbers that the client chooses among."""
    keys, table = quorum._server_keys(Prg.from_os(), 2, POINTS, LEAST)
    words = table.reshape(2, POINTS, quorum.HALVES, 4).transpose(0, 3, 1, 2)
    return keys, [quorum._elements(label) for label in words]


def secret(shares: list[int], chosen: tuple[int, ...]) -> int:
    return quorum._interpolated([(image + 1, shares[image]) for image in chosen])


def coefficients(shares: list[int], least: int) -> list[int]:
    """Of the polynomial that these are values of, from the constant one up."""
    values, found = shares, []
    for degree in reversed(range(least)):
        found.append(secret(values, tuple(range(degree + 1))))
        values = [
            (value - found[-1]) * pow(image + 1, -1, quorum.FIELD) % quorum.FIELD
            for image, value in enumerate(values)
        ]
    return found


def test_a_key_takes_as_many_images_as_its_quorum(cut: Any) -> None:
    """Any so many give both secrets, and the key that is their hash; one fewer gives another
    number, for any choice of them; what an unknown image gives is zero.
    """
    keys, tables = cut
    for key, (unknown, positive, negative, fourth) in zip(keys, tables, strict=True):
        assert unknown == fourth == [0] * POINTS
        found = []
        for shares, least in ((positive, 3), (negative, 5)):
            ways = [tuple(range(at, at + least)) for at in range(POINTS - least + 1)]
            (one,) = {secret(shares, way) for way in ways}
            fewer = [
                secret(shares, way) for way in itertools.combinations(range(POINTS), least - 1)
            ]
            assert one not in fewer
            found.append(one.to_bytes(16, "little"))
        assert key == hashlib.sha256(b"moiety quorum" + b"".join(found)).digest()


def test_all_coefficients_are_drawn(cut: Any) -> None:
    """Every coefficient is drawn, of 127 bits, for every label and class anew."""
    keys, tables = cut
    drawn = [
        each
        for label in tables
        for mark, least in ((POSITIVE, LEAST.positives), (NEGATIVE, LEAST.negatives))
        for each in coefficients(label[mark], least)
    ]
    assert len(set(keys)) == 2
    assert len(set(drawn)) == len(drawn) == 16
    assert min(drawn) > 1 << 64
    again = quorum._server_keys(Prg.from_os(), 2, POINTS, LEAST)[0]
    assert not set(keys) & set(again)
    drawn = quorum._random_elements(Prg.from_os(), 400)
    assert len(set(drawn)) == 400
    ones = np.sum([[number >> bit & 1 for bit in range(127)] for number in drawn], axis=0)
    assert np.abs(ones - 200).max() < 70
    assert max(drawn) < (1 << 127) - 1


def test_what_too_few_labels_stand_behind_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes what it is told for sums has noise, though it knows its shares."""
    monkeypatch.setattr(sealed, "_told", lambda key, integers: integers)
    marks = np.array([[1, 1, 2, 2, 0], [1, 2, 2, 2, 2]], np.uint8)
    _, told, (server, client) = tapped(marks)
    sums = [Sums(*column) for column in (server + client).T.tolist()]
    assert told[0] == sums[0] == sums_of(np.zeros((2, 5), np.int64), marks, TWO)[0]
    assert not set(told[1]) & set(sums[1])
    # Each sum by a mask of its own: the same one would tell their difference.
    masks = [a - b for a, b in zip(told[1], sums[1], strict=True)]
    assert len({mask % (1 << SUM_BITS) for mask in masks}) == 2


def test_a_deviating_client_finds_a_difference_of_scores() -> None:
    """What docs/security.md says of aggregates and shares that nobody checks: of 12 runs of one
    image and 15 of another, one aggregate tells how far apart their scores are, among 180 values:
    its pairs compare the difference with 180 numbers in a row.
    """
    m, k, scores = 12, 15, (-70_061, -70_000)
    values = np.repeat(np.array([scores], np.int64), [m, k], axis=1)
    marks = np.repeat(np.array([[POSITIVE, NEGATIVE]], np.uint8), [m, k], axis=1)
    added = np.concatenate([k * np.arange(m), np.arange(k)])[None]
    (sums,) = aggregate(values, 24, marks, Quorum(10, 10), added)
    smallest, reached = -k * (m - 1), (sums.doubled // 2 - 1) // 2
    assert smallest + reached == scores[0] - scores[1]


@pytest.mark.parametrize("apart", [-1, 0, 1])
def test_an_honest_client_compares_two_images(apart: int) -> None:
    """Ten runs of one among the positives, ten of another among the negatives: the AUROC of a
    cohort that the least numbers allow says which has the higher score.
    """
    scores = np.repeat([[70_000 + apart, 70_000]], 10, axis=1)
    marks = np.repeat(np.array([[POSITIVE, NEGATIVE]], np.uint8), 10, axis=1)
    (sums,) = aggregate(scores, 24, marks, Quorum(10, 10))
    assert auroc_of(sums, 10, 10) == Auroc(Fraction(1 + apart, 2), Fraction(0))


def test_cohorts_that_differ_in_one_image_tell_where_its_score_lies() -> None:
    """The won pairs of the one less those of the other are the negatives below it; the quota of
    cohorts alone stands against it.
    """
    scores = np.random.default_rng(7).permutation(60)[None]
    marks = np.repeat(np.array([[POSITIVE, NEGATIVE]], np.uint8), 30, axis=1)
    (whole,) = aggregate(scores, 24, marks, Quorum(10, 10))
    (without,) = aggregate(scores[:, 1:], 24, marks[:, 1:], Quorum(10, 10))
    below = int((scores[0, 30:] < scores[0, 0]).sum())
    assert 0 < below < 30
    won = auroc_of(whole, 30, 30).area * 900 - auroc_of(without, 29, 30).area * 870
    assert won == below


def test_marks_are_one_of_three() -> None:
    positives, negatives = np.array([True, False, False]), np.array([False, True, False])
    assert marks_of(positives, negatives).tolist() == [POSITIVE, NEGATIVE, UNKNOWN]
