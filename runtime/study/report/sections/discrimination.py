"""How well scores tell images with a label from those without: AUROC, secure and cleartext."""

from __future__ import annotations

from collections.abc import Sequence

from moiety.runtime.study.report import plots
from moiety.runtime.study.report.forests import Estimate, Line, forest, margins
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
    ERROR,
    LABEL,
    NEGATIVES,
    NEGATIVES_FROM,
    POSITIVES,
    SITE,
    negatives_from,
    pair,
    site_name,
)
from moiety.runtime.study.report.table import Column, Row, Table
from moiety.runtime.study.report.words import Value, fixed, listed, probability, said, signed
from moiety.runtime.study.statistics.analysis import Analysis, Area, Discrimination
from moiety.runtime.study.table import Study

SECURE = Swatch("secure", "dot", "secure")
CLEARTEXT = Swatch("cleartext", "ring", "cleartext")
_DIFFERENCE = said(signed(5))
_P = said(probability)

_AREA_COLUMNS = (
    Column("secure_auroc", "AUROC, secure", AREA),
    Column("secure_standard_error", "Standard error", ERROR),
    Column("secure", "95 % CI", AREA, interval=True),
    Column("secure_bootstrap", "Bootstrap 95 % CI", AREA, interval=True),
    Column("cleartext_auroc", "AUROC, cleartext", AREA),
    Column("cleartext_standard_error", "Standard error", ERROR),
    Column("cleartext", "95 % CI", AREA, interval=True),
    Column("cleartext_bootstrap", "Bootstrap 95 % CI", AREA, interval=True),
)
_DIFFERENCE_COLUMNS = (
    Column("difference", "Difference", _DIFFERENCE),
    Column("standard_error", "Standard error", ERROR),
    Column("difference", "95 % CI", _DIFFERENCE, interval=True),
    Column("bootstrap", "Bootstrap 95 % CI", _DIFFERENCE, interval=True),
    Column("z", "Z", said(fixed(2))),
    Column("p", "P", _P),
    Column("p_holm", "P, Holm", _P),
    Column("difference_90", "90 % CI", _DIFFERENCE, interval=True),
    Column("p_equivalence", "P, equivalence", _P),
    Column("equivalent", "Equivalent"),
)


def section(study: Study, analysis: Analysis) -> Section | None:
    found = analysis.discrimination
    if not found:
        return None
    whole = overall(analysis)
    blocks: list[Block] = [_forests(analysis, whole), _areas("auroc", whole, "all images together")]
    if _compared(whole):
        blocks.append(_comparisons("differences", whole, "all images together"))
    if analysis.curves:
        blocks += [Heading("ROC curves"), *_curves(analysis)]
    if len(found) > len(whole):
        blocks += [Heading("By site"), *_by_site(found)]
    return Section("discrimination", "Discrimination", blocks)


def overall(analysis: Analysis) -> list[Discrimination]:
    """Of all images together, label by label."""
    return [each for each in analysis.discrimination if each.counts.site is None]


def _compared(found: Sequence[Discrimination]) -> bool:
    return any(each.comparison for each in found)


def _forests(analysis: Analysis, whole: Sequence[Discrimination]) -> Gallery:
    lines = [_line(each, each.counts.label) for each in whole]
    pictures = [Picture(forest("forest", "AUROC by label", "AUROC", lines, chance=0.5), "AUROC")]
    if not _compared(whole):
        return Gallery("AUROC with 95 % CI, all images together.", pictures, (SECURE,))
    named = "AUROC, secure minus cleartext"
    differences = [_difference(each) for each in whole]
    pictures.append(
        Picture(margins("margin", named, named, differences, analysis.margin), "Difference")
    )
    caption = (
        "All images together. Left, AUROC with 95 % CI. Right, the difference with its 90 % CI: an "
        f"interval inside the band of ±{analysis.margin:g} shows equivalence."
    )
    legend = (SECURE, CLEARTEXT, Swatch("margin", "band", "margin of equivalence"))
    return Gallery(caption, pictures, legend)


