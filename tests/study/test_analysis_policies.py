"""What a study says where its policy reveals less than scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from moiety.runtime.program.policy import Policy
from moiety.runtime.study.statistics import analyse
from moiety.runtime.study.statistics.decisions import decided, largest
from moiety.runtime.study.table import AggregateResult
from tests.support.tables import LABELS, aggregate_study, drawn_table, study_of


def test_decisions() -> None:
    table = drawn_table()
    assert table.reference is not None
    bits = replace(
        table,
        scores=(table.scores > 0).astype(float),
        reference=(table.reference > 0).astype(float),
    )
    found = analyse(study_of(bits, Policy(reveal="decision")))
    assert found.discrimination == ()
    assert found.probabilities is None
    one = found.decisions[0]
    truth, said = table.truth[:, 0], bits.scores[:, 0]
    assert one.secure is not None
    assert one.secure.sensitivity.value == said[truth == 1].mean()
    assert one.secure.specificity.value == 1 - said[truth == 0].mean()
    known = np.isfinite(truth)
    assert one.secure.positive_predictive_value.value == truth[known & (said == 1)].mean()
    without = 1 - truth[known & (said == 0)]
    assert one.secure.negative_predictive_value.value == without.mean()
    assert one.agreeing is not None
    assert one.agreeing.total == known.sum()
    assert found.top_one is None


def test_decisions_where_nothing_is_known() -> None:
    """A site may know nothing of a label."""
    table = drawn_table()
    unknown = table.truth.copy()
    unknown[table.sites == "north", 0] = np.nan
    bits = replace(
        table, truth=unknown, scores=np.where(table.scores > 0, 1.0, 0.0), reference=None
    )
    found = analyse(study_of(bits, Policy(reveal="decision"))).decisions
    (north,) = (d for d in found if (d.counts.label, d.counts.site) == (LABELS[0], "north"))
    assert north.secure is not None
    assert north.secure.sensitivity.value is north.secure.specificity.value is None
    assert north.reason


def test_top_one() -> None:
    table = drawn_table()
    chosen = replace(table, scores=largest(table.scores))
    found = analyse(study_of(chosen, Policy(reveal="top-1"))).top_one
    assert found is not None
    assert analyse(study_of(replace(chosen, kind="choices"))).top_one == found
    suitable = table.truth.sum(axis=1) == 1
    right = table.truth[suitable].argmax(axis=1) == table.scores[suitable].argmax(axis=1)
    assert found.accuracy.value == right.mean()
    assert found.unsuitable == table.images - suitable.sum()
    assert np.sum(found.confusion) == suitable.sum()
    assert found.agreeing is not None
    assert found.agreeing.value == 1 or found.agreeing.hits < found.agreeing.total


def test_aggregates() -> None:
    results = (
        AggregateResult("effusion", 20, 30, 0.8, 0.05),
        AggregateResult("edema", 20, 30, 1.0, 0.0),
        AggregateResult("hernia", 3, 47, None, None),
    )
    found = analyse(aggregate_study(results, np.full(50, "north")))
    usual, boundary, none = found.discrimination
    assert usual.secure is not None
    assert (usual.secure.low, usual.secure.high) == pytest.approx((0.6843, 0.8807), abs=1e-4)
    assert boundary.secure is not None
    assert boundary.secure.interval == "newcombe"
    assert none.reason is not None
    assert found.images == 50
    assert not any((found.curves, found.histograms, found.calibration))
    assert "bootstrap" not in found.methods


def test_counts_of_a_cohort() -> None:
    """What they are worth is what single decisions would be; below the quorum there is nothing."""
    results = (
        AggregateResult("effusion", 20, 30, true_positives=17, false_positives=3),
        AggregateResult("edema", 20, 30, true_positives=0, false_positives=0),
        AggregateResult("hernia", 3, 47),
    )
    study = replace(
        aggregate_study(results, np.full(57, "north")),
        policy=Policy(reveal="aggregate", figures="counts"),
    )
    found = analyse(study)
    usual, never, none = found.decisions
    said = np.repeat([1, 0, 1, 0], [17, 3, 3, 27]) == 1
    assert usual.secure == decided(said, np.arange(50) < 20)
    assert usual.secure.sensitivity.hits == 17
    assert usual.secure.specificity.hits == 27
    assert (usual.counts.images, usual.counts.unknown) == (57, 7)
    assert never.secure is not None
    assert never.secure.positive_predictive_value.value is None
    assert none.secure is None
    assert none.reason == "fewer positives or negatives than the policy asks for"
    assert found.discrimination == ()
    words = " ".join(found.methods.values())
    assert "Wilson" in words
    assert "at a threshold of the vendor's that stays secret" in words
    assert "DeLong" not in words


@pytest.mark.parametrize("reveal", ["decision", "top-1"])
def test_decisions_have_notes_of_their_own(reveal: Any) -> None:
    bits = replace(drawn_table(), scores=largest(drawn_table().scores), reference=None)
    found = analyse(study_of(bits, Policy(reveal=reveal)))
    words = " ".join([*found.notes, *found.methods.values()])
    assert "240 images of 120 patients: Wilson's intervals take" in words
    for foreign in ("DeLong", "bootstrap", "Equivalence"):
        assert foreign not in words


def test_an_aggregate_counts_the_unknown() -> None:
    results = (AggregateResult("effusion", 20, 30, 0.8, 0.05),)
    (found,) = analyse(aggregate_study(results, np.full(57, "north"))).discrimination
    assert (found.counts.images, found.counts.unknown) == (57, 7)
