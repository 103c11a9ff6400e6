"""What a study of an `aggregate` policy keeps: of each image a share at either party, under an id
that both derive alike, and at the end what is revealed of the whole cohort.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import msgspec
import numpy as np

from moiety.protocols.aggregate import counts
from moiety.protocols.aggregate.auroc import Sums, auroc_of, possible, reveal, sum_up
from moiety.protocols.aggregate.counts import Counts
from moiety.protocols.aggregate.marks import NEGATIVE, POSITIVE
from moiety.protocols.aggregate.quorum import Quorum
from moiety.protocols.aggregate.sealed import Sealed
from moiety.protocols.arrays import BOOL, U8, U64
from moiety.protocols.errors import BadInput, PeerMismatch
from moiety.protocols.session import Session
from moiety.runtime.party.metering import RunCost, StepWatch, peak_rss
from moiety.runtime.program import Output, Program
from moiety.runtime.program.progress import Progress, no_progress

AGGREGATE = "aggregate"
"""Stands for the work on a whole cohort among the kinds of steps."""
ID_BYTES = 16
FEWEST = 2
"""Images of a cohort."""

Told = Sums | Counts
"""What is revealed of a label."""

_ID = re.compile(r"[0-9a-f]{32}")


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One image's outputs, which nobody has seen. `run`: 32 hexadecimal digits, under which the
    server keeps its share of them; `share`: this party's, ring elements of the Program's Output. As
    secret as the outputs where somebody has the other party's, too.
    """

    run: str
    share: tuple[int, ...]


@dataclass(frozen=True)
class AggregateResult:
    """Of one `label`, what an `aggregate` policy reveals, and how many `positives` and `negatives`
    stood behind it (the hospital's own labels): `auroc` and its DeLong `standard_error`; or, where
    its figures are counts, how many images above the vendor's threshold have the label,
    `true_positives`, and how many do not, `false_positives`. None where it has too few for the
    policy, and where the policy reveals the others.
    """

    label: str
    positives: int
    negatives: int
    auroc: float | None = None
    standard_error: float | None = None
    true_positives: int | None = None
    false_positives: int | None = None


# --- the ids of runs ------------------------------------------------------------------------------


def is_id(text: str) -> bool:
    """Whether it is 128 bits in hexadecimal, as the ids of cohorts and of runs are."""
    return _ID.fullmatch(text) is not None


def run_ids(binding: bytes, index: int, images: int) -> list[bytes]:
    """The ids of the images from number `index` on of the connection with this binding
    (handshake.binding): both parties' fresh randomness and all that they said is hashed in, so no
    two images of any connections have the same, and neither party chooses.
    """
    return [
        hashlib.sha256(b"moiety kept" + binding + number.to_bytes(8, "little")).digest()[:ID_BYTES]
        for number in range(index, index + images)
    ]


# --- the aggregate --------------------------------------------------------------------------------


def check_reveals_images(program: Program) -> None:
    """Raises `BadInput` where no image has results of its own."""
    if not program.policy.tells_of_images:
        raise BadInput(
            "this Program's policy is `aggregate`: no image has results of its own, so there is "
            "nothing to infer; run a whole cohort with its labels through moiety evaluate"
        )


def scores_of(program: Program) -> Output:
    """The output whose elements are the labels' scores."""
    (output,) = program.outputs.values()
    return output


def label_names(program: Program) -> tuple[str, ...]:
    """Of the scores: the result's labels, `output 2` where the model has none."""
    count = math.prod(scores_of(program).shape)
    given = program.results()[0].labels
    return given if len(given) == count else tuple(f"output {index}" for index in range(count))


def check_cohort(
    program: Program, runs: Sequence[str], shares: U64, positives: BOOL, negatives: BOOL
) -> None:
    """Raises `BadInput` unless this can be a cohort of the Program's."""
    most, labels = program.policy.images, math.prod(scores_of(program).shape)
    if not FEWEST <= len(runs) <= most:
        raise BadInput(
            f"a cohort of {len(runs)} images; this Program's policy allows {FEWEST} to {most}"
        )
    if not all(map(is_id, runs)) or len(set(runs)) < len(runs):
        raise BadInput("the ids of a cohort's runs are 32 hexadecimal digits each, each given once")
    shapes = {each.shape for each in (shares, positives, negatives)}
    if shapes != {(len(runs), labels)}:
        raise BadInput(
            f"shares and labels of {len(runs)} images and {labels} outputs are arrays "
            f"({len(runs)}, {labels}), not {sorted(shapes)}"
        )
    if np.any(positives & negatives):
        raise BadInput("an image cannot be positive and negative for one label")


def aggregate(
    session: Session,
    program: Program,
    shares: U64,
    marks: U8 | None,
    before_revealing: Callable[[], None] = lambda: None,
    progress: Progress = no_progress,
) -> tuple[Sequence[Told | None] | None, RunCost]:
    """Of each label what the policy reveals, None at the server, and what it cost this party.
    `shares`, uint64 `(n, L)`, are this party's of the images, in the order that both have them;
    `marks`, uint8 `(L, n)`, the client's. `before_revealing` runs before the first message from
    which the client learns anything.
    """
    policy, output = program.policy, scores_of(program)
    least = Quorum(policy.positives, policy.negatives)
    cost, meter = RunCost(images=0), session.channel.meter
    watch = StepWatch(meter, cost)

    def done(pairs: int, total: int) -> None:
        progress(pairs, total, "pairs of images")

    with meter.labelled(AGGREGATE):
        by_label = np.ascontiguousarray(shares.T)
        opens: Callable[[Session, Sealed], Sequence[Told | None] | None]
        if policy.counts:
            sealed, opens = counts.count_up(session, by_label, least, marks), counts.reveal
        else:
            sealed = sum_up(session, by_label, output.bits, least, marks, done)
            opens = reveal
        session.channel.flush()
        before_revealing()
        told = opens(session, sealed)
        session.channel.flush()
        watch.lap(AGGREGATE)
    cost.peak_rss = peak_rss()
    return told, cost


def results_of(
    names: Sequence[str], told: Sequence[Told | None], marks: U8
) -> Iterator[AggregateResult]:
    """What the client makes of what it was told, label by label. Raises `PeerMismatch` for sums
    that no scores have, and for counts that no decisions have.
    """
    for name, found, row in zip(names, told, marks, strict=True):
        positives, negatives = (int(np.sum(row == mark)) for mark in (POSITIVE, NEGATIVE))
        yield _result(name, found, positives, negatives)


def _result(name: str, told: Told | None, positives: int, negatives: int) -> AggregateResult:
    match told:
        case None:
            return AggregateResult(name, positives, negatives)
        case Counts(true, false):
            if not counts.possible(told, positives, negatives):
                _refuse(name, "are no counts of its images")
            return AggregateResult(
                name, positives, negatives, true_positives=true, false_positives=false
            )
        case Sums():
            if not possible(told, positives, negatives):
                _refuse(name, "is no AUROC")
            found = auroc_of(told, positives, negatives)
            error = math.sqrt(found.variance)
            return AggregateResult(name, positives, negatives, float(found.area), error)


def _refuse(name: str, how: str) -> NoReturn:
    raise PeerMismatch(
        f"what was revealed of {name} {how}: the two sides' shares do not belong together, or the "
        "server does not follow the protocol. The cohort is spent; ask the vendor"
    )
