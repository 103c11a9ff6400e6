"""The end of a study whose policy is `aggregate`: one question about the whole cohort, whose answer
is in the journal before anybody sees it.

The server destroys its shares before it answers, so there is one answer for a cohort: where it is
lost on the way, or this side dies before it is written, the study has to be run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from moiety.protocols.arrays import BOOL, U64
from moiety.protocols.errors import BadInput, ContractViolation, NetworkFailure
from moiety.runtime.intake.text import printable
from moiety.runtime.party.cohorts import AggregateResult, Kept
from moiety.runtime.program.policy import Policy
from moiety.runtime.program.progress import Progress, no_progress
from moiety.runtime.results.retry import Retries, passing
from moiety.runtime.study.assemble import Finished, finished_of
from moiety.runtime.study.journal import Aggregate, Journal
from moiety.runtime.study.prepare import Prepared

ANSWER_BYTES = 1 << 20
"""In the journal, at most; set aside before the question, because the answer comes once."""


def check_policy(prepared: Prepared) -> None:
    """Raises `BadInput` where the policy would reveal nothing of this cohort, which is the whole
    list: a limit only interrupts it, because the aggregate comes once.
    """
    policy, lines = prepared.plan.program.policy, prepared.lines
    if policy.tells_of_images:
        return
    if len(lines) > policy.images:
        raise BadInput(
            f"a cohort of {len(lines)} images; this Program's policy allows {policy.images}: take "
            "images out of the list"
        )
    counts = [
        (sum(line.truth[at] == 1 for line in lines), sum(line.truth[at] == 0 for line in lines))
        for at in range(len(prepared.cohort.labels))
    ]
    if not any(_enough(policy, *count) for count in counts):
        told = ", ".join(
            f"{printable(label)} {positives} and {negatives}"
            for label, (positives, negatives) in zip(prepared.cohort.labels, counts, strict=True)
        )
        raise BadInput(
            f"this Program's policy reveals a label's figure from {policy.positives} positive and "
            f"{policy.negatives} negative images on, and no label has so many: {told}"
        )


def _enough(policy: Policy, positives: int, negatives: int) -> bool:
    return positives >= policy.positives and negatives >= policy.negatives


def check_unrevealed(prepared: Prepared, journal: Journal) -> None:
    """Raises `BadInput` where the journal has an answer about another cohort."""
    if journal.aggregate is None:
        return
    finished = finished_of(prepared.lines, prepared.keys, journal)
    if not prepared.is_whole(journal) or journal.aggregate.cohort != digest_of(finished):
        raise BadInput(
            f"{printable(journal.path.parent)}: the aggregate of this study is revealed, and the "
            "list has other images or labels by now. Give another folder: that is another cohort, "
            "and counts as one"
        )


def digest_of(finished: Finished) -> str:
    """SHA-256 over images and labels, hexadecimal."""
    state = hashlib.sha256()
    for line, image in zip(finished.lines, finished.images, strict=True):
        state.update(repr((image.key, line.truth)).encode())
    return state.hexdigest()


def ask(
    prepared: Prepared,
    journal: Journal,
    retries: Retries,
    progress: Progress = no_progress,
    on_wait: Callable[[int], None] = lambda ahead: None,
) -> None:
    """Asks, keeps the answer in the journal, and destroys this side's shares. Nothing where it is
    there. Raises as `Connection.aggregate`.
    """
    if journal.aggregate is None:
        finished = finished_of(prepared.lines, prepared.keys, journal)
        with journal.room(ANSWER_BYTES):
            results = _asked(prepared, finished, retries, progress, on_wait)
            wanted = set(prepared.cohort.labels)
            told = tuple(each for each in results if each.label in wanted)
            journal.add(Aggregate(cohort=digest_of(finished), results=told))
    if any(image.result.kept for image in journal.images.values()):
        journal.forget_shares()


def _asked(
    prepared: Prepared,
    finished: Finished,
    retries: Retries,
    progress: Progress,
    on_wait: Callable[[int], None],
) -> tuple[AggregateResult, ...]:
    """As often as it may help."""
    kept = [_kept_of(result.kept) for result in finished.results]
    shares: U64 = np.array([each.share for each in kept], dtype=np.uint64)
    positives, negatives = _choices(prepared, finished)
    failures = 0
    while True:
        try:
            with prepared.plan.connect(on_wait) as connection:
                return connection.aggregate(
                    prepared.plan.cohort,
                    [each.run for each in kept],
                    shares,
                    positives,
                    negatives,
                    progress,
                )
        except NetworkFailure as error:
            failures += 1
            if failures > retries.times or not passing(error, True):
                raise
            pause = retries.pause(error, failures)
            retries.say(f"{error}; asking for the aggregate again in {pause:.0f} s")
            retries.sleep(pause)


def _kept_of(kept: Kept | None) -> Kept:
    if kept is None:
        raise ContractViolation("an image of an aggregate has no share in the journal")
    return kept


def _choices(prepared: Prepared, finished: Finished) -> tuple[BOOL, BOOL]:
    """Which images are positive and which negative, a column for each of the Program's labels; none
    for a label that the list does not have.
    """
    labels = prepared.cohort.labels
    truth = np.array([line.truth for line in finished.lines]).reshape(len(finished.lines), -1)
    wide = np.full((len(finished.lines), len(prepared.scored.labels)), np.nan)
    for at, label in enumerate(labels):
        wide[:, prepared.scored.labels.index(label)] = truth[:, at]
    return wide == 1, wide == 0
