"""A client that gives the trees of the correlations different u has a bet on the server's delta:
with t trees, and so t nibbles, it wins with probability 16^-t, and else the connection ends.
"""

from __future__ import annotations

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.errors import DeviatingPeer
from moiety.protocols.ot import consistency, softspoken
from moiety.protocols.parallel import STREAMED
from tests.attacks.deltas import DELTA, Guess, connect, extend, nibbles_of, related, survives

NIBBLES = nibbles_of(DELTA)


@pytest.mark.parametrize(("tree", "k", "error"), [(1, 1, 1), (17, 2, 3), (31, 4, 8)])
def test_one_guess_of_sixteen_survives(
    monkeypatch: pytest.MonkeyPatch, tree: int, k: int, error: int
) -> None:
    """Succeeds with the right nibble, which the client then knows; every other one is caught."""
    found = []
    for nibble in range(16):
        with monkeypatch.context() as patch:
            Guess({tree: nibble}, error=error).install(patch)
            if survives(lambda: extend(100, k)):
                found.append(nibble)
    assert found == [NIBBLES[tree]]


def test_a_right_guess_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """As said: what is not noticed is a correlation like any other."""
    Guess({5: NIBBLES[5]}, row=70).install(monkeypatch)
    w, (u, v) = extend(100, 4)
    assert related(DELTA, w, u, v)


def test_two_nibbles_must_both_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs are not found one after the other in a connection: half a bet is lost."""
    for wrong in ((0, 0), (1, 0), (0, 1)):
        with monkeypatch.context() as patch:
            bet = {tree: NIBBLES[tree] ^ off for tree, off in zip((3, 29), wrong, strict=True)}
            Guess(bet).install(patch)
            assert survives(lambda: extend(100, 1)) is (wrong == (0, 0))


def test_the_silent_path_begins_with_checked_correlations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refill takes nothing else from the receiver that could be inconsistent."""
    delta, *_ = connect(10, 1, seed=3)
    right = nibbles_of(delta)[9]
    for nibble in (right, right ^ 1, right ^ 8):
        with monkeypatch.context() as patch:
            Guess({9: nibble}, row=16_000, part=1).install(patch)
            assert survives(lambda: connect(10, 1, seed=3)) is (nibble == right)


@pytest.mark.parametrize(
    ("row", "part"),
    [(0, 0), (127, 0), (128, 0), (65_535, 0), (0, 1), (9_999, 1), (0, 2), (127, 2)],
    ids=str,
)
def test_every_row_is_checked(monkeypatch: pytest.MonkeyPatch, row: int, part: int) -> None:
    """Of all parts of an extension, and of the rows that mask the check."""
    Guess({1: NIBBLES[1] ^ 1}, row, part).install(monkeypatch)
    with pytest.raises(DeviatingPeer, match="corrections of correlations"):
        extend(STREAMED + 10_000, 1)


@pytest.mark.parametrize("tree", range(1, 32))
def test_every_tree_is_checked(monkeypatch: pytest.MonkeyPatch, tree: int) -> None:
    Guess({tree: NIBBLES[tree] ^ 1}).install(monkeypatch)
    assert not survives(lambda: extend(1, 1))


@pytest.mark.parametrize("tree", [1, 30])
@pytest.mark.parametrize("later", [1, 3])
def test_every_extension_is_checked(monkeypatch: pytest.MonkeyPatch, tree: int, later: int) -> None:
    """The first ones were in order."""
    Guess({tree: NIBBLES[tree] ^ 1}, part=2 * later).install(monkeypatch)
    assert not survives(lambda: extend(1, 1, times=4))


