"""Who was in the study: images by label and site, and what was left out."""

from __future__ import annotations

from moiety.runtime.study.report.page import Block, Points, Prose, Section
from moiety.runtime.study.report.sections.columns import (
    IMAGES,
    LABEL,
    NEGATIVES,
    NEGATIVES_FROM,
    POSITIVES,
    SHARE,
    SITE,
    negatives_from,
    site_name,
)
from moiety.runtime.study.report.table import Column, Row, Table
from moiety.runtime.study.report.words import count, counted
from moiety.runtime.study.statistics.analysis import Analysis, Counts
from moiety.runtime.study.table import Study

_UNKNOWN = Column("unknown", "Unknown", count)
_NONE_KNOWN = "the label is known of no image there"


def section(study: Study, analysis: Analysis) -> Section:
    blocks: list[Block] = [Prose(_size(analysis)), _by_label(analysis), _by_site(analysis)]
    if analysis.excluded:
        columns = (Column("left_out_for", "Reason"), Column("images", "Images", count))
        rows = [Row((reason, number)) for reason, number in analysis.excluded.items()]
        blocks.append(Table("excluded", "Left out", columns, rows))
    if analysis.notes:
        blocks.append(Points([("", note) for note in analysis.notes]))
    return Section("cohort", "Cohort", blocks)


def _counts(analysis: Analysis) -> list[Counts]:
    """Of every label and place, whatever was computed of them."""
    found = [each.counts for each in analysis.discrimination]
    return found or [each.counts for each in analysis.decisions]


def _size(analysis: Analysis) -> str:
    text = counted(analysis.images, "image")
    if analysis.patients is not None:
        text += f" of {counted(analysis.patients, 'patient')}"
    if analysis.sites:
        text += f" from {counted(len(analysis.sites), 'site')}"
    left_out = sum(analysis.excluded.values())
    more = f"{counted(left_out, 'image')} of the list" if left_out else "No image of the list"
    were = "were" if left_out > 1 else "was"
    return f"{text} went through the computation. {more} {were} left out."


def _by_label(analysis: Analysis) -> Table:
    """A row for each label; for each site its positives of those whose label is known."""
    found = _counts(analysis)
    at = {(each.label, each.site): each for each in found}
    apart = [site for site in analysis.sites if any(each.site == site for each in found)]
    rows = []
    for each in found:
        if each.site is None:
            shares = [_share(at.get((each.label, site))) for site in apart]
            values = (each.label, each.positives, each.negatives, each.unknown, *shares)
            rows.append(Row(values, _NONE_KNOWN if None in shares else None))
    sites = [
        Column(f"site_{site}", f"{site_name(site)} ({analysis.sites[site]})", SHARE)
        for site in apart
    ]
    caption = "Images by label"
    if sites:
        caption += "; of each site the positives of those known"
    return Table("cohort", caption, (LABEL, POSITIVES, NEGATIVES, _UNKNOWN, *sites), rows)


def _share(counts: Counts | None) -> str | None:
    if counts is None:
        return None
    own_negatives = 0 if counts.outside_negatives else counts.negatives
    known = counts.positives + own_negatives
    return f"{counts.positives}/{known}" if known else None


def _by_site(analysis: Analysis) -> Table:
    """The same in rows, for programs."""
    columns = (LABEL, SITE, IMAGES, POSITIVES, NEGATIVES, _UNKNOWN, NEGATIVES_FROM)
    rows = [
        Row((c.label, c.site, c.images, c.positives, c.negatives, c.unknown, negatives_from(c)))
        for c in _counts(analysis)
    ]
    return Table("cohort-by-site", "Images by label and site", columns, rows, 2, in_page=False)
