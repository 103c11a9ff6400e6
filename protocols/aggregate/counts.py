"""Right and wrong decisions of a cohort, counted on shares.

Functionality: of L labels the shared decisions d of n images, 0 or 1 modulo 2^64, and the client's
marks to two integers of each label at the client, where its marks are enough (quorum.py):

    true positives = sum of d over the positive images
    false positives = sum of d over the negative ones

The client knows how many are positive and how many negative, so false and true negatives follow.
It learns nothing of a label that has too few, and the server nothing at all. Exact for fewer than
2^32 images.

Both counts are one integer, `true positives + 2^32 * false positives`: the sum of w*d with w = 1,
2^32 or 0 by the image's mark. The client multiplies its own share of d; of the server's it takes
w times that in the very transfer in which it takes its share of the label's key. So what is counted
is what opens the key: whatever a client chooses, it has counts over no fewer images of either class
than the policy asks for, which the sums of AUROC (auroc.py) cannot be held to. And as d is a number
by then, whatever a client adds to its shares is added to the counts, as it knew before.

Two halves as in auroc.py: `count_up` ends with shares, `reveal` is one flight. Flights: C S, S.
Bits per image and label: those of a key's share, and 3 * 64 from the server. Nothing else leaks:
the server sees choices masked by correlations, the client entries masked by pads.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from moiety.protocols.aggregate.marks import NEGATIVE, POSITIVE
from moiety.protocols.aggregate.quorum import Quorum, give_keys, share_keys_cost, take_keys
from moiety.protocols.aggregate.sealed import SUM_BITS, Sealed, open_sealed, open_sealed_cost
from moiety.protocols.arrays import U8, U64
from moiety.protocols.cost import Cost, Size, cost_of, local
from moiety.protocols.session import Session

DECISION_BITS: Final = SUM_BITS
"""Of the ring in which decisions are shared, wide enough for both counts."""
HALF: Final = 32
"""Bits of either count."""
PASSES: Final = 3
"""Over the decisions, by both parties: entries or products, and sums."""


class Counts(NamedTuple):
    """What is revealed of one label."""

    true_positives: int
    false_positives: int


def count_up(session: Session, decisions: U64, least: Quorum, marks: U8 | None = None) -> Sealed:
    """Everything but the revealing, of `decisions` uint64 `(L, n)` modulo 2^64. `marks` uint8
    `(L, n)` are the client's, None at the server.
    """
    if marks is None:
        entries = np.zeros((*decisions.shape, 1, 4), np.uint64)
        entries[..., 0, POSITIVE] = decisions
        entries[..., 0, NEGATIVE] = decisions << np.uint64(HALF)
        keys, taken = give_keys(session, least, entries)
        parts = taken[..., 0]
    else:
        keys, taken = take_keys(session, least, marks, 1)
        parts = taken[..., 0] + _factors(marks) * decisions
    return Sealed(parts.sum(axis=1, dtype=np.uint64)[None], keys)


def _factors(marks: U8) -> U64:
    """The client's w."""
    w = np.zeros(4, np.uint64)
    w[POSITIVE], w[NEGATIVE] = 1, 1 << HALF
    return w[marks]


def reveal(session: Session, sealed: Sealed) -> list[Counts | None] | None:
    """Of each label the counts at the client, None where its marks are too few; None at the
    server.
    """
    opened = open_sealed(session, sealed)
    if opened is None:
        return None
    return [None if each is None else _counts(*each) for each in opened]


def _counts(both: int) -> Counts:
    return Counts(both & ((1 << HALF) - 1), both >> HALF)


def possible(counts: Counts, positives: int, negatives: int) -> bool:
    """Whether any decisions of so many images have these counts. Of 4,096 images noise has with a
    probability below 2^-41.
    """
    return counts.true_positives <= positives and counts.false_positives <= negatives


# --- declared costs -------------------------------------------------------------------------------


@cost_of(count_up)
def count_up_cost(labels: Size, images: Size) -> Cost:
    """Of so many labels of so many images."""
    return share_keys_cost(labels, images, 1) + local("pass", PASSES * labels * images)


@cost_of(reveal)
def reveal_cost(labels: Size) -> Cost:
    """Of so many labels."""
    return open_sealed_cost(labels, 1)
