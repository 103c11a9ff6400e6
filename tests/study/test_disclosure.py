"""No file of a report tells a score: not of few images, not of rare labels, in no picture."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from moiety.protocols.arrays import F64
from moiety.runtime.program.policy import Policy
from moiety.runtime.study.report.write import contents
from moiety.runtime.study.statistics import analyse
from moiety.runtime.study.statistics.analysis import Analysis
from moiety.runtime.study.statistics.disclosure import FEWEST, GROUP
from moiety.runtime.study.table import StudyTable
from tests.support.tables import drawn_table, study_of

NUMBER = re.compile(rb"-?\d+\.\d{4,}(?:e-?\d+)?")
DIGITS = 6
"""That a number of a file has in common with a score, and is no coincidence."""


def rare(images: int, positives: int) -> StudyTable:
    """One label is known of all images and rare, the other of as few."""
    table = drawn_table(images, seed=images + positives)
    truth = np.zeros_like(table.truth)
    truth[:positives] = 1
    truth[2 * positives + 1 :, 1] = np.nan
    return replace(table, truth=truth)


def told(files: dict[str, bytes]) -> set[float]:
    """Every number of a file that has digits enough to be told apart."""
    found = {float(each) for data in files.values() for each in NUMBER.findall(data)}
    return {float(f"{each:.{DIGITS}g}") for each in found}


def secrets(table: StudyTable) -> set[float]:
    """Scores, what becomes of them in a Brier score or a Bland-Altman plot, the odds and ends."""
    assert table.reference is not None
    kinds: list[F64] = [table.scores, table.reference, (table.scores + table.reference) / 2]
    kinds += [1 / (1 + np.exp(-each)) for each in kinds]
    known = np.isfinite(table.truth)
    kinds += [(each[known] - table.truth[known]) ** 2 for each in kinds[3:]]
    return {float(f"{each:.{DIGITS}g}") for kind in kinds for each in kind.ravel()}


@pytest.mark.parametrize(("images", "positives"), [(2, 1), (9, 1), (12, 3), (40, 1), (120, 2)])
@pytest.mark.parametrize("reveal", ["scores", "probabilities"])
def test_no_number_is_an_images_score(images: int, positives: int, reveal: Any) -> None:
    table = rare(images, positives)
    if reveal == "probabilities":
        assert table.reference is not None
        table = replace(
            table,
            scores=1 / (1 + np.exp(-table.scores)),
            reference=1 / (1 + np.exp(-table.reference)),
        )
    analysis = analyse(study_of(table, Policy(reveal=reveal), bootstrap=20))
    assert not told({"report.json": msgspec.json.encode(analysis)}) & secrets(table)
    few_stand_alone(analysis)


def test_no_file_has_more_than_the_numbers() -> None:
    """Pictures and tables, too."""
    table = rare(30, 3)
    study = study_of(table, bootstrap=20)
    assert not told(contents(study, analyse(study))) & secrets(table)


def few_stand_alone(analysis: Analysis) -> None:
    """The same by structure: what is a mean or a curve of scores has images enough behind it."""
    for curve, judged in zip(
        analysis.curves,
        (each for each in analysis.discrimination if each.counts.site is None),
        strict=True,
    ):
        fewest = min(judged.counts.positives, judged.counts.negatives)
        assert (fewest >= FEWEST) == bool(curve.secure)
    for calibrated in analysis.calibration:
        assert calibrated.brier is None or calibrated.images >= FEWEST
        for found in calibrated.bins:
            assert (found.predicted is None) == (found.observed.total < FEWEST)
    for histogram in analysis.histograms:
        for counts in (histogram.secure_positives, histogram.secure_negatives):
            assert sum(counts) == 0 or sum(counts) >= FEWEST
    for plotted in analysis.differences:
        assert len(plotted.means) <= sum(plotted.counts) // GROUP


def test_the_search_finds_what_it_looks_for() -> None:
    table = drawn_table(30)
    leaking = {"a.csv": b"x,%.17g" % table.scores[3, 1], "b.svg": b"M 0.1234567 2"}
    assert told(leaking) & secrets(table)
    assert not told({"b.svg": b"M 0.1234567 2"}) & secrets(table)
