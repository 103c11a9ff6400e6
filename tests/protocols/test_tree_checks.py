"""What silent trees are checked by: it says all that an answer can do to them, and a receiver knows
its u of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from moiety.protocols.arrays import U8, U16
from moiety.protocols.kernels.reference import silent as reference
from moiety.protocols.ot.tree_checks import elements_of
from tests.protocols.oracles import multiples
from tests.protocols.twins import KernelFamily

FAMILY = KernelFamily("silent", reference)
WIDTHS = pytest.mark.parametrize("width", [1, 4], ids=["F_2", "F_16"])
CODE = (np.zeros((1, 16), np.uint8), np.zeros(16, np.uint8), 0)  # leaves as they are


@pytest.fixture(params=FAMILY.twins)
def twin(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    with FAMILY.twin(request.param) as kernels:
        yield kernels


@dataclass(frozen=True)
class Trees:
    """One tree, punctured for every noise of its receiver."""

    depth: int
    width: int
    seed: int = 0
    kernels: SimpleNamespace = field(default_factory=lambda: FAMILY.reference)

    @cached_property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng((self.depth, self.width, self.seed))

    def blocks(self, *shape: int) -> U8:
        return self.rng.integers(0, 256, (*shape, 16), np.uint8)

    @cached_property
    def tree(self) -> tuple[U8, U8, U8]:
        """Key, delta, root: of any depth."""
        key, delta, root = np.random.default_rng(self.seed).integers(0, 256, (3, 16), np.uint8)
        return key[None], delta, root[None]

    @cached_property
    def noises(self) -> tuple[U16, U8]:
        """(holes, values): every hole, over F_16 with three values."""
        holes = np.arange(1 << self.depth, dtype=np.uint16)
        if self.width == 1:
            return holes, np.ones(len(holes), np.uint8)
        return np.tile(holes, 3), self.rng.integers(1, 16, 3 * len(holes), np.uint8)

    @property
    def messages(self) -> int:
        """Blocks of an answer: over F_16 the last are the sums of the left leaves, of the right
        ones, and of all.
        """
        return self.depth if self.width == 1 else self.depth + 2

    def whole(self) -> tuple[U8, U8]:
        """(checks, leaves) of the sender."""
        return self._expanded(self.kernels.expand_full, *self.tree)

    def punctured(self, errors: U8) -> tuple[U8, U8]:
        """(checks, leaves) of the receiver for each noise; `errors` are those of the messages."""
        (key, delta, root), (holes, values) = self.tree, self.noises
        sums = self.kernels.tree_sums(key, delta, root, self.depth, self.width)[0]
        levels = np.arange(self.depth - 1, -1, -1, dtype=np.uint16)
        goes_left = ((holes[:, None] >> levels & 1) ^ 1).astype(bool)[:, :, None]
        opened = sums[: self.depth] ^ errors[: self.depth] ^ np.where(goes_left, delta, 0)
        if self.width == 4:
            left, right = sums[-2] ^ errors[-3], sums[-1] ^ errors[-2]
            opened[:, -1] = np.where(goes_left[:, -1], right, left)
            total = sums[-2] ^ sums[-1] ^ errors[-1] ^ multiples(values, delta)
            opened = np.concatenate([opened, total[:, None]], axis=1)
        keys = np.repeat(key, len(holes), axis=0)
        return self._expanded(self.kernels.expand_punctured, keys, holes, opened)

    def seen(self, errors: U8) -> tuple[U8, U8]:
        """The same less what delta adds to them: what a sender's would be."""
        (_, delta, _), (holes, values) = self.tree, self.noises
        checks, leaves = self.punctured(errors)
        leaves[np.arange(len(holes)), holes] ^= multiples(values, delta)
        elements = elements_of(holes, values, self.depth, self.width)
        return checks ^ multiples(elements.reshape(-1), delta).reshape(checks.shape), leaves

    def _expanded(self, expand: Callable[..., None], keys: U8, *rest: U8 | U16) -> tuple[U8, U8]:
        rows = np.empty((len(keys) << self.depth, 16), np.uint8)
        checks = np.empty((len(keys), reference.check_blocks(self.depth, self.width), 16), np.uint8)
        expand(keys, *rest, self.depth, self.width, *CODE, rows, checks)
        return checks, rows.reshape(len(keys), -1, 16)


def classes(arrays: U8) -> list[int]:
    """For each the first that equals it."""
    first: dict[bytes, int] = {}
    return [first.setdefault(array.tobytes(), i) for i, array in enumerate(arrays)]


