"""Of policies that reveal a decision or the largest label: what these are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

from moiety.runtime.study.report.forests import Estimate, Line, Scale, forest
from moiety.runtime.study.report.page import Block, Gallery, Heading, Picture, Prose, Section
from moiety.runtime.study.report.sections.columns import (
    LABEL,
    SITE,
    share,
    share_columns,
)
from moiety.runtime.study.report.sections.discrimination import CLEARTEXT, SECURE
from moiety.runtime.study.report.table import Column, Row, Table
from moiety.runtime.study.report.words import Value, count, counted, listed
from moiety.runtime.study.statistics.analysis import Analysis, Decided, Decision, Proportion, TopOne
from moiety.runtime.study.table import Study

_RATES = {"sensitivity": "Sensitivity", "specificity": "Specificity"}
_PREDICTIVE = {
    "positive_predictive_value": "Positive predictive value",
    "negative_predictive_value": "Negative predictive value",
}
_COUNTS = (
    Column("true_positives", "True positives", count),
    Column("false_negatives", "False negatives", count),
    Column("false_positives", "False positives", count),
    Column("true_negatives", "True negatives", count),
)
_NOTHING = "no image that it would be a share of"
Side = Callable[[Decision], Decided | None]
_SECURE: Side = attrgetter("secure")
_CLEARTEXT: Side = attrgetter("cleartext")
_AGREEING = share_columns("agreeing", "Decided alike")


def section(study: Study, analysis: Analysis) -> Section | None:
    found = analysis.decisions
    if not found:
        return None
    whole = [each for each in found if each.counts.site is None]
    blocks: list[Block] = [_forests(whole), *_tables("", whole, "all images together")]
    if len(found) > len(whole):
        blocks += [Heading("By site"), *_tables("-by-site", found, "by site")]
    if analysis.top_one is not None:
        blocks += [Heading("The largest label"), *_top_one(analysis, analysis.top_one)]
    return Section("decisions", "Decisions", blocks)


def _forests(whole: Sequence[Decision]) -> Gallery:
    pictures = []
    for measure, name in _RATES.items():
        read: Callable[[Decided], Proportion] = attrgetter(measure)
        lines = [
            Line(
                each.counts.label,
                _estimate(read(each.secure)) if each.secure else None,
                _estimate(read(each.cleartext)) if each.cleartext else None,
            )
            for each in whole
        ]
        pictures.append(
            Picture(forest(measure, f"{name} by label", name, lines, Scale.of(lines)), name)
        )
    legend = (SECURE, CLEARTEXT) if any(each.cleartext for each in whole) else (SECURE,)
    return Gallery("With 95 % CI (Wilson), all images together.", pictures, legend)


def _estimate(found: Proportion) -> Estimate | None:
    if found.value is None or found.low is None or found.high is None:
        return None
    return Estimate(found.value, found.low, found.high)


def _tables(suffix: str, found: Sequence[Decision], where: str) -> list[Block]:
    tables: list[Block] = []
    for name, side in (("secure", _SECURE), ("cleartext", _CLEARTEXT)):
        if any(side(each) for each in found):
            caption = f"Right and wrong decisions, {name}, {where}"
            counts = [_counts(side(each)) for each in found]
            tables.append(_table(f"{name}-decisions{suffix}", caption, _COUNTS, found, counts))
            for key, measures in (("rates", _RATES), ("predictive", _PREDICTIVE)):
                caption = f"{listed([*measures.values()]).capitalize()}, {name}, {where}"
                key = f"{name}-{key}{suffix}"
                tables.append(_measured(key, caption, found, side, measures))
    if any(each.agreeing for each in found):
        caption = f"Images decided alike, secure and cleartext, {where}"
        values = [share(each.agreeing) for each in found]
        tables.append(_table(f"deciding-alike{suffix}", caption, _AGREEING, found, values))
    return tables


def _counts(decided: Decided | None) -> tuple[Value, Value, Value, Value]:
    """In the order of the columns."""
    if decided is None:
        return None, None, None, None
    right, against = decided.sensitivity, decided.specificity
    return right.hits, right.total - right.hits, against.total - against.hits, against.hits


def _measured(
    key: str, caption: str, found: Sequence[Decision], side: Side, measures: Mapping[str, str]
) -> Table:
    columns = [c for name, words in measures.items() for c in share_columns(name, words)]
    rows = []
    for each in found:
        decided = side(each)
        read = [getattr(decided, name) if decided else None for name in measures]
        rows.append(tuple(value for proportion in read for value in share(proportion)))
    return _table(key, caption, columns, found, rows)


def _table(
    key: str,
    caption: str,
    columns: Sequence[Column],
    found: Sequence[Decision],
    values: Sequence[tuple[Value, ...]],
) -> Table:
    by_site = any(each.counts.site is not None for each in found)
    rows = [
        Row(
            (
                *((each.counts.label, each.counts.site) if by_site else (each.counts.label,)),
                *row,
            ),
            each.reason or (_NOTHING if None in row else None),
        )
        for each, row in zip(found, values, strict=True)
    ]
    heads = (LABEL, SITE) if by_site else (LABEL,)
    return Table(key, caption, (*heads, *columns), rows, len(heads))


def _top_one(analysis: Analysis, found: TopOne) -> list[Block]:
    text = (
        f"{counted(found.images, 'image')} with exactly one positive label and none unknown; "
        f"{counted(found.unsuitable, 'image')} without."
    )
    sides = (
        ("Secure", found.accuracy),
        ("Cleartext", found.cleartext_accuracy),
        ("Secure and cleartext alike", found.agreeing),
    )
    accuracy = [_share_row(name, each) for name, each in sides if each is not None]
    recall = [_share_row(label, each) for label, each in found.recall.items()]
    confusion = [
        Row((label, *row)) for label, row in zip(analysis.labels, found.confusion, strict=True)
    ]
    largest = [Column(f"largest_{label}", label, count) for label in analysis.labels]
    return [
        Prose(text),
        Table(
            "accuracy",
            "Accuracy",
            (Column("of", "Of"), *share_columns("accuracy", "Right")),
            accuracy,
        ),
        Table("recall", "Recall by label", (LABEL, *share_columns("recall", "Found")), recall),
        Table(
            "confusion",
            "Images by true label (rows) and largest label (columns)",
            (Column("label", "True label"), *largest),
            confusion,
        ),
    ]


def _share_row(name: str, found: Proportion) -> Row:
    return Row((name, *share(found)), None if found.total else _NOTHING)
