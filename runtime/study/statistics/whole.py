"""A study to its Analysis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from moiety.protocols.errors import ContractViolation
from moiety.runtime.study.statistics.agreement import ALL_LABELS, agreement
from moiety.runtime.study.statistics.analysis import Agreement, Analysis, Differences
from moiety.runtime.study.statistics.calibration import Scale, calibration
from moiety.runtime.study.statistics.curves import curve, differences, histogram
from moiety.runtime.study.statistics.decisions import decisions, largest, top_one
from moiety.runtime.study.statistics.discrimination import discriminated, of_aggregate
from moiety.runtime.study.statistics.methods import methods, notes
from moiety.runtime.study.statistics.places import check, columns, unit_of, with_results
from moiety.runtime.study.statistics.resampling import Bootstrap
from moiety.runtime.study.statistics.resources import resource_use
from moiety.runtime.study.table import Names, Study, StudyTable


def analyse(study: Study) -> Analysis:
    """All numbers of the report: a function of the study alone, whose parts but `resources` are one
    of its results alone. BadInput, naming the label, for scores, truths or decisions that no
    statistic can be made of.
    """
    if study.table is not None:
        return _of_table(study, study.table)
    if study.aggregate is None:
        raise ContractViolation("a study has a table or an aggregate")
    return Analysis(
        **_common(study, study.resources.sites, None),
        labels=tuple(each.label for each in study.aggregate),
        resampled="image",
        probabilities=None,
        notes=(),
        discrimination=tuple(of_aggregate(each) for each in study.aggregate),
    )


def _of_table(study: Study, given: StudyTable) -> Analysis:
    check(given, study.policy.reveal)
    table = with_results(given)
    unit = unit_of(table)
    patients = len(np.unique(table.patients)) if unit == "patient" else None
    if not table.images:
        parts, counts = {}, ()
    elif study.policy.reveal in ("decision", "top-1"):
        parts = _decided(study, table)
        counts = tuple(each.counts for each in parts["decisions"])
    else:
        parts = _scored(study, table)
        counts = tuple(each.counts for each in parts["discrimination"])
    return Analysis(
        **_common(study, table.sites, patients),
        labels=table.labels,
        resampled=unit,
        probabilities=_scale(study, table),
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


def _scale(study: Study, table: StudyTable) -> Scale | None:
    if study.policy.reveal in ("decision", "top-1"):
        return None
    return "identity" if table.probabilities else "sigmoid"


def _scored(study: Study, table: StudyTable) -> dict[str, Any]:
    """Of policies `scores` and `probabilities`."""
    bootstrap = Bootstrap(study.bootstrap, study.seed)
    of_labels = columns(table)
    scale: Scale = "identity" if table.probabilities else "sigmoid"
    agreeing, differing = _agreeing(table)
    return {
        "discrimination": discriminated(of_labels, bootstrap, study.margin),
        "agreement": agreeing,
        "curves": tuple(curve(column) for column in of_labels),
        "histograms": tuple(histogram(column) for column in of_labels),
        "differences": differing,
        "calibration": tuple(calibration(column, scale, bootstrap) for column in of_labels),
    }


def _agreeing(table: StudyTable) -> tuple[tuple[Agreement, ...], tuple[Differences, ...]]:
    """Of all labels together, then of each."""
    if table.reference is None:
        return (), ()
    pairs = [(ALL_LABELS, table.scores.ravel(), table.reference.ravel())]
    pairs += [
        (label, table.scores[:, number], table.reference[:, number])
        for number, label in enumerate(table.labels)
    ]
    return (
        tuple(agreement(*pair) for pair in pairs),
        tuple(differences(*pair) for pair in pairs),
    )


def _decided(study: Study, table: StudyTable) -> dict[str, Any]:
    """Of policies `decision` and `top-1`; of the latter the reference's largest score counts."""
    if study.policy.reveal == "decision":
        return {"decisions": decisions(columns(table))}
    reference = None if table.reference is None else largest(table.reference)
    table = replace(table, reference=reference)
    return {"decisions": decisions(columns(table)), "top_one": top_one(table)}
