"""What the scores look like, and whether as probabilities they mean what they say."""

from __future__ import annotations

from moiety.runtime.study.report import plots
from moiety.runtime.study.report.page import Block, Gallery, Heading, Picture, Section, Swatch
from moiety.runtime.study.report.sections.columns import AREA, IMAGES, LABEL, SHARE, pair, share
from moiety.runtime.study.report.table import Column, Row, Table
from moiety.runtime.study.report.words import fixed, said
from moiety.runtime.study.statistics.analysis import Analysis
from moiety.runtime.study.table import Study

_PROBABILITY = said(fixed(3))


def section(study: Study, analysis: Analysis) -> Section | None:
    blocks: list[Block] = []
    if analysis.histograms:
        blocks.append(_histograms(analysis))
    if analysis.calibration:
        blocks += [Heading("Calibration"), _brier(analysis)]
        if any(each.bins for each in analysis.calibration):
            blocks += [_calibration(analysis), _bins(analysis)]
    return Section("scores", "Scores and calibration", blocks) if blocks else None


def _histograms(analysis: Analysis) -> Gallery:
    drawn = [
        Picture(plots.histogram(f"scores-{number}", each), each.label)
        for number, each in enumerate(analysis.histograms)
    ]
    legend = [
        Swatch("with", "band", "with the label"),
        Swatch("without", "haze", "without"),
        Swatch("rule", "band", "unknown"),
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
        rows.append(Row((*values, *cleartext) if compared else values, each.reason))
    return Table("brier", "Brier scores", tuple(columns), rows)


def _calibration(analysis: Analysis) -> Gallery:
    drawn = [
        Picture(plots.calibration(f"calibration-{number}", each), each.label)
        for number, each in enumerate(analysis.calibration)
        if each.bins
    ]
    caption = (
        "Observed share of positives against the mean predicted probability of each bin "
        "(tables/calibration.csv)."
    )
    legend = (
        Swatch("secure", "dot", "secure, with 95 % CI (Wilson)"),
        Swatch("muted", "dashed", "perfect calibration"),
    )
    return Gallery(caption, drawn, legend)


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
        Row((each.label, (found.low, found.high), found.predicted, *share(found.observed)))
        for each in analysis.calibration
        for found in each.bins
    ]
    return Table(
        "calibration", "Calibration by bin, secure scores", columns, rows, 2, in_page=False
    )
