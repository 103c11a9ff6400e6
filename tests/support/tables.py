"""Studies to make statistics of, drawn without any computation between parties."""

from __future__ import annotations

import numpy as np

from moiety.runtime.party.metering import StepCost
from moiety.runtime.program.policy import Policy
from moiety.runtime.study.table import AggregateResult, Names, Resources, Study, StudyTable

LABELS = ("effusion", "edema")


def drawn_table(images: int = 240, change: float = 0.01, seed: int = 0) -> StudyTable:
    """Two labels at two sites, two images of a patient, one truth of eight unknown; secure scores
    are the cleartext ones, changed by noise of this size.
    """
    rng = np.random.default_rng(seed)
    truth = (rng.random((images, 2)) < (0.3, 0.5)).astype(float)
    reference = rng.normal(size=(images, 2)) + 1.2 * truth - 0.5
    secure = reference + change * rng.normal(size=(images, 2))
    truth[rng.random((images, 2)) < 0.125] = np.nan
    return StudyTable(
        LABELS,
        truth,
        secure,
        reference,
        np.array(["north", "south"])[(rng.random(images) < 0.4).astype(int)],
        np.array([f"patient {number // 2}" for number in range(images)]),
    )


def resources(sites: Names) -> Resources:
    """Of as many images: i, i + 1 and so on of everything."""
    numbers = np.arange(1.0, len(sites) + 1)
    by_kind = {"linear": StepCost(3, 2, 10, 20, 4), "relu": StepCost(9, 6, 30, 40, 8)}
    return Resources(
        numbers,
        numbers + 1,
        numbers + 2,
        numbers * 1000,
        numbers * 2000,
        numbers * 10,
        sites,
        by_kind,
        client_memory=7,
        server_memory=8,
        begun="2026-11-25T12:00:00.000Z",
        wall_seconds=99.0,
        sessions=2,
    )


def study_of(table: StudyTable, policy: Policy | None = None, bootstrap: int = 60) -> Study:
    """With few resamples, so that it is quick."""
    facts = {"model": "a model"}
    return Study(
        "a study",
        policy or Policy(),
        facts,
        resources(table.sites),
        table,
        excluded={"no image": 3},
        bootstrap=bootstrap,
    )


def aggregate_study(results: tuple[AggregateResult, ...], sites: Names) -> Study:
    """What an aggregate policy leaves."""
    return Study("a study", Policy(reveal="aggregate"), {}, resources(sites), aggregate=results)
