"""How well scores tell images with a label from those without: AUROC, secure and cleartext."""

from __future__ import annotations

from collections.abc import Sequence

from moiety.runtime.study.report import plots
from moiety.runtime.study.report.forests import Estimate, Line, Scale, forest, margins
from moiety.runtime.study.report.page import (
    Block,
    Gallery,
    Heading,
    Picture,
    Prose,
    Section,
    Swatch,
)
from moiety.runtime.study.report.sections.columns import (
    AREA,
    DIFFERENCE,
    ERROR,
    LABEL,
    NEGATIVES,
    NEGATIVES_FROM,
    POSITIVES,
    SITE,
    P,
    negatives_from,
    pair,
    site_name,
)
from moiety.runtime.study.report.table import Column, Row, Table
from moiety.runtime.study.report.words import Value, fixed, listed, said
from moiety.runtime.study.statistics.analysis import Analysis, Area, Comparison, Discrimination
from moiety.runtime.study.table import Study

SECURE = Swatch("secure", "dot", "secure")
CLEARTEXT = Swatch("cleartext", "ring", "cleartext")

_TOO_FEW = "too few images of a class, or too few patients"
_COUNTS = (POSITIVES, NEGATIVES, NEGATIVES_FROM)
_AREAS = (
    Column("secure_auroc", "AUROC, secure", AREA),
    Column("secure", "95 % CI", AREA, interval=True),
    Column("cleartext_auroc", "AUROC, cleartext", AREA),
    Column("cleartext", "95 % CI", AREA, interval=True),
)
_DIFFERENCES = (
    Column("difference", "Difference", DIFFERENCE),
    Column("difference", "95 % CI", DIFFERENCE, interval=True),
    Column("z", "Z", said(fixed(2))),
    Column("p", "P", P),
    Column("p_holm", "P, Holm", P),
    Column("difference_90", "90 % CI", DIFFERENCE, interval=True),
    Column("p_equivalence", "P, equivalence", P),
    Column("equivalent", "Equivalent"),
)
_ERRORS = (
    Column("secure_error", "Error, secure", ERROR),
    Column("secure_bootstrap", "Bootstrap 95 % CI", AREA, interval=True),
    Column("cleartext_error", "Error, cleartext", ERROR),
    Column("cleartext_bootstrap", "Bootstrap 95 % CI", AREA, interval=True),
    Column("difference_error", "Error, difference", ERROR),
    Column("difference_bootstrap", "Bootstrap 95 % CI", DIFFERENCE, interval=True),
)


def section(study: Study, analysis: Analysis) -> Section | None:
    found = analysis.discrimination
    if not found:
        return None
    whole = overall(analysis)
    blocks: list[Block] = [*_forests(analysis, whole), *_tables(whole)]
    if analysis.curves:
        blocks += [Heading("ROC curves"), *_curves(analysis)]
    if len(found) > len(whole):
        blocks += [
            Heading("By site"),
            *_site_forests(found),
            *_tables(found),
        ]
    return Section("discrimination", "Discrimination", blocks)


def overall(analysis: Analysis) -> list[Discrimination]:
    """Of all images together, label by label."""
    return [each for each in analysis.discrimination if each.counts.site is None]


def _compared(found: Sequence[Discrimination]) -> bool:
    return any(each.comparison for each in found)


def _by_site(found: Sequence[Discrimination]) -> bool:
    return any(each.counts.site is not None for each in found)


def _forests(analysis: Analysis, whole: Sequence[Discrimination]) -> list[Gallery]:
    judged = [each for each in whole if each.secure is not None]
    if not judged:
        return []
    lines = [_line(each, each.counts.label) for each in judged]
    areas = Picture(
        forest("forest", "AUROC by label", "AUROC", lines, Scale.of(lines), 0.5), "AUROC"
    )
    if not _compared(judged):
        return [Gallery("AUROC with 95 % CI, all images together.", [areas], (SECURE,))]
    named = "AUROC, secure minus cleartext"
    differences = [_difference(each) for each in judged]
    changes = Picture(margins("margin", named, named, differences, analysis.margin), "Difference")
    caption = (
        "All images together: AUROC with 95 % CI, and the difference with its 90 % CI. An interval "
        f"inside the band of ±{analysis.margin:g} shows equivalence."
    )
    legend = (SECURE, CLEARTEXT, Swatch("margin", "band", "margin of equivalence"))
    return [Gallery(caption, [areas, changes], legend)]


def _estimate(area: Area | None) -> Estimate | None:
    return Estimate(area.auroc, area.low, area.high) if area else None


def _line(each: Discrimination, name: str) -> Line:
    return Line(name, _estimate(each.secure), _estimate(each.cleartext))


def _difference(each: Discrimination) -> Line:
    if each.comparison is None:
        return Line(each.counts.label)
    tost = each.comparison.equivalence
    return Line(each.counts.label, Estimate(each.comparison.difference, tost.low_90, tost.high_90))