def test_errors_that_cancel_at_a_known_challenge_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two errors in one column, of which the second undoes the first at the point p that honest
    corrections give: e in block 0 and e*p in block 1. The challenge must follow from what was sent
    in the end.
    """
    points: list[bytes] = []
    honest_hash = kernels.column_hash

    def noting(rows: np.ndarray, point: np.ndarray) -> np.ndarray:
        points.append(point.tobytes())
        return honest_hash(rows, point)

    with monkeypatch.context() as patch:
        patch.setattr(kernels, "column_hash", noting)
        extend(256, 1)
    (point,) = set(points)
    honest = kernels.vole_receiver

    def deviating(*given: object) -> object:
        u, v, corrections = honest(*given)  # type: ignore[arg-type]
        if len(u) == 256:
            planes = corrections.reshape(31, 2, 16)
            planes[0, 0, 0] ^= 1  # e = z^0
            planes[0, 1] ^= np.frombuffer(point, np.uint8)
        return u, v, corrections

    errors = np.zeros((256, 1), np.uint8)
    errors[0], errors[128:, 0] = 1, np.unpackbits(np.frombuffer(point, np.uint8), bitorder="little")
    assert not kernels.column_hash(errors, np.frombuffer(point, np.uint8)).any()
    monkeypatch.setattr(kernels, "vole_receiver", deviating)
    assert not survives(lambda: extend(256, 1))


def test_no_challenge_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the parts of an extension, not in two extensions, not in two connections."""
    points: list[bytes] = []
    honest_hash = kernels.column_hash

    def noting(rows: np.ndarray, point: np.ndarray) -> np.ndarray:
        points.append(point.tobytes())
        return honest_hash(rows, point)

    monkeypatch.setattr(kernels, "column_hash", noting)
    for start in (bytes(32), bytes([1] * 32)):
        extend(STREAMED + 300, 1, 2, start)
    # Two parts; each party hashes v or w, the receiver u besides.
    assert {points.count(point) for point in points} == {3}
    assert len(set(points)) == 8


def test_the_challenge_follows_from_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """A correction that is changed on the way, wherever, leaves the two parties other points: what
    the peer sends last is part of what it is asked about.
    """
    for part, at in ((0, 0), (0, 31 * 2 * 16 * 3 - 1), (1, 0), (1, 31 * 2 * 16 - 1)):
        points: dict[bool, list[bytes]] = {}
        for changed in (False, True):
            with monkeypatch.context() as patch:
                points[changed] = _points_of(patch, part, at if changed else None)
        assert points[False][0] != points[True][0]


def _points_of(patch: pytest.MonkeyPatch, part: int, at: int | None) -> list[bytes]:
    """Of an extension by 300 correlations of two bits, one correction of which is changed."""
    points: list[bytes] = []
    honest, honest_hash = kernels.vole_receiver, kernels.column_hash
    calls = 0

    def deviating(keys: U8, counter: int, k: int, nblocks: int) -> tuple[U8, U8, U8]:
        nonlocal calls
        u, v, corrections = honest(keys, counter, k, nblocks)
        if calls == part and at is not None:
            corrections = corrections.copy()
            corrections[at] ^= 1
        calls += 1
        return u, v, corrections

    def noting(rows: U8, point: U8) -> U8:
        points.append(point.tobytes())
        return honest_hash(rows, point)

    patch.setattr(kernels, "vole_receiver", deviating)
    patch.setattr(kernels, "column_hash", noting)
    survives(lambda: extend(300, 2))
    return points


def test_the_hash_of_u_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown of u, less the hash of the u that are used, is the u of 128 rows that are not
    among those that any extension gives out.
    """
    made: list[U8] = []
    honest = kernels.vole_receiver

    def noting(keys: U8, counter: int, k: int, nblocks: int) -> tuple[U8, U8, U8]:
        u, v, corrections = honest(keys, counter, k, nblocks)
        made.append(v.copy())
        return u, v, corrections

    monkeypatch.setattr(kernels, "vole_receiver", noting)
    shown: list[bytes] = []
    honest_delta = consistency.times_delta

    def seeing(planes: U8, delta: U8) -> U8:
        shown.append(planes.tobytes())
        return honest_delta(planes, delta)

    monkeypatch.setattr(softspoken, "times_delta", seeing)
    points: list[U8] = []
    honest_hash = kernels.column_hash

    def hashing(rows: U8, point: U8) -> U8:
        if rows.shape[1] == 1:
            points.append(honest_hash(rows, point))
        return honest_hash(rows, point)

    monkeypatch.setattr(kernels, "column_hash", hashing)
    extend(100, 4, times=3)
    rows = [row.tobytes() for part in made for row in part]
    assert len(set(rows)) == len(rows) == 3 * (128 + 128)
    for planes, bare in zip(shown, points, strict=True):
        mask = np.frombuffer(planes, np.uint8) ^ bare[:4].reshape(-1)
        assert 16 < np.count_nonzero(mask) <= 64