@WIDTHS
@pytest.mark.parametrize("depth", range(2, 8))
def test_u_of_the_checks_follows_from_the_noise(
    twin: SimpleNamespace, depth: int, width: int
) -> None:
    """Of an honest tree, for every hole: w = v + u*delta."""
    trees = Trees(depth, width, kernels=twin)
    checks, leaves = trees.seen(np.zeros((trees.messages, 16), np.uint8))
    w, of_sender = trees.whole()
    assert np.array_equal(checks, np.broadcast_to(w, checks.shape))
    assert np.array_equal(leaves, np.broadcast_to(of_sender, leaves.shape))
    elements = elements_of(*trees.noises, depth, width)
    assert elements.shape == checks.shape[:2]
    assert elements.any(axis=0).all(), "each sum has a noise for which v is not w"


def drawn(trees: Trees) -> U8:
    """Errors of a few values, most of them zero."""
    values = np.concatenate([np.zeros((3, 16), np.uint8), trees.blocks(2)])
    return values[trees.rng.integers(0, len(values), trees.messages)]


@WIDTHS
@pytest.mark.parametrize("depth", range(2, 6))
def test_noises_with_equal_sums_have_equal_trees(depth: int, width: int) -> None:
    """And no others have, whatever was answered."""
    numbers = set()
    for seed in range(25):
        trees = Trees(depth, width, seed)
        checks, leaves = trees.seen(drawn(trees))
        assert classes(checks) == classes(leaves)
        numbers.add(len(set(classes(leaves))))
    assert len(numbers) > 1, "some answers tell noises apart"


@WIDTHS
def test_every_sum_of_the_last_level_is_needed(width: int) -> None:
    """Without one of them some noises that have different trees pass together. Over F_16 the sums
    of all left and of all right leaves say the same of two noises, as the answer sets the sum of
    all leaves.
    """
    depth, first = 5, 4 * 3 // 2
    sums = [[first + bit] for bit in range(4)] if width == 1 else [[first, first + 5]]
    if width == 4:
        sums += [[first + 5 * side + bit] for side in range(2) for bit in range(1, 5)]
    trees, found = Trees(depth, width), np.zeros(len(sums), bool)
    for left, right, total in ((1, 0, 0), (0, 1, 1), (1, 0, 1)):
        errors = np.zeros((trees.messages, 16), np.uint8)
        wrong = np.array([left, right, total][: len(errors) - 4], np.uint8)
        errors[4:] = trees.blocks() * wrong[:, None]
        checks, leaves = trees.seen(errors)
        assert classes(checks) == classes(leaves)
        for i, some in enumerate(sums):
            found[i] |= classes(np.delete(checks, some, axis=1)) != classes(leaves)
    assert found.all(), found


@WIDTHS
@pytest.mark.parametrize("depth", [3, 4, 5])
def test_later_errors_that_undo_earlier_ones_tell_no_more(depth: int, width: int) -> None:
    """An error of one level's sum makes the next level's sums of nodes wrong, by g_a if the hole is
    a. A sender that adds g_a, or g_a + g_b, to the next sum makes that right again for a, or equal
    for a and b.
    """
    for seed, level in product(range(3), range(1, depth - 1)):
        trees = Trees(depth, width, seed)
        errors = np.zeros((trees.messages, 16), np.uint8)
        honest = trees.seen(errors)[1][0]
        errors[level] = trees.blocks()
        several = set()
        for a, b in trees.rng.integers(0, 1 << depth, (6, 2)):
            undone = errors.copy()
            shown = [next_sum(trees, undone, level + 1, int(hole)) for hole in (a, b)]
            assert shown[0].any()
            for change in (shown[0] ^ shown[1], shown[0]):
                undone[level + 1] = change
                checks, leaves = trees.seen(undone)
                assert classes(checks) == classes(leaves)
                assert not (leaves == honest).all(axis=(1, 2)).any(), "it cannot be undone"
                several.add(len(set(classes(leaves))))
            assert not next_sum(trees, undone, level + 1, int(a)).any()
        assert max(several) > 1


def next_sum(trees: Trees, errors: U8, level: int, hole: int) -> U8:
    """By what the left child on the path to a hole is wrong, at a level."""
    upper = Trees(level + 1, 1, trees.seed)  # the same one, cut off
    of_upper = errors[: level + 1].copy()
    zero = np.zeros_like(of_upper)
    child = hole >> trees.depth - level - 1 & ~1
    return upper.seen(of_upper)[1][child, child] ^ upper.seen(zero)[1][child, child]
