"""AUROC and DeLong's standard error of a cohort, on shares: what of them is computed securely, and
what the client makes of it.

Functionality: of L labels the shared scores of n images and the client's marks, m of them positive
and k negative, to two integers of each label at the client, where m and k are enough:

    doubled = sum of all E            = 4 * m*k * AUROC
    spread = sum of t_i * E_i^2       t_i = m*(k-1) of a positive, k*(m-1) of a negative image

with the doubled placements E (placements.py). From them alone follow AUROC and its standard error:
DeLong's variance, with V_i = E_i / 2k the placement values of positive images and V_j = E_j / 2m
those of negative ones, is

    S10/m + S01/k = spread / (4 m^2 k^2 (m-1) (k-1)) - AUROC^2 * (1/(m-1) + 1/(k-1))

The client learns nothing of a label that has too few (quorum.py), and the server nothing at all.
spread stays below n^5/4, so n <= 4096 images fit a ring of 64 bits.

Two halves, so that a party can write down between them that it will reveal: `sum_up` ends with
shares, `reveal` is one flight. Flights and bits: those of the parts.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np

from moiety.protocols.aggregate.marks import NEGATIVE, POSITIVE
from moiety.protocols.aggregate.placements import (
    Done,
    placement_bits,
    placements,
    placements_cost,
)
from moiety.protocols.aggregate.quorum import Quorum, share_keys, share_keys_cost
from moiety.protocols.aggregate.sealed import SUM_BITS, Sealed, open_sealed, open_sealed_cost
from moiety.protocols.aggregate.weigh import weigh, weigh_cost
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.extend import extend_with_headroom, extend_with_headroom_cost
from moiety.protocols.compare.product import square, square_cost
from moiety.protocols.cost import Cost, Size, cost_of, local
from moiety.protocols.network import LAN, Network
from moiety.protocols.session import Session

MAX_IMAGES: Final = 4096
PASSES: Final = 6
"""Over the placements, by both parties: sums, and the client's weights."""


class Sums(NamedTuple):
    """What is revealed of one label."""

    doubled: int
    spread: int


def sum_up(
    session: Session,
    scores: U64,
    bits: int,
    least: Quorum,
    marks: U8 | None = None,
    done: Done = lambda pairs, total: None,
) -> Sealed:
    """Everything but the revealing, of `scores` uint64 `(L, n)` modulo 2^bits, 2 <= n <=
    MAX_IMAGES. `marks` uint8 `(L, n)` are the client's, None at the server.
    """
    labels, images = scores.shape
    keys = share_keys(session, labels, images, least, marks)
    placed = placements(session, scores, bits, marks, done).reshape(-1)
    narrow = placement_bits(images)
    doubled = extend_with_headroom(session, placed, narrow, SUM_BITS)
    squares = square(session, placed, narrow, SUM_BITS)
    weights = None if marks is None else weights_of(marks).reshape(-1)
    spread = weigh(session, squares, SUM_BITS, weight_bits(images), weights)
    parts = np.stack([doubled, spread]).reshape(2, labels, images)
    return Sealed(parts.sum(axis=2, dtype=np.uint64), keys)


def reveal(session: Session, sealed: Sealed) -> list[Sums | None] | None:
    """Of each label the sums at the client, None where its marks are too few; None at the
    server.
    """
    opened = open_sealed(session, sealed)
    if opened is None:
        return None
    return [None if each is None else Sums(*each) for each in opened]


def weights_of(marks: U8) -> U64:
    """The t of every image, uint64 `(L, n)`; zeros where a label has fewer than two of a class."""
    m, k = (np.sum(marks == mark, axis=1, keepdims=True) for mark in (POSITIVE, NEGATIVE))
    enough = np.minimum(m, k) >= 2
    positive, negative = m * (k - 1) * enough, k * (m - 1) * enough
    chosen = np.where(marks == POSITIVE, positive, np.where(marks == NEGATIVE, negative, 0))
    return chosen.astype(np.uint64)


def weight_bits(images: int) -> int:
    """That no weight among so many images needs more than."""
    return max(1, (images * images // 4).bit_length())


def possible(sums: Sums, positives: int, negatives: int) -> bool:
    """Whether any scores of so many images have these sums; at least two of either class. Noise
    has not, but for a few in 2^40.
    """
    m, k = positives, negatives
    pairs = 4 * m * k
    bound = pairs * m * k * (m + k)
    return sums.doubled <= pairs and sums.spread <= bound and auroc_of(sums, m, k).variance >= 0


class Auroc(NamedTuple):
    """A label's AUROC and its DeLong variance, exact."""

    area: Fraction
    variance: Fraction


def auroc_of(sums: Sums, positives: int, negatives: int) -> Auroc:
    """What follows from what is revealed; at least two of either class."""
    m, k = positives, negatives
    area = Fraction(sums.doubled, 4 * m * k)
    first = Fraction(sums.spread, 4 * m * m * k * k * (m - 1) * (k - 1))
    return Auroc(area, first - area**2 * (Fraction(1, m - 1) + Fraction(1, k - 1)))


# --- declared costs -------------------------------------------------------------------------------


@cost_of(sum_up)
def sum_up_cost(labels: int, images: int, bits: int, network: Network = LAN) -> Cost:
    """Of so many labels of so many images."""
    n, narrow = labels * images, placement_bits(images)
    return (
        share_keys_cost(labels, images)
        + placements_cost(labels, images, bits, network)
        + extend_with_headroom_cost(n, narrow, SUM_BITS)
        + square_cost(n, narrow, SUM_BITS)
        + weigh_cost(n, SUM_BITS, weight_bits(images))
        + local("pass", PASSES * n)
    )


@cost_of(reveal)
def reveal_cost(labels: Size) -> Cost:
    """Of so many labels."""
    return open_sealed_cost(labels, 2)
