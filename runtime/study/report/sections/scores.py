"""What the scores look like, and whether as probabilities they mean what they say."""

from __future__ import annotations

from moiety.runtime.study.report import plots
from moiety.runtime.study.report.page import (
    Block,
    Gallery,
    Heading,
    Picture,
    Prose,
    Section,
    Swatch,
)
from moiety.runtime.study.report.sections.columns import AREA, IMAGES, LABEL, SHARE, pair, share
from moiety.runtime.study.report.table import Column, Row, Table
from moiety.runtime.study.report.words import fixed, said
from moiety.runtime.study.statistics.analysis import Analysis
from moiety.runtime.study.table import Study

_PROBABILITY = said(fixed(3))
_NO_INTERVAL = "no bootstrap, or of too few patients or images"
_FEW = "too few images for a mean that tells of none of them"


def section(study: Study, analysis: Analysis) -> Section | None:
    blocks: list[Block] = []
    if any(each.edges for each in analysis.histograms):
        blocks.append(_histograms(analysis))
    for what, drawn in (("Not told apart by label", True), ("Not drawn", False)):
        found = [e for e in analysis.histograms if e.reason and bool(e.edges) == drawn]
        if found:
            told = "; ".join(f"{each.label} ({each.reason})" for each in found)
            blocks.append(Prose(f"{what}: {told}."))
    if analysis.calibration:
        blocks += [Heading("Calibration"), _brier(analysis)]
        if any(each.bins for each in analysis.calibration):
            blocks += [*_calibration(analysis), _bins(analysis)]
    return Section("scores", "Scores and calibration", blocks) if blocks else None


def _histograms(analysis: Analysis) -> Gallery:
    drawn = [
        Picture(plots.histogram(f"scores-{number}", each), each.label)
        for number, each in enumerate(analysis.histograms)
        if each.edges
    ]
    legend = [
        Swatch("with", "band", "with the label"),
        Swatch("without", "band", "without"),
        Swatch("rule", "band", "unknown, or not told apart"),
    ]
    if any(each.cleartext is not None for each in analysis.histograms):
        legend.append(Swatch("cleartext", "line", "cleartext scores of all of them"))
    return Gallery("Images by secure score, one kind upon another.", drawn, legend)


def _brier(analysis: Analysis) -> Table:
    columns = [
        LABEL,
        IMAGES,
        Column("brier", "Brier score, secure", AREA),
        Column("brier", "95 % CI", AREA, interval=True),
    ]
    compared = any(each.cleartext_brier is not None for each in analysis.calibration)
    if compared:
        columns += [
            Column("cleartext_brier", "Brier score, cleartext", AREA),
            Column("cleartext_brier", "95 % CI", AREA, interval=True),
        ]
    rows = []
    for each in analysis.calibration:
        values = (each.label, each.images, each.brier, pair(each.brier_interval))
        cleartext = (each.cleartext_brier, pair(each.cleartext_brier_interval))
        row = (*values, *cleartext) if compared else values
        rows.append(Row(row, each.reason or (_NO_INTERVAL if None in row else None)))
    return Table("brier", "Brier scores", tuple(columns), rows)


def _calibration(analysis: Analysis) -> list[Gallery]:
    drawn = [
        Picture(plots.calibration(f"calibration-{number}", each), each.label)
        for number, each in enumerate(analysis.calibration)
        if any(found.predicted is not None for found in each.bins)
    ]
    caption = (
        "Observed share of positives against the mean predicted probability of each bin "
        "(tables/calibration.csv), but for bins of few images."
    )
    legend = (
        Swatch("secure", "dot", "secure, with 95 % CI (Wilson)"),
        Swatch("muted", "dashed", "perfect calibration"),
    )
    return [Gallery(caption, drawn, legend)] if drawn else []


def _bins(analysis: Analysis) -> Table:
    columns = (
        LABEL,
        Column("bin", "Bin", _PROBABILITY, interval=True),
        Column("predicted", "Mean predicted", _PROBABILITY),
        Column("observed_count", "Observed, count", SHARE),
        Column("observed", "Observed", _PROBABILITY),
        Column("observed", "95 % CI", _PROBABILITY, interval=True),
    )
    rows = [
        Row(
            (each.label, (found.low, found.high), found.predicted, *share(found.observed)),
            _FEW if found.predicted is None else None,
        )
        for each in analysis.calibration
        for found in each.bins
    ]
    return Table(
        "calibration", "Calibration by bin, secure scores", columns, rows, 2, in_page=False
    )
