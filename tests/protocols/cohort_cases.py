"""The rows of the table of protocols (cases.py) for those of protocols/aggregate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from moiety.protocols import ring
from moiety.protocols.aggregate import counts
from moiety.protocols.aggregate.auroc import reveal, sum_up
from moiety.protocols.aggregate.placements import placement_bits, placements
from moiety.protocols.aggregate.quorum import Quorum, give_keys, share_keys, take_keys
from moiety.protocols.aggregate.sealed import open_sealed
from moiety.protocols.aggregate.weigh import weigh
from moiety.protocols.arrays import U64
from moiety.protocols.session import Session
from tests.protocols.conformance import (
    Case,
    Pair,
    Pinned,
    Rng,
    Shape,
    declared,
    edge_values,
    opened,
    shares,
)
from tests.support.cohorts import counts_of, doubled_placements, drawn_marks, sums_of
from tests.support.two_party import share

COHORTS = "aggregates"


def placements_case(labels: int, images: int, bits: int, file: str | None = None) -> Case:
    shape, marks = (labels, images), drawn_marks(labels, images)

    def check(inputs: Pair, results: Pair) -> None:
        scores = ring.to_signed(opened(inputs, bits), bits)
        placed = opened(results, placement_bits(images))
        assert np.array_equal(placed, doubled_placements(scores, marks))

    return Case(
        (placements,),
        lambda s, x: placements(s, x, bits, None if s.is_server else marks),
        close_scores(shape, bits),
        check,
        declared(placements, labels, images, bits),
        Pinned(file, shape, bits) if file else None,
    )


def close_scores(shape: Shape, bits: int) -> Callable[[Rng], Pair]:
    """Shares of values with ties, and with both ends of the ring."""

    def make(rng: Rng) -> Pair:
        size = int(np.prod(shape))
        return share(rng.choice(edge_values(bits, rng, max(2, size // 2)), shape), bits, rng)

    return make


def weigh_case(bits: int, weight_bits: int, n: int = 130, file: str | None = None) -> Case:
    weights = ring.reduce(edge_values(64, np.random.default_rng(bits), n), weight_bits)

    def check(inputs: Pair, results: Pair) -> None:
        products = ring.reduce(opened(inputs, bits) * weights, bits)
        assert np.array_equal(opened(results, bits), products)

    return Case(
        (weigh,),
        lambda s, x: weigh(s, x, bits, weight_bits, None if s.is_server else weights),
        shares((n,), bits),
        check,
        declared(weigh, n, bits, weight_bits),
        Pinned(file, (n,), bits) if file else None,
    )


def share_keys_case(least: Quorum, file: str | None = None) -> Case:
    """Nothing is computed of the inputs."""
    labels, images = 3, 20
    marks = drawn_marks(labels, images)

    def check(inputs: Pair, results: Pair) -> None:
        enough = [
            np.sum(row == 1) >= least.positives and np.sum(row == 2) >= least.negatives
            for row in marks
        ]
        server, client = (keys() for keys in results)
        assert client == [key if given else None for key, given in zip(server, enough, strict=True)]
        assert len(set(server)) == labels

    return Case(
        (share_keys,),
        lambda s, x: share_keys(s, labels, images, least, None if s.is_server else marks),
        shares((1,), 1),
        check,
        declared(share_keys, labels, images),
        Pinned(file, (1,), 1) if file else None,
    )


def auroc_case(shape: tuple[int, int], bits: int, least: Quorum, file: str | None = None) -> Case:
    marks = drawn_marks(*shape)

    def check(inputs: Pair, results: Pair) -> None:
        scores = ring.to_signed(opened(inputs, bits), bits)
        assert results == (None, sums_of(scores, marks, least))

    def body(session: Session, x: U64) -> Any:
        mine = None if session.is_server else marks
        return reveal(session, sum_up(session, x, bits, least, mine))

    return Case(
        (sum_up, reveal, open_sealed),
        body,
        close_scores(shape, bits),
        check,
        declared(sum_up, *shape, bits) + declared(reveal, shape[0]),
        Pinned(file, shape, bits) if file else None,
    )


def counts_case(shape: tuple[int, int], least: Quorum, file: str | None = None) -> Case:
    marks = drawn_marks(*shape)

    def make(rng: Rng) -> Pair:
        return share(rng.integers(0, 2, shape).astype(np.uint64), counts.DECISION_BITS, rng)

    def check(inputs: Pair, results: Pair) -> None:
        decisions = opened(inputs, counts.DECISION_BITS).astype(np.int64)
        assert results == (None, counts_of(decisions, marks, least))

    def body(session: Session, x: U64) -> Any:
        mine = None if session.is_server else marks
        return counts.reveal(session, counts.count_up(session, x, least, mine))

    return Case(
        (counts.count_up, counts.reveal, give_keys, take_keys, open_sealed),
        body,
        make,
        check,
        declared(counts.count_up, *shape) + declared(counts.reveal, shape[0]),
        Pinned(file, shape, counts.DECISION_BITS) if file else None,
    )


def cohort_cases() -> Iterator[tuple[str, Case]]:
    yield "placements of 13 images, 12 bits", placements_case(3, 13, 12, COHORTS)
    for labels, images, bits in ((1, 2, 1), (1, 100, 8), (2, 33, 63), (1, 600, 20)):
        name = f"placements of {labels} by {images} images, {bits} bits"
        yield name, placements_case(labels, images, bits)
    yield "weigh 64 by 20", weigh_case(64, 20, 130, COHORTS)
    for bits, weight_bits in ((1, 1), (7, 7), (64, 64), (30, 2)):
        yield f"weigh {bits} by {weight_bits}", weigh_case(bits, weight_bits)
    for least in (Quorum(2, 2), Quorum(7, 7), Quorum(20, 2)):
        yield f"keys of {least}", share_keys_case(least, COHORTS)
    yield "AUROC of 3 by 24 images", auroc_case((3, 24), 14, Quorum(7, 7), COHORTS)
    for shape, bits in (((1, 2), 10), ((1, 4), 1), ((2, 70), 63)):
        yield f"AUROC of {shape}, {bits} bits", auroc_case(shape, bits, Quorum(2, 2))
    yield "counts of 3 by 24 images", counts_case((3, 24), Quorum(7, 7), COHORTS)
    for shape in ((1, 2), (2, 700)):
        yield f"counts of {shape}", counts_case(shape, Quorum(2, 2))
