"""From a cohort and its journal to what statistics and report are made from (table.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moiety.protocols.arrays import F64
from moiety.runtime.intake.text import printable
from moiety.runtime.party.metering import StepCost
from moiety.runtime.results.record import ImageResult
from moiety.runtime.study.cohort import CohortList, Listed
from moiety.runtime.study.journal import Image, Journal
from moiety.runtime.study.prepare import Prepared
from moiety.runtime.study.reference import Reference
from moiety.runtime.study.scores import Scored
from moiety.runtime.study.table import Resources, StudyTable


@dataclass(frozen=True)
class Finished:
    """Lines of a cohort that have a result, in the order of the list."""

    lines: tuple[Listed, ...]
    images: tuple[Image, ...]

    @property
    def results(self) -> tuple[ImageResult, ...]:
        return tuple(image.result for image in self.images)

    @property
    def sites(self) -> Sequence[str]:
        return [line.site for line in self.lines]


def finished_of(lines: Sequence[Listed], keys: Sequence[str], journal: Journal) -> Finished:
    """keys: of the lines, by which the journal has them."""
    pairs = [
        (line, journal.images[key])
        for line, key in zip(lines, keys, strict=True)
        if key in journal.images
    ]
    return Finished(tuple(line for line, _ in pairs), tuple(image for _, image in pairs))


def table_of(
    finished: Finished, cohort: CohortList, scored: Scored, reference: Reference | None
) -> StudyTable:
    """A row per image."""
    wide = len(cohort.labels)
    return StudyTable(
        labels=cohort.labels,
        truth=_matrix([line.truth for line in finished.lines], wide),
        scores=_matrix([scored.of_image(r, cohort.labels) for r in finished.results], wide),
        reference=_matrix([reference.scores[line.line] for line in finished.lines], wide)
        if reference
        else None,
        sites=np.array(finished.sites, dtype=np.str_),
        patients=np.array([line.patient for line in finished.lines], dtype=np.str_),
        kind=scored.kind,
    )


def resources_of(finished: Finished, journal: Journal) -> Resources:
    """What its images took."""
    results = finished.results
    by_kind: dict[str, StepCost] = {}
    for result in results:
        for kind, cost in result.by_step_kind.items():
            by_kind.setdefault(kind, StepCost()).add(cost)
    return Resources(
        seconds=_column([result.seconds for result in results]),
        client_cpu=_column([result.cpu_seconds for result in results]),
        server_cpu=_column([result.server.cpu_seconds for result in results]),
        sent=_column([result.bytes_sent for result in results]),
        received=_column([result.bytes_received for result in results]),
        flights=_column([result.flights for result in results]),
        sites=np.array(finished.sites, dtype=np.str_),
        by_kind=by_kind,
        client_memory=max((result.peak_rss for result in results), default=0),
        server_memory=max((result.server.peak_rss for result in results), default=0),
        begun=journal.head.started,
        wall_seconds=math.fsum(journal.wall),
        sessions=max((part.sessions for part in journal.parts), default=1),
    )


def facts_of(prepared: Prepared, journal: Journal) -> Mapping[str, str]:
    """The head of a report, in order."""
    head, program = journal.head, prepared.plan.program
    releases = ", ".join(f"{what} {release}" for what, release in head.releases.items())
    return {
        "Model": printable(program.name),
        "Model version": printable(program.model_version) or "not said",
        "Program": program.digest(),
        "Rounding": program.rounding,
        "Revealed to the hospital": program.policy.reveal,
        "Uncertain labels (-1)": _uncertain(prepared),
        "Margin of equivalence": _margin(prepared.options.margin, head.margin),
        "Machine": head.machine,
        "Releases": releases,
    }


def _uncertain(prepared: Prepared) -> str:
    """How many of the whole list, and how they were taken."""
    count = prepared.cohort.uncertain
    return f"{count}, taken as {prepared.options.columns.uncertain}" if count else "none"


def _margin(margin: float, begun: float | None) -> str:
    """A margin that is chosen after the results are known shows nothing: the reader is told."""
    if begun is None:
        return f"±{margin:g} in AUROC; not known whether from the beginning"
    if margin == begun:
        return f"±{margin:g} in AUROC, from the beginning of the study"
    return f"±{margin:g} in AUROC, chosen later: the study was begun with ±{begun:g}"


def _matrix(rows: Sequence[Sequence[float]], wide: int) -> F64:
    return np.array(rows, dtype=np.float64).reshape(len(rows), wide)


def _column(values: Sequence[float]) -> F64:
    return np.array(values, dtype=np.float64)
