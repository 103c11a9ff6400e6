"""What the study took: the one section that differs between two runs of the same study."""

from __future__ import annotations

from moiety.runtime.study.report import plots
from moiety.runtime.study.report.page import Block, Gallery, Numbers, Picture, Prose, Section
from moiety.runtime.study.report.sections.columns import IMAGES, PERCENT, SITE
from moiety.runtime.study.report.table import Column, Row, Table
from moiety.runtime.study.report.words import count, counted, duration, fixed, said, size
from moiety.runtime.study.statistics.analysis import Analysis, ResourceUse
from moiety.runtime.study.table import Study

_SECONDS = said(fixed(2))
_BYTES = said(size)
_COST = (
    Column("seconds", "Seconds", _SECONDS),
    Column("seconds_quartiles", "Quartiles", _SECONDS, interval=True),
    Column("client_cpu", "CPU s, client", _SECONDS),
    Column("server_cpu", "CPU s, server", _SECONDS),
    Column("sent", "Sent", _BYTES),
    Column("received", "Received", _BYTES),
    Column("flights", "Flights", count),
)


def section(study: Study, analysis: Analysis) -> Section:
    used = analysis.resources
    blocks: list[Block] = [Prose(_memory(used)), Numbers(_numbers(used)), _per_image(used)]
    if used.by_kind:
        caption = "The client's seconds an image, by kind of step."
        blocks += [Gallery(caption, [Picture(plots.kinds("kinds", used.by_kind))]), _kinds(used)]
    return Section("resources", "Resources", blocks)


def _memory(used: ResourceUse) -> str:
    return (
        f"Begun at {used.begun}. A process of the client took at most {size(used.client_memory)} "
        f"of memory, one of the server {size(used.server_memory)}. Alone in this report, this "
        "section depends on more than results: on machines, network and how often the study was "
        "interrupted."
    )


def _numbers(used: ResourceUse) -> list[tuple[str, str]]:
    sessions = f"in all, {counted(used.sessions, 'session')} at a time"
    found = [(duration(used.wall_seconds), sessions)]
    if used.per_image:
        each = used.per_image[0]
        found += [
            (duration(each.seconds.median), "an image, median"),
            (size(each.sent.median + each.received.median), "an image, both ways, median"),
            (size(each.sent.total + each.received.total), "sent and received in all"),
        ]
    return found


def _per_image(used: ResourceUse) -> Table:
    rows = []
    for each in used.per_image:
        seconds = each.seconds
        time = (seconds.median, (seconds.lower_quartile, seconds.upper_quartile))
        cpu = (each.client_cpu.median, each.server_cpu.median)
        traffic = (each.sent.median, each.received.median, each.flights.median)
        rows.append(Row((each.site, each.images, *time, *cpu, *traffic)))
    return Table("resources", "An image took (medians)", (SITE, IMAGES, *_COST), rows)


def _kinds(used: ResourceUse) -> Table:
    columns = (
        Column("kind", "Kind of step"),
        Column("seconds", "Seconds", _SECONDS),
        Column("share", "Share", PERCENT),
        Column("cpu_seconds", "CPU s", _SECONDS),
        Column("sent", "Sent", _BYTES),
        Column("received", "Received", _BYTES),
        Column("flights", "Flights", said(fixed(0))),
    )
    rows = [
        Row((k.kind, k.seconds, k.share, k.cpu_seconds, k.sent, k.received, k.flights))
        for k in used.by_kind
    ]
    return Table("kinds-of-step", "The client's cost an image, by kind of step", columns, rows)