def _tables(found: Sequence[Discrimination]) -> list[Table]:
    """By site the first table alone has all images together, and says what is missing and why."""
    suffix, where = ("-by-site", "by site") if _by_site(found) else ("", "all images together")
    areas = [(*_area(each.secure), *_area(each.cleartext)) for each in found]
    tables = [_table(f"auroc{suffix}", f"AUROC, {where}", _AREAS, found, areas, counts=True)]
    if _by_site(found):
        found = [each for each in found if each.counts.site is not None and each.secure is not None]
    if _compared(found):
        caption = f"AUROC, secure minus cleartext, {where}"
        compared = [_comparison(each.comparison) for each in found]
        tables.append(_table(f"differences{suffix}", caption, _DIFFERENCES, found, compared))
    if found:
        resampled = any(each.secure.resampled for each in found if each.secure)
        what = "Standard errors (DeLong)" + " and bootstrap intervals" * resampled
        caption = f"{what}, {where}"
        errors = [_errors(each) for each in found]
        tables.append(_table(f"errors{suffix}", caption, _ERRORS, found, errors))
    return tables


def _area(area: Area | None) -> tuple[Value, Value]:
    return (area.auroc, (area.low, area.high)) if area else (None, None)


def _comparison(c: Comparison | None) -> tuple[Value, ...]:
    if c is None:
        return (None,) * len(_DIFFERENCES)
    tost = c.equivalence
    test = (c.difference, (c.low, c.high), c.z, c.p, c.p_holm)
    return (*test, (tost.low_90, tost.high_90), tost.p, "yes" if tost.equivalent else "not shown")


def _errors(each: Discrimination) -> tuple[Value, ...]:
    sides = (each.secure, each.cleartext, each.comparison)
    pairs = (
        (side.standard_error, pair(side.resampled)) if side else (None, None) for side in sides
    )
    return tuple(value for both in pairs for value in both)


def _table(
    key: str,
    caption: str,
    columns: Sequence[Column],
    found: Sequence[Discrimination],
    values: Sequence[tuple[Value, ...]],
    counts: bool = False,
) -> Table:
    """A row for each, named by its label, and where sites are told apart by these too; `counts`:
    with its images. Columns after the first that would be empty in every row are left out.
    """
    by_site = _by_site(found)
    kept = [i for i in range(len(columns)) if i == 0 or any(row[i] is not None for row in values)]
    heads = [LABEL, *[SITE] * by_site, *_COUNTS[: 2 + by_site] * counts]
    rows = []
    for each, row in zip(found, values, strict=True):
        n = each.counts
        head: list[Value] = [n.label, *[n.site] * by_site]
        if counts:
            head += [n.positives, n.negatives, *[negatives_from(n)] * by_site]
        shown = [row[i] for i in kept]
        reason = each.reason or (_TOO_FEW if None in shown else None)
        rows.append(Row((*head, *shown), reason))
    return Table(key, caption, (*heads, *(columns[i] for i in kept)), rows, 1 + by_site)


def _curves(analysis: Analysis) -> list[Block]:
    drawn = [
        Picture(plots.roc(f"roc-{number}", curve), curve.label)
        for number, curve in enumerate(analysis.curves)
        if curve.false_positive_rate
    ]
    reference = any(curve.cleartext is not None for curve in analysis.curves)
    legend = [Swatch("secure", "line", "secure")]
    if reference:
        legend.append(Swatch("cleartext", "wide", "cleartext, below it"))
    blocks: list[Block] = []
    if drawn:
        blocks.append(Gallery("All images together.", drawn, legend))
    missing: dict[str, list[str]] = {}
    for curve in analysis.curves:
        if not curve.false_positive_rate:
            missing.setdefault(curve.reason or "not computed", []).append(curve.label)
    blocks += [Prose(f"Not drawn: {listed(who)} ({why}).") for why, who in missing.items()]
    return blocks


def _site_forests(found: Sequence[Discrimination]) -> list[Block]:
    lines = {each.counts.label: list[Line]() for each in found}
    for each in found:
        if each.secure is not None:
            lines[each.counts.label].append(_line(each, site_name(each.counts.site)))
    lines = {label: rows for label, rows in lines.items() if len(rows) > 2}
    if not lines:
        return []
    scale = Scale.of([row for rows in lines.values() for row in rows])
    pictures = [
        Picture(forest(f"sites-{n}", f"AUROC of {label} by site", "AUROC", rows, scale, 0.5), label)
        for n, (label, rows) in enumerate(lines.items())
    ]
    legend = (SECURE, CLEARTEXT) if _compared(found) else (SECURE,)
    caption = (
        "AUROC with 95 % CI, on one scale, of labels that could be judged at two sites or more."
    )
    return [Gallery(caption, pictures, legend)]