def _estimate(area: Area | None) -> Estimate | None:
    return Estimate(area.auroc, area.low, area.high) if area else None


def _line(each: Discrimination, name: str) -> Line:
    return Line(name, _estimate(each.secure), _estimate(each.cleartext))


def _difference(each: Discrimination) -> Line:
    if each.comparison is None:
        return Line(each.counts.label)
    tost = each.comparison.equivalence
    return Line(each.counts.label, Estimate(each.comparison.difference, tost.low_90, tost.high_90))


def _areas(key: str, found: Sequence[Discrimination], where: str) -> Table:
    """Without cleartext scores their columns are left out; without a bootstrap, its."""
    values = [(*_area_values(each.secure), *_area_values(each.cleartext)) for each in found]
    return _table(key, f"AUROC, {where}", _AREA_COLUMNS, found, values)


def _area_values(area: Area | None) -> tuple[Value, ...]:
    if area is None:
        return (None,) * 4
    return area.auroc, area.standard_error, (area.low, area.high), pair(area.resampled)


def _comparisons(key: str, found: Sequence[Discrimination], where: str) -> Table:
    caption = f"AUROC, secure minus cleartext, {where}"
    return _table(key, caption, _DIFFERENCE_COLUMNS, found, [_compare(each) for each in found])


def _compare(each: Discrimination) -> tuple[Value, ...]:
    if each.comparison is None:
        return (None,) * len(_DIFFERENCE_COLUMNS)
    c, tost = each.comparison, each.comparison.equivalence
    return (
        *(c.difference, c.standard_error, (c.low, c.high), pair(c.resampled), c.z, c.p, c.p_holm),
        *((tost.low_90, tost.high_90), tost.p, "yes" if tost.equivalent else "not shown"),
    )


def _table(
    key: str,
    caption: str,
    columns: Sequence[Column],
    found: Sequence[Discrimination],
    values: Sequence[tuple[Value, ...]],
) -> Table:
    """A row for each, named by its label, and where sites are told apart by these too. Columns
    that would be empty in every row are left out.
    """
    by_site = any(each.counts.site is not None for each in found)
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in values)] or [0]
    heads = (LABEL, SITE, POSITIVES, NEGATIVES, NEGATIVES_FROM)
    rows = []
    for each, row in zip(found, values, strict=True):
        counts = each.counts
        head: tuple[Value, ...] = (counts.label, counts.positives, counts.negatives)
        if by_site:
            head = (counts.label, counts.site, *head[1:], negatives_from(counts))
        rows.append(Row((*head, *(row[i] for i in kept)), each.reason))
    chosen = heads if by_site else (LABEL, POSITIVES, NEGATIVES)
    return Table(key, caption, (*chosen, *(columns[i] for i in kept)), rows, 1 + by_site)


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


def _by_site(found: Sequence[Discrimination]) -> list[Block]:
    pictures = []
    lowest = min((a.low for d in found for a in (d.secure, d.cleartext) if a), default=0.5)
    labels = dict.fromkeys(each.counts.label for each in found)
    for number, label in enumerate(labels):
        lines = [
            _line(each, site_name(each.counts.site))
            for each in found
            if each.counts.label == label and each.secure is not None
        ]
        if len(lines) > 1:
            title = f"AUROC of {label} by site"
            drawn = forest(f"sites-{number}", title, "AUROC", lines, chance=0.5, floor=lowest)
            pictures.append(Picture(drawn, label))
    blocks: list[Block] = []
    if pictures:
        legend = (SECURE, CLEARTEXT) if _compared(found) else (SECURE,)
        caption = "AUROC with 95 % CI; sites where it could be computed, on one scale."
        blocks.append(Gallery(caption, pictures, legend))
    blocks.append(_areas("auroc-by-site", found, "by site"))
    if _compared(found):
        blocks.append(_comparisons("differences-by-site", found, "by site"))
    return blocks
