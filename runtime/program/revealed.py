"""What a policy means for a Program: the steps that its output must read, what the revealed numbers
stand for, and the policy in words.

Both parties check it before anything is sent, so none reveals or expects more than the policy says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from moiety.protocols.aggregate.counts import DECISION_BITS
from moiety.protocols.aggregate.placements import MAX_BITS
from moiety.protocols.errors import BadArtifact
from moiety.runtime.program.expression.base import SCORES, Reading
from moiety.runtime.program.expression.expression import ResultForm
from moiety.runtime.program.policy import Policy, Reveal
from moiety.runtime.program.steps.base import Shape, Step
from moiety.runtime.program.steps.decisions import Argmax, Count
from moiety.runtime.program.steps.ends import Output

COUNTED_BITS: Final = DECISION_BITS
"""Of the ring of an output whose decisions are counted."""
MADE_BY: Final[dict[Reveal, type[Step] | None]] = {
    "scores": None,
    "probabilities": Count,
    "top-1": Argmax,
    "decision": Count,
    "aggregate": None,
}
"""Policy -> the kind of step that its output reads; None: any that makes values. Where decisions of
a cohort are counted, it reads these.
"""


@dataclass(frozen=True)
class End:
    """An output, the step whose value it reveals, and the first operand of that."""

    output: Output
    source: Step
    operand: Step

    @property
    def choices(self) -> int:
        """Thresholds that are counted, or values among which the largest is found."""
        return self.operand.shape[0]


def check_revealed(policy: Policy, ends: Sequence[End]) -> None:
    """BadArtifact unless the outputs reveal what the policy says, no more and nothing else."""
    wanted = MADE_BY["decision" if policy.counts else policy.reveal]
    for end in ends:
        told = isinstance(end.source, Argmax | Count)
        if told if wanted is None else not isinstance(end.source, wanted):
            _refuse(policy, end, f"reveals what a step of kind {end.source.kind} makes")
    if policy.reveal == "scores":
        return
    if len(ends) != 1:
        raise BadArtifact(
            f"the Program's policy is to reveal {policy.reveal}, which is of one output, and it "
            f"has {len(ends)}"
        )
    (end,) = ends
    if policy.reveal == "aggregate":
        if len(end.output.shape) != 1:
            _refuse(policy, end, f"has the shape {end.output.shape}, and is no vector")
        if not policy.counts and end.output.bits > MAX_BITS:
            _refuse(policy, end, f"has {end.output.bits} bits, which leaves none for differences")
        if policy.counts and end.output.bits != COUNTED_BITS:
            _refuse(
                policy,
                end,
                f"has {end.output.bits} bits; decisions that are counted have {COUNTED_BITS}",
            )
    if policy.reveal != "aggregate" or policy.counts:
        _check_told(policy, end)


def _check_told(policy: Policy, end: End) -> None:
    """Where something else than values is revealed."""
    if policy.decides and end.choices != 1:
        _refuse(policy, end, f"reveals how many of {end.choices} thresholds are reached")
    steps = end.choices if policy.reveal == "probabilities" else 1
    if end.output.scale != 1 / steps:
        _refuse(policy, end, f"has the scale {end.output.scale:g}, which is not 1/{steps}")
    if end.output.expected is not None:
        _refuse(policy, end, "says where scores are expected")


def _refuse(policy: Policy, end: End, how: str) -> NoReturn:
    raise BadArtifact(
        f"the Program's policy is to reveal {policy.reveal}, but its output {end.output.name!r} "
        f"{how}"
    )


def check_results(policy: Policy, results: Sequence[ResultForm], revealed: Sequence[Shape]) -> None:
    """BadArtifact unless labels can be told from one another where scores stay shared."""
    if policy.reveal == "aggregate" and [each.size for each in results] != [revealed[0][0]]:
        raise BadArtifact("an aggregate is of one result with a value for each of its scores")


def reading(policy: Policy, ends: Sequence[End]) -> Reading:
    """What the revealed numbers stand for, where `check_revealed` has passed."""
    if policy.reveal == "probabilities":
        return Reading(probabilities=True)
    if policy.decides:
        return Reading("boolean")
    if policy.reveal == "top-1":
        return Reading("integer", places=ends[0].choices)
    return SCORES


def in_words(policy: Policy, ends: Sequence[End]) -> str:
    """What the client learns of the scores, for people."""
    match policy.reveal:
        case "scores":
            return "scores: of each image, as the network computes them"
        case "probabilities":
            return f"probabilities: of each image, in steps of 1/{ends[0].choices}; no scores"
        case "top-1":
            return (
                f"top-1: of each image, which of {ends[0].choices} values is the largest; nothing "
                "else"
            )
        case "decision":
            return (
                "decision: of each image, which values are above the vendor's secret thresholds; "
                "nothing else"
            )
        case "aggregate":
            return f"aggregate: {_cohort_in_words(policy)}"


def _cohort_in_words(policy: Policy) -> str:
    quota = "as many as the access file says"
    if policy.cohorts is not None:
        quota = f"{policy.cohorts} cohort{'s' if policy.cohorts != 1 else ''} at most"
    figures = "the AUROC of each label and its standard error"
    if policy.counts:
        figures = (
            "how many images with and without each label are above the vendor's secret threshold"
        )
    return (
        f"nothing of any image; of a cohort {figures}, from "
        f"{policy.positives} images with the label and {policy.negatives} without on, up to "
        f"{policy.images} images in all; {quota}"
    )
