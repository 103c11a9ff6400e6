"""Tests of two views for a difference, each a p-value; together at one significance (Holm)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

from moiety.protocols.arrays import U8
from tests.views.collect import View

LEAST = 5 * 16
"""Bytes over all runs from which a histogram of half bytes is tested."""
FEW = 1 << 12
"""Places of a field among which equal ones are looked for."""


@dataclass(frozen=True)
class Judged:
    """One test of one field."""

    what: str
    p: float


def compared(name: str, a: View, b: View) -> Iterator[Judged]:
    """Fields of one party's view under two inputs of the other."""
    for index, (left, right) in enumerate(zip(a.messages, b.messages, strict=True)):
        label = f"{name}, message {index} ({a.shape[index][0]})"
        yield from of_field(label, left, right)
    yield from of_field(f"{name}, results", a.results, b.results)


def of_field(label: str, left: U8, right: U8) -> Iterator[Judged]:
    """Histograms of bytes or half bytes, bits at each place, neighbours in a run and in time."""
    if not left.size:
        return
    if left.size >= 5 * 256:
        yield Judged(f"{label}: histograms of bytes", two_samples(left, right, 256))
    elif 2 * left.size >= LEAST:
        low, high = (np.concatenate([x & 15, x >> 4]) for x in (left, right))
        yield Judged(f"{label}: histograms of half bytes", two_samples(low, high, 16))
    if len(left) >= 8:
        yield Judged(f"{label}: bits at each place", places(left, right))
    centred = [x - x.mean(axis=0) for x in varying(left, right)]
    for name, lag in (("a run", (0, 1)), ("time", (1, 0))):
        pairs = [neighbours(x, lag) for x in centred]
        if all(np.size(pair) >= 40 for pair in pairs):
            yield Judged(f"{label}: neighbours in {name}", correlations(*pairs))


def two_samples(left: U8, right: U8, size: int) -> float:
    """Chi-square of homogeneity, over the values that occur often enough."""
    table = np.stack([np.bincount(x.reshape(-1), minlength=size) for x in (left, right)])
    often = table.sum(axis=0) >= 10
    kept = np.concatenate([table[:, often], table[:, ~often].sum(axis=1, keepdims=True)], axis=1)
    kept = kept[:, kept.sum(axis=0) > 0]
    if kept.shape[1] < 2:
        return 1.0
    return float(stats.chi2_contingency(kept, correction=False).pvalue)


def places(left: U8, right: U8) -> float:
    """Every bit of every place over the runs: the largest difference of means, corrected for how
    many there are. Exact for few runs (Fisher).
    """
    ones = [np.unpackbits(x, axis=1).sum(axis=0).astype(int) for x in (left, right)]
    n, m = len(left), len(right)
    found = {(int(a), int(b)) for a, b in zip(*ones, strict=True)}
    least = min(fisher(a, n, b, m) for a, b in found)
    return float(min(1.0, least * ones[0].size))


@cache
def fisher(a: int, n: int, b: int, m: int) -> float:
    """That a of n and b of m are of one probability."""
    return float(stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue)


def varying(left: U8, right: U8) -> tuple[U8, U8]:
    """The places of a field that are not the same in all runs, those that are always equal to
    another one once: the others, such as the upper bytes of small numbers, would be counted as so
    many independent ones.
    """
    both = np.concatenate([left, right])
    places = np.flatnonzero((both != both[0]).any(axis=0))
    if len(places) <= FEW:
        _, first = np.unique(both[:, places], axis=1, return_index=True)
        places = places[np.sort(first)]
    return left[:, places], right[:, places]


def neighbours(field: np.ndarray, lag: tuple[int, int]) -> np.ndarray:
    """Bytes beside those `lag` further on: in a message, or at the same place of the next run. Each
    is less the mean of its place.
    """
    runs, places = lag
    a = field[: len(field) - runs, : field.shape[1] - places].reshape(-1)
    b = field[runs:, places:].reshape(-1)
    return np.stack([a, b])


def correlations(left: np.ndarray, right: np.ndarray) -> float:
    """That two serial correlations are equal (Fisher's z)."""
    z = []
    for pair in (left, right):
        if pair.std(axis=1).min() == 0:
            z.append(0.0)
            continue
        z.append(float(np.arctanh(np.clip(np.corrcoef(pair)[0, 1], -0.999999, 0.999999))))
    spread = np.sqrt(sum(1 / (pair.shape[1] - 3) for pair in (left, right)))
    return float(2 * stats.norm.sf(abs(z[0] - z[1]) / spread))


def rejected(judged: list[Judged], significance: float) -> list[Judged]:
    """Those that Holm's procedure rejects."""
    found = []
    for index, each in enumerate(sorted(judged, key=lambda x: x.p)):
        if each.p > significance / (len(judged) - index):
            break
        found.append(each)
    return found
