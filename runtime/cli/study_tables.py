"""What `moiety evaluate` shows of a cohort, of a forecast, of what is done, and of the result."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from moiety.runtime.cli import ui
from moiety.runtime.intake.text import printable
from moiety.runtime.study.assemble import Finished, finished_of
from moiety.runtime.study.cohort import Listed
from moiety.runtime.study.forecast import Forecast, Prices
from moiety.runtime.study.journal import Journal
from moiety.runtime.study.prepare import Prepared

if TYPE_CHECKING:  # it needs the extra `study`, which a dry run does not
    from moiety.runtime.study.statistics.analysis import (
        Analysis,
        Decision,
        Discrimination,
        Proportion,
    )

MANY_SITES = 12
"""More are counted together."""


def cohort_table(prepared: Prepared) -> Table:
    """Per label how many images are positive, negative, unknown; in the last rows the sites."""
    lines = prepared.lines
    shown = ui.table("The cohort", "", "images", "positive", "negative", "unknown", right=4)
    for place, label in enumerate(prepared.cohort.labels):
        values = [line.truth[place] for line in lines]
        unknown = sum(map(math.isnan, values))
        positive = values.count(1.0)
        counts = (len(lines), positive, len(lines) - unknown - positive, unknown)
        shown.add_row(escape(printable(label)), *map(str, counts))
    if prepared.cohort.sites:
        shown.add_section()
        for site, count in _sites(lines):
            shown.add_row(escape(site), str(count), "", "", "")
    return shown


def _sites(lines: Sequence[Listed]) -> list[tuple[str, int]]:
    counts = Counter(line.site for line in lines)
    sites = [(f"site: {printable(site) or 'not said'}", counts[site]) for site in sorted(counts)]
    if len(sites) <= MANY_SITES:
        return sites
    rest = sites[MANY_SITES:]
    return [*sites[:MANY_SITES], (f"{len(rest)} more sites", sum(count for _, count in rest))]


def cohort_lines(prepared: Prepared) -> Iterator[str]:
    """What the table cannot show."""
    cohort = prepared.cohort
    if cohort.missing:
        yield (
            f"left out, because the list has no column for them: {_listed(cohort.missing)} "
            "(--label LABEL=COLUMN where one has another name)"
        )
    if cohort.uncertain:
        taken = prepared.options.columns.uncertain
        yield f"{cohort.uncertain} uncertain values are taken as {taken}"
    if not cohort.sites:
        yield "no column says the site (--site-column): the report has no figures by site"
    if not cohort.patients:
        yield (
            "no column says the patient (--patient-column): images count as independent, and "
            "intervals are too narrow where some are of one person"
        )
    elif nameless := sum(not line.patient for line in prepared.lines):
        yield (
            f"{ui.images(nameless)} of {len(prepared.lines)} without a patient: all images count "
            "as independent, and intervals are too narrow where some are of one person"
        )
    for reason, count in prepared.excluded.items():
        yield f"{ui.images(count)} left out: {reason}"
    reference = prepared.reference
    if reference and reference.unused:
        name = printable(reference.path)
        yield f"{name}: {reference.unused} lines are about other images"


def forecast_table(predicted: Forecast, images: int, sessions: int, prices: Prices) -> Table:
    """For so many images that are still to run."""
    network = predicted.network
    line = f"{network.up / 1e6:,g} Mbit/s, {1e3 * network.rtt:g} ms there and back (--network)"
    shown = ui.facts("What it would take")
    shown.add_row("images to run", str(images))
    shown.add_row("seconds an image", f"{predicted.seconds:.2f} over {line}; {predicted.source}")
    shown.add_row("traffic an image", traffic(predicted.up, predicted.down))
    shown.add_row("in all", traffic(predicted.up * images, predicted.down * images))
    places = min(sessions, images) or 1
    of = f"{places} sessions, each with cores of its own" if places > 1 else "one session"
    shown.add_row("time", f"{duration(predicted.wall(images, sessions))} in {of}")
    if prices.known:
        cost = prices.of(predicted.seconds * images, predicted.nbytes(images))
        shown.add_row("cost", money(cost))
    return shown


def status_line(prepared: Prepared, journal: Journal, prices: Prices) -> str:
    """How far it has come, and what that took."""
    finished = finished_of(prepared.lines, prepared.keys, journal)
    results = finished.results
    seconds = sum(result.seconds for result in results)
    sent = sum(result.bytes_sent for result in results)
    received = sum(result.bytes_received for result in results)
    parts = [
        f"{len(results)} of {ui.images(len(prepared.lines))} finished",
        f"in {duration(sum(journal.wall))}",
        f"{traffic(sent, received)}",
    ]
    if ahead := sum(result.prepared_item is not None for result in results):
        parts.append(f"{ahead} of them prepared ahead")
    if prices.known:
        parts.append(f"cost {money(prices.of(seconds, sent + received))}")
    return ", ".join(parts)


def status_table(prepared: Prepared, journal: Journal) -> Table:
    """By site and in all."""
    finished = finished_of(prepared.lines, prepared.keys, journal)
    shown = ui.table("The study so far", "", "finished", "images", "MB", "s an image", right=4)
    done = Counter(finished.sites)
    for site, count in sorted(Counter(line.site for line in prepared.lines).items()):
        of_site = Finished(
            tuple(line for line in finished.lines if line.site == site),
            tuple(
                image
                for line, image in zip(finished.lines, finished.images, strict=True)
                if line.site == site
            ),
        )
        name = f"site: {printable(site) or 'not said'}"
        shown.add_row(escape(name), str(done[site]), str(count), *_taken(of_site))
    shown.add_section()
    shown.add_row("all", str(len(finished.lines)), str(len(prepared.lines)), *_taken(finished))
    return shown


def _taken(finished: Finished) -> tuple[str, str]:
    """Megabytes in all, and seconds an image."""
    results = finished.results
    if not results:
        return "", ""
    nbytes = sum(result.bytes_sent + result.bytes_received for result in results)
    seconds = sum(result.seconds for result in results) / len(results)
    return f"{nbytes / 1e6:,.1f}", f"{seconds:.2f}"


def result_table(analysis: Analysis) -> Table:
    """The worth of each label over all images; the report has the rest."""
    if not analysis.discrimination:
        return _decision_table(analysis.decisions)
    columns = ["label", "pos.", "neg.", "AUROC", "95 % interval"]
    compared = any(each.comparison for each in analysis.discrimination)
    columns += ["cleartext", "change"] if compared else []
    shown = ui.table("The model on this cohort", *columns, right=len(columns) - 1)
    for each in analysis.discrimination:
        if each.counts.site is None:
            shown.add_row(*_area_row(each)[: len(columns)])
    return shown


def _area_row(each: Discrimination) -> tuple[str, ...]:
    counts = each.counts
    head = (escape(printable(counts.label)), str(counts.positives), str(counts.negatives))
    if each.secure is None:
        return *head, "none", escape(each.reason or ""), "", ""
    area = each.secure
    secure = (f"{area.auroc:.4f}", f"{area.low:.3f} to {area.high:.3f}")
    if each.cleartext is None or each.comparison is None:
        return *head, *secure, "", ""
    return *head, *secure, f"{each.cleartext.auroc:.4f}", f"{each.comparison.difference:+.5f}"


def _decision_table(decisions: Sequence[Decision]) -> Table:
    columns = ("label", "pos.", "neg.", "sensitivity", "specificity")
    shown = ui.table("The model's decisions on this cohort", *columns, right=4)
    for each in decisions:
        if each.counts.site is None:
            shown.add_row(*_decision_row(each))
    return shown


def _decision_row(each: Decision) -> tuple[str, ...]:
    counts = each.counts
    head = (escape(printable(counts.label)), str(counts.positives), str(counts.negatives))
    if each.secure is None:
        return *head, "none", escape(each.reason or "")
    return *head, _proportion(each.secure.sensitivity), _proportion(each.secure.specificity)


def _proportion(found: Proportion) -> str:
    if found.value is None or found.low is None or found.high is None:
        return "none"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def traffic(up: float, down: float) -> str:
    """Bytes to the vendor and back."""
    return f"{ui.megabytes(up)} sent, {ui.megabytes(down)} received"


def money(amount: float) -> str:
    """In hundredths; of less than one of them two digits."""
    return f"{amount:,.2f}" if amount >= 0.01 or amount == 0 else f"{amount:.2g}"


def duration(seconds: float) -> str:
    """`2.5 s`, `45 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.{0 if seconds >= 10 else 1}f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names))
