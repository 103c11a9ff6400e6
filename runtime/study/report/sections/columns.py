"""Columns that tables of several sections have, and how their numbers are said."""

from __future__ import annotations

from moiety.runtime.study.report.table import Column
from moiety.runtime.study.report.words import Value, count, fixed, probability, said, signed
from moiety.runtime.study.statistics.analysis import Counts, Interval, Proportion

ALL_IMAGES = "All images"
ALL_LABELS = "All labels"
NOT_NAMED = "(no site named)"

AREA = said(fixed(4))
ERROR = said(fixed(5))
DIFFERENCE = said(signed(5))
P = said(probability)
SHARE = said(str)
"""Text in a column of numbers, such as `3 of 5`."""
PERCENT = said(lambda value: f"{100 * value:.1f} %")


def site_name(site: Value) -> str:
    """As a row says it; the CSV file leaves the cell of all images empty."""
    return ALL_IMAGES if site is None else str(site) or NOT_NAMED


def label_name(label: Value) -> str:
    """As a row says it."""
    return ALL_LABELS if label == "" else str(label)


LABEL = Column("label", "Label", label_name)
SITE = Column("site", "Site", site_name)
IMAGES = Column("images", "Images", count)
POSITIVES = Column("positives", "Positive", count)
NEGATIVES = Column("negatives", "Negative", count)
NEGATIVES_FROM = Column("negatives_from", "Negatives from")


def pair(interval: Interval | None) -> tuple[float, float] | None:
    """An interval as a cell."""
    return (interval.low, interval.high) if interval else None


def share(found: Proportion | None) -> tuple[Value, Value, Value]:
    """A proportion as cells: hits of total, value, interval."""
    if found is None:
        return None, None, None
    if found.low is None or found.high is None:
        return f"{found.hits}/{found.total}", found.value, None
    return f"{found.hits}/{found.total}", found.value, (found.low, found.high)


def share_columns(name: str, heading: str) -> tuple[Column, Column, Column]:
    return (
        Column(f"{name}_count", f"{heading}, count", SHARE),
        Column(name, heading, PERCENT),
        Column(name, "95 % CI", PERCENT, interval=True),
    )


def negatives_from(counts: Counts) -> str:
    """Whose images without the label a site's are compared with."""
    return "all other sites" if counts.outside_negatives else "own"
