"""How far secure scores are from cleartext ones, image by image."""

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
from moiety.runtime.study.report.sections.columns import (
    IMAGES,
    LABEL,
    P,
    label_name,
    pair,
)
from moiety.runtime.study.report.table import Column, Row, Table
from moiety.runtime.study.report.words import Value, fixed, said, scaled
from moiety.runtime.study.statistics.analysis import Agreement, Analysis
from moiety.runtime.study.table import Study

_ONE_IMAGE = "limits of agreement need two images"


def section(study: Study, analysis: Analysis) -> Section | None:
    if not analysis.agreement:
        return None
    blocks: list[Block] = [
        Prose(
            "Secure minus cleartext score of every image, its label known or not. An image counts "
            "once in the intervals of all labels together."
        ),
        _limits(analysis),
        _sizes(analysis),
    ]
    if "ks" in analysis.methods:
        blocks.append(Prose(analysis.methods["ks"]))
    if analysis.differences:
        blocks += [Heading("Difference plots"), _plots(analysis)]
    return Section("agreement", "Agreement of scores", blocks)


def _limits(analysis: Analysis) -> Table:
    spreads = [e.limits.standard_deviation for e in analysis.agreement if e.limits]
    size, difference = map(said, scaled(spreads))
    columns = (
        Column("bias", "Bias", difference),
        Column("bias", "95 % CI", difference, interval=True),
        Column("standard_deviation", "Standard deviation", size),
        Column("lower_limit", "Lower limit of agreement", difference),
        Column("lower_limit", "95 % CI", difference, interval=True),
        Column("upper_limit", "Upper limit of agreement", difference),
        Column("upper_limit", "95 % CI", difference, interval=True),
    )
    rows = [
        Row((each.label, each.images, *_limits_of(each)), None if each.limits else _ONE_IMAGE)
        for each in analysis.agreement
    ]
    caption = "Bias and limits of agreement (Bland and Altman)"
    return Table("limits-of-agreement", caption, (LABEL, IMAGES, *columns), rows)


def _limits_of(each: Agreement) -> tuple[Value, ...]:
    found = each.limits
    if found is None:
        return (None,) * 7
    return (
        *(found.bias, pair(found.bias_interval), found.standard_deviation),
        *(found.lower, pair(found.lower_interval), found.upper, pair(found.upper_interval)),
    )


def _sizes(analysis: Analysis) -> Table:
    quantiles = list(dict.fromkeys(q for each in analysis.agreement for q in each.quantiles))
    size = said(scaled([each.rms for each in analysis.agreement])[0])
    columns = (
        LABEL,
        IMAGES,
        *(Column(f"quantile_{q}", f"{100 * float(q):g} % within", size) for q in quantiles),
        Column("largest", "Largest", size),
        Column("rms", "Root mean square", size),
        Column("correlation", "Correlation", said(fixed(6))),
        Column("ks", "KS statistic", said(fixed(4))),
        Column("ks_p", "KS, P", P),
    )
    rows = [
        Row(
            (
                *(each.label, each.images, *(each.quantiles.get(q) for q in quantiles)),
                *(each.largest, each.rms, each.correlation, each.ks, each.ks_p),
            ),
            "a score that is the same for all images has no correlation"
            if each.correlation is None
            else None,
        )
        for each in analysis.agreement
    ]
    return Table("agreement", "Size of the differences", columns, rows)


def _plots(analysis: Analysis) -> Gallery:
    limits = {each.label: each.limits for each in analysis.agreement}
    drawn = [
        Picture(
            plots.bland_altman(f"difference-{n}", each, limits.get(each.label)),
            label_name(each.label),
        )
        for n, each in enumerate(analysis.differences)
    ]
    caption = (
        "Differences against the mean of the two scores, in groups of equally many images in place "
        "of a point per image; at the right all differences as a histogram."
    )
    legend = (
        Swatch("secure", "line", "median of a group"),
        Swatch("secure", "haze", "5 % to 95 % of a group"),
        Swatch("ink", "line", "bias"),
        Swatch("cleartext", "dashed", "limits of agreement, with 95 % CI"),
    )
    return Gallery(caption, drawn, legend)
