"""What a study of an `aggregate` policy keeps: of each image a share at either party, under an id
that both derive alike, and at the end what is revealed of the whole cohort.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from moiety.protocols.aggregate.auroc import (
    Sums,
    auroc_of,
    possible,
    reveal,
    sum_up,
)
from moiety.protocols.aggregate.marks import NEGATIVE, POSITIVE
from moiety.protocols.aggregate.quorum import Quorum
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
    """Of one `label`, what an `aggregate` policy reveals: `auroc`, its DeLong `standard_error`, and
    how many `positives` and `negatives` stood behind it (the hospital's own labels). None where it
    has too few for the policy.
    """

    label: str
    positives: int
    negatives: int
    auroc: float | None
    standard_error: float | None


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
) -> tuple[list[Sums | None] | None, RunCost]:
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
        scores = np.ascontiguousarray(shares.T)
        sealed = sum_up(session, scores, output.bits, least, marks, done)
        session.channel.flush()
        before_revealing()
        told = reveal(session, sealed)
        session.channel.flush()
        watch.lap(AGGREGATE)
    cost.peak_rss = peak_rss()
    return told, cost


def results_of(
    names: Sequence[str], told: Sequence[Sums | None], marks: U8
) -> Iterator[AggregateResult]:
    """What the client makes of what it was told, label by label. Raises `PeerMismatch` for sums
    that no scores have.
    """
    for name, sums, row in zip(names, told, marks, strict=True):
        positives, negatives = (int(np.sum(row == mark)) for mark in (POSITIVE, NEGATIVE))
        area = error = None
        if sums is not None:
            if not possible(sums, positives, negatives):
                raise PeerMismatch(
                    f"what was revealed of {name} is no AUROC: the two sides' shares do not belong "
                    "together, or the server does not follow the protocol. The cohort is spent; "
                    "ask the vendor"
                )
            found = auroc_of(sums, positives, negatives)
            area, error = float(found.area), math.sqrt(found.variance)
        yield AggregateResult(name, positives, negatives, area, error)
