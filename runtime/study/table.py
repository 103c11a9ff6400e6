"""What statistics and report are made from: one row per image of a finished (or interrupted) study.

Arrays have one row per image and one column per label. A truth that is unknown is NaN, so is a
score that is not there; no array names a patient or a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import F64
from moiety.runtime.party.cohorts import AggregateResult
from moiety.runtime.party.metering import StepCost
from moiety.runtime.program.policy import Policy

__all__ = ["AggregateResult", "Kind", "Names", "Resources", "Study", "StudyTable"]

Names = npt.NDArray[np.str_]

TOO_LARGE = 1e100
"""No score is; its square would be infinite."""

Kind = Literal["logits", "probabilities", "scores", "decisions", "choices"]
"""Of scores: any numbers, whose sigmoid is a probability; probabilities; any other numbers; 0 and 1
for each label by itself; 1 for the label that was largest, and 0 for the others.
"""


@dataclass(frozen=True, eq=False)
class StudyTable:
    """labels: the diagnoses, `L` of them. truth, `(n, L)`: 1, 0, NaN for unknown. scores, `(n, L)`:
    what the secure computation gave: scores, probabilities, or of a `decision` policy 0 and 1; of
    `top-1` 1 in the column that was largest. reference, `(n, L)`: the cleartext model's, where the
    hospital was given them. sites, patients, `(n,)`: "" where the cohort's list names none.
    kind: what scores are.
    """

    labels: tuple[str, ...]
    truth: F64
    scores: F64
    reference: F64 | None
    sites: Names
    patients: Names
    kind: Kind = "logits"

    @property
    def images(self) -> int:
        return self.truth.shape[0]


@dataclass(frozen=True, eq=False)
class Resources:
    """What the images took, a row each: `(n,)` seconds, client's CPU seconds, server's CPU seconds,
    bytes sent and received, flights; `sites` as in the table. by_kind: of all images, the client's
    cost by kind of step. client_memory, server_memory: peak resident bytes of one process.
    begun: when, UTC. wall_seconds: of all parts of the study, without pauses between them.
    sessions: at a time.
    """

    seconds: F64
    client_cpu: F64
    server_cpu: F64
    sent: F64
    received: F64
    flights: F64
    sites: Names
    by_kind: Mapping[str, StepCost]
    client_memory: int
    server_memory: int
    begun: str
    wall_seconds: float
    sessions: int


@dataclass(frozen=True, eq=False)
class Study:
    """All that a report is made from. `name`: for its title. `policy`: the Program's. `facts`:
    words for its head, in order (model, version, Program digest, rounding, policy, machine,
    releases). `resources`: what it took. excluded: reason -> number of images that were left out
    before anything was sent. margin: of the equivalence statement, in AUROC. `bootstrap`:
    resamples, drawn from `seed`. Exactly one of `table` and `aggregate` is given.
    """

    name: str
    policy: Policy
    facts: Mapping[str, str]
    resources: Resources
    table: StudyTable | None = None
    aggregate: tuple[AggregateResult, ...] | None = None
    excluded: Mapping[str, int] = field(default_factory=dict)
    margin: float = 0.01
    bootstrap: int = 2000
    seed: int = 0
