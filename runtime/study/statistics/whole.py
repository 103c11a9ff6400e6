"""A study to its Analysis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from moiety.protocols.errors import BadInput, ContractViolation
from moiety.runtime.program.policy import Reveal
from moiety.runtime.study.statistics.agreement import ALL_LABELS, agreement
from moiety.runtime.study.statistics.analysis import Agreement, Analysis, Differences
from moiety.runtime.study.statistics.calibration import Scale, calibration
from moiety.runtime.study.statistics.curves import curve, differences, histogram
from moiety.runtime.study.statistics.decisions import decisions, largest, of_counts, top_one
from moiety.runtime.study.statistics.discrimination import discriminated, of_aggregate
from moiety.runtime.study.statistics.methods import doubts, methods, notes
from moiety.runtime.study.statistics.places import check, columns, unit_of, with_results
from moiety.runtime.study.statistics.resampling import Bootstrap
from moiety.runtime.study.statistics.resources import resource_use
from moiety.runtime.study.table import Kind, Names, Study, StudyTable

KIND_OF_POLICY: Final[dict[Reveal, Kind]] = {
    "probabilities": "probabilities",
    "decision": "decisions",
    "top-1": "choices",
}
SCALES: Final[dict[Kind, Scale]] = {"logits": "sigmoid", "probabilities": "identity"}


def analyse(study: Study) -> Analysis:
    """All numbers of the report: a function of the study alone, whose parts but `resources` are one
    of its results alone. BadInput, naming the label, for scores, truths or decisions that no
    statistic can be made of.
    """
    if not study.margin > 0:
        raise BadInput(f"a margin of equivalence of {study.margin:g}: it must be above 0")
    if study.table is not None:
        table = study.table
        if table.kind == "logits":
            table = replace(table, kind=KIND_OF_POLICY.get(study.policy.reveal, "logits"))
        return _of_table(replace(study, table=table), table)
    if study.aggregate is None:
        raise ContractViolation("a study has a table or an aggregate")
    told, images = study.aggregate, study.resources.sites.size
    counts = study.policy.counts
    return Analysis(
        **_common(study, study.resources.sites, None),
        labels=tuple(each.label for each in told),
        resampled="image",
        probabilities=None,
        notes=(),
        discrimination=() if counts else tuple(of_aggregate(each, images) for each in told),
        decisions=tuple(of_counts(each, images) for each in told) if counts else (),
    )


def _of_table(study: Study, given: StudyTable) -> Analysis:
    check(given)
    table = with_results(given)
    unit = unit_of(table)
    patients = len(np.unique(table.patients)) if unit == "patient" else None
    if not table.images:
        parts, counts = {}, ()
    elif table.kind in ("decisions", "choices"):
        parts = _decided(table)
        counts = tuple(each.counts for each in parts["decisions"])
    else:
        parts = _scored(study, table)
        counts = tuple(each.counts for each in parts["discrimination"])
    return Analysis(
        **_common(study, table.sites, patients),
        labels=table.labels,
        resampled=unit,
        probabilities=SCALES.get(table.kind),
        notes=notes(table, given.images - table.images, counts),
        **parts,
    )


def _common(study: Study, sites: Names, patients: int | None) -> dict[str, Any]:
    names, counts = np.unique(sites[sites != ""], return_counts=True)
    return {
        "policy": study.policy.reveal,
        "images": sites.size,
        "patients": patients,
        "sites": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
        "excluded": dict(study.excluded),
        "margin": study.margin,
        "bootstrap": study.bootstrap,
        "seed": study.seed,
        "methods": methods(study),
        "resources": resource_use(study.resources),
    }


def _scored(study: Study, table: StudyTable) -> dict[str, Any]:
    """Of logits and probabilities."""
    bootstrap = Bootstrap(study.bootstrap, study.seed)
    of_labels = columns(table)
    scale = SCALES.get(table.kind)
    agreeing, differing = _agreeing(table)
    return {
        "discrimination": discriminated(of_labels, bootstrap, study.margin),
        "agreement": agreeing,
        "doubts": doubts(table),
        "curves": tuple(curve(column) for column in of_labels),
        "histograms": tuple(histogram(column) for column in of_labels),
        "differences": differing,
        "calibration": tuple(calibration(column, scale, bootstrap) for column in of_labels)
        if scale
        else (),
    }


def _agreeing(table: StudyTable) -> tuple[tuple[Agreement, ...], tuple[Differences, ...]]:
    """Of all labels together, then of each."""
    if table.reference is None:
        return (), ()
    pairs = [(ALL_LABELS, table.scores, table.reference)]
    pairs += [
        (label, table.scores[:, number], table.reference[:, number])
        for number, label in enumerate(table.labels)
    ]
    return (
        tuple(agreement(*pair) for pair in pairs),
        tuple(differences(label, *map(np.ravel, both)) for label, *both in pairs),
    )


def _decided(table: StudyTable) -> dict[str, Any]:
    """Of decisions and choices; of the latter the reference's largest score counts."""
    if table.kind == "decisions":
        return {"decisions": decisions(columns(table))}
    reference = None if table.reference is None else largest(table.reference)
    table = replace(table, reference=reference)
    return {"decisions": decisions(columns(table)), "top_one": top_one(table)}
